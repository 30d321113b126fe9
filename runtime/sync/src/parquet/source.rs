//! The Parquet files behind a view's batch source.

use std::path::{Path, PathBuf};

use galley_registry::{BatchSource, FileFormat, SourceLocation};

use crate::error::{Error, Result};
use crate::files::local_path;

/// The most files one source may have.
const FILES_MAX: usize = 100_000;
/// The deepest folder that is looked into.
const DEPTH_MAX: usize = 16;

/// The files of `source`, sorted by path: one file, or every `.parquet` file in a folder and the
/// folders in it. Names that begin with `.` or `_` are left out, as Spark and pyarrow do.
///
/// # Errors
/// [`Error::SourceUnsupported`], [`Error::Io`], [`Error::TooLarge`].
pub(super) fn files(repo_dir: &Path, view: &str, source: &BatchSource) -> Result<Vec<PathBuf>> {
    let unsupported = |found: String| Error::SourceUnsupported {
        view: view.to_owned(),
        found,
    };
    let name = &source.name;
    let uri = match &source.location {
        SourceLocation::File {
            uri,
            format: FileFormat::Parquet,
        } => uri,
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
    let path = local_path(repo_dir, uri).ok_or_else(|| {
        let scheme = uri.split_once("://").map_or("", |(scheme, _)| scheme);
        unsupported(format!("its batch source {name} at {scheme}://"))
    })?;
    let io = |source| Error::Io {
        action: "read the batch source at",
        path: path.clone(),
        source,
    };
    if !std::fs::metadata(&path).map_err(io)?.is_dir() {
        return Ok(vec![path]);
    }
    let mut found = Vec::new();
    walk(&path, 0, &mut found)?;
    found.sort();
    Ok(found)
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
            };
            let found = files(dir.path(), "v", &source(location)).unwrap();
            let names: Vec<_> = found
                .iter()
                .map(|path| {
                    path.strip_prefix(dir.path().join("data"))
                        .unwrap()
                        .to_str()
                        .unwrap()
                })
                .collect();
            assert_eq!(names, ["0.parquet", "a/1.parquet", "b/2.parquet"]);
        }
    }

    #[test]
    fn other_sources_are_refused_by_name() {
        let message = |location| {
            files(Path::new("/r"), "v", &source(location))
                .unwrap_err()
                .to_string()
        };
        assert!(message(SourceLocation::Other("BigQuery")).contains(
            "feature view v: its batch source s of type BigQuery cannot be materialised"
        ));
        let s3 = SourceLocation::File {
            uri: "s3://b/x".into(),
            format: FileFormat::Parquet,
        };
        assert!(message(s3).contains("at s3://"));
        let missing = SourceLocation::File {
            uri: "nope.parquet".into(),
            format: FileFormat::Parquet,
        };
        assert!(message(missing).contains("/r/nope.parquet"));
    }
}
