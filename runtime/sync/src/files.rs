//! Reading files with a bound.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Reads the whole of `path`, which may hold at most `max` bytes. The bound holds for what is
/// read, whatever the file system says of the size.
///
/// # Errors
/// [`Error::Io`], [`Error::TooLarge`].
pub(crate) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>> {
    let io = |action| {
        move |source| Error::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let file = File::open(path).map_err(io("open"))?;
    let size = file.metadata().map_err(io("read the size of"))?.len();
    let too_large = |bytes| Error::TooLarge {
        path: path.to_owned(),
        bytes,
        max,
    };
    if size > max {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(io("read"))?;
    if bytes.len() as u64 > max {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// The local path a Feast URI names: `file://` is taken off, a relative path is one of `base`.
/// `None` for object stores and other places that are not on local disk.
pub(crate) fn local_path(base: &Path, uri: &str) -> Option<std::path::PathBuf> {
    let path = match uri.split_once("://") {
        Some(("file", rest)) => rest
            .strip_prefix("localhost/")
            .map_or_else(|| rest.to_owned(), |absolute| format!("/{absolute}")),
        Some(_) => return None,
        None => uri.strip_prefix("file:").unwrap_or(uri).to_owned(),
    };
    Some(base.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_become_local_paths_or_none() {
        let base = Path::new("/repo");
        let check = |uri: &str, expect: Option<&str>| {
            assert_eq!(
                local_path(base, uri),
                expect.map(std::path::PathBuf::from),
                "{uri}"
            );
        };
        check("data/x.parquet", Some("/repo/data/x.parquet"));
        check("/abs/x", Some("/abs/x"));
        check("file:///abs/x", Some("/abs/x"));
        check("file://localhost/abs/x", Some("/abs/x"));
        check("s3://bucket/x", None);
        check("gs://bucket/x", None);
    }

    #[test]
    fn a_file_past_the_bound_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, [0_u8; 11]).unwrap();
        assert_eq!(read_bounded(&path, 11).unwrap().len(), 11);
        assert!(matches!(
            read_bounded(&path, 10),
            Err(Error::TooLarge {
                bytes: 11,
                max: 10,
                ..
            })
        ));
    }
}
