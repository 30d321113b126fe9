//! The Parquet files behind a view's batch source.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use galley_registry::{BatchSource, FileFormat, SourceLocation};
use url::{Host, Url};

use crate::error::{Error, Result};
use crate::files::local_path;
use crate::remote::{Ask, RemoteConfig, RemoteError, RemoteErrorKind, RemoteFile};

/// The most files one source may have.
const FILES_MAX: usize = 100_000;
/// The deepest folder that is looked into.
const DEPTH_MAX: usize = 16;

/// A file of a source.
#[derive(Clone, Debug)]
pub(super) enum SourceFile {
    /// A file of this machine.
    Here(PathBuf),
    /// An object of a bucket or a web server.
    Elsewhere(RemoteFile),
}

/// The files of `source`, sorted by path: one file, or every `.parquet` file in a folder and the
/// folders in it. Names that begin with `.` or `_` are left out, as Spark and pyarrow do.
///
/// # Errors
/// [`Error::SourceUnsupported`], [`Error::SourceAway`], [`Error::Io`], [`Error::TooLarge`].
pub(super) fn files(
    repo_dir: &Path,
    view: &str,
    source: &BatchSource,
    remote: &RemoteConfig,
) -> Result<Vec<SourceFile>> {
    let unsupported = |found: String| Error::SourceUnsupported {
        view: view.to_owned(),
        found,
    };
    let name = &source.name;
    let (uri, s3_endpoint) = match &source.location {
        SourceLocation::File {
            uri,
            format: FileFormat::Parquet,
            s3_endpoint,
        } => (uri, s3_endpoint),
        SourceLocation::File { format, .. } => {
            return Err(unsupported(format!(
                "its batch source {name}, which has files of format {format:?},"
            )));
        }
        SourceLocation::Other(kind) => {
            return Err(unsupported(format!(
                "its batch source {name} of type {kind}"
            )));
        }
    };
    let Some(path) = local_path(repo_dir, uri) else {
        let mut remote = remote.clone();
        if s3_endpoint.is_some() {
            remote.s3_endpoint.clone_from(s3_endpoint);
        }
        return elsewhere(uri, &remote).map_err(|source| Error::SourceAway {
            view: view.to_owned(),
            source,
        });
    };
    let io = |source| Error::Io {
        action: "read the batch source at",
        path: path.clone(),
        source,
    };
    if !std::fs::metadata(&path).map_err(io)?.is_dir() {
        return Ok(vec![SourceFile::Here(path)]);
    }
    let mut found = Vec::new();
    walk(&path, 0, &mut found)?;
    found.sort();
    Ok(found.into_iter().map(SourceFile::Here).collect())
}

/// The files at `uri`: one object, or those below it.
fn elsewhere(
    uri: &str,
    remote: &RemoteConfig,
) -> std::result::Result<Vec<SourceFile>, RemoteError> {
    for address in [Some(uri), remote.s3_endpoint.as_deref()]
        .into_iter()
        .flatten()
    {
        let url = Url::parse(address).ok();
        if url
            .as_ref()
            .and_then(Url::host)
            .is_some_and(|host| is_within_machine(&host))
        {
            return Err(RemoteError::new(
                RemoteErrorKind::Invalid,
                "the batch source",
                "a registry may not name an address of the machine's own network link",
            ));
        }
    }
    let file = RemoteFile::open(uri, remote)?;
    let below = match file.below(FILES_MAX) {
        // Who may read an object is not always allowed to list its bucket.
        Err(_) if file.read(&Ask::default()).is_ok() => Vec::new(),
        listed => listed?,
    };
    if below.is_empty() {
        return Ok(vec![SourceFile::Elsewhere(file)]);
    }
    let hidden = |name: &str| name.split('/').any(|part| part.starts_with(['.', '_']));
    Ok(below
        .into_iter()
        .filter(|(name, _)| name.ends_with(".parquet") && !hidden(name))
        .map(|(_, file)| SourceFile::Elsewhere(file))
        .collect())
}

/// Whether `host` is where clouds hand out a machine's own credentials.
fn is_within_machine(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => name.eq_ignore_ascii_case("metadata.google.internal"),
        Host::Ipv4(address) => address.is_link_local(),
        Host::Ipv6(address) => match address.to_canonical() {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        },
    }
}

fn walk(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let io = |source| Error::Io {
        action: "list the folder",
        path: dir.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(['.', '_']) {
            continue;
        }
        let path = entry.path();
        let is_dir = std::fs::metadata(&path).map_err(io)?.is_dir();
        if is_dir && depth < DEPTH_MAX {
            walk(&path, depth + 1, found)?;
        } else if !is_dir && name.ends_with(".parquet") {
            found.push(path);
        }
        if found.len() > FILES_MAX {
            return Err(Error::TooLarge {
                path: dir.to_owned(),
                bytes: found.len() as u64,
                max: FILES_MAX as u64,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::testing::{Reply, Server};

    fn source(location: SourceLocation) -> BatchSource {
        BatchSource {
            name: "s".into(),
            location,
            timestamp_field: "ts".into(),
            created_field: None,
            field_mapping: Vec::new(),
        }
    }

    #[test]
    fn a_folder_is_read_in_order_without_hidden_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b/2.parquet",
            "a/1.parquet",
            "b/.x.parquet",
            "_tmp/3.parquet",
            "b/_SUCCESS",
            "0.parquet",
        ] {
            let path = dir.path().join("data").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        for uri in [
            "data".to_owned(),
            format!("file://{}/data", dir.path().display()),
        ] {
            let location = SourceLocation::File {
                uri,
                format: FileFormat::Parquet,
                s3_endpoint: None,
            };
            let found = files(dir.path(), "v", &source(location), &RemoteConfig::default());
            let names: Vec<_> = found
                .unwrap()
                .into_iter()
                .map(|file| match file {
                    SourceFile::Here(path) => {
                        let name = path.strip_prefix(dir.path().join("data"));
                        name.unwrap().to_str().unwrap().to_owned()
                    }
                    SourceFile::Elsewhere(file) => panic!("{file:?}"),
                })
                .collect();
            assert_eq!(names, ["0.parquet", "a/1.parquet", "b/2.parquet"]);
        }
    }

    #[test]
    fn an_object_is_found_where_listing_is_not_allowed() {
        let server = Server::start(|request| match request.target.as_str() {
            "/b/x.parquet" => Reply::new(200, "x")
                .with("etag", "\"1\"")
                .with("last-modified", "Sat, 21 Nov 2026 10:00:00 GMT"),
            _ => Reply::new(403, "<Error><Code>AccessDenied</Code></Error>"),
        });
        let mut location = SourceLocation::File {
            uri: "s3://b/x.parquet".to_owned(),
            format: FileFormat::Parquet,
            s3_endpoint: Some(server.url()),
        };
        let config = RemoteConfig::default();
        let found = files(Path::new("/r"), "v", &source(location.clone()), &config).unwrap();
        let [SourceFile::Elsewhere(file)] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(file.location(), "s3://b/x.parquet");
        let SourceLocation::File { uri, .. } = &mut location else {
            panic!("{location:?}");
        };
        *uri = "s3://b/folder".to_owned();
        let error = files(Path::new("/r"), "v", &source(location), &config).unwrap_err();
        let error = crate::error::chain(&error);
        assert!(error.contains("list") && error.contains("403"), "{error}");
    }

    #[test]
    fn other_sources_are_refused_by_name() {
        let message = |location| {
            files(
                Path::new("/r"),
                "v",
                &source(location),
                &RemoteConfig::default(),
            )
            .unwrap_err()
            .to_string()
        };
        assert!(message(SourceLocation::Other("BigQuery")).contains(
            "feature view v: its batch source s of type BigQuery cannot be materialised"
        ));
        // What a registry says is no way to a machine's own credentials.
        for (uri, s3_endpoint) in [
            ("http://169.254.169.254/latest/x.parquet", None),
            ("http://[::ffff:169.254.169.254]/x.parquet", None),
            ("http://metadata.google.internal/x.parquet", None),
            (
                "s3://b/x.parquet",
                Some("http://169.254.169.254".to_owned()),
            ),
        ] {
            let location = SourceLocation::File {
                uri: uri.to_owned(),
                format: FileFormat::Parquet,
                s3_endpoint,
            };
            let text = message(location);
            assert!(text.contains("read its batch source"), "{text}");
        }
        let missing = SourceLocation::File {
            uri: "nope.parquet".into(),
            format: FileFormat::Parquet,
            s3_endpoint: None,
        };
        assert!(message(missing).contains("/r/nope.parquet"));
    }
}
