//! Imports: rows of another online store, brought over by a job while the node serves.

use std::sync::Arc;

use crate::{Error, JobProgress, MaterializeError, Node, Result};

/// The longest name of a file to import.
const NAME_BYTES_MAX: usize = 128;

/// Reads a file that lies in the node's own folder for imports and commits its rows.
pub trait Importer: Send + Sync + std::fmt::Debug {
    /// Runs one import to its end on the calling thread.
    ///
    /// # Errors
    /// The first failure; what was committed before it stays.
    fn run(&self, node: &Arc<Node>, file: &str, job: &JobProgress) -> Result<(), MaterializeError>;
}

/// Checks that `file` is a plain name: whoever asks for an import names a file of the node's folder
/// for imports and no other.
pub(crate) fn check_name(file: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let sound = !file.is_empty()
        && file.len() <= NAME_BYTES_MAX
        && !file.starts_with('.')
        && file.bytes().all(plain);
    if sound {
        Ok(())
    } else {
        Err(Error::ImportName {
            file: file.chars().take(64).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn only_plain_names_are_taken() {
        assert!(check_name("online_store-1.db").is_ok());
        let long = "x".repeat(129);
        for bad in [
            "",
            ".db",
            "../x",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "a b",
            "\0",
            long.as_str(),
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
