//! What the tests share: the real server, a plain HTTP client, sample repos, seeded numbers.

pub mod assemble;
#[path = "../../../runtime/sync/src/parquet/tests/bombs.rs"]
pub mod bombs;
pub mod certificate;
pub mod emulators;
pub mod fault_proxy;
pub mod feast;
pub mod http;
#[path = "../../../runtime/sync/src/remote/testing.rs"]
pub mod places;
pub mod process;
pub mod random;
pub mod repo;
pub mod secure;
pub mod web;

pub use http::{Client, Reply};
pub use process::{Galley, Launch};
pub use random::Random;

use std::path::{Path, PathBuf};

/// The folder of the tests package.
pub fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The root of the source tree.
pub fn root() -> &'static Path {
    here().parent().expect("the tests package lies in the tree")
}

/// Whether the long variants of the loops were asked for.
pub fn long() -> bool {
    std::env::var_os("GALLEY_LONG").is_some()
}

/// The seed of this run: `GALLEY_SEED`, or a fixed one. Printed by whoever uses it.
pub fn seed() -> u64 {
    std::env::var("GALLEY_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1001)
}

/// Raises a flag when dropped, so that threads end although the test that waits for them fails.
#[derive(Debug)]
pub struct RaiseAtEnd<'a>(pub &'a std::sync::atomic::AtomicBool);

impl Drop for RaiseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Copies a folder with everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
