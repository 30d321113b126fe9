//! The signed feed: what a centre publishes for its nodes, and how a node comes to believe it.
//!
//! A feed is a tree of files on any web server, bucket or folder, signed as The Update Framework
//! 1.0 has it (root, targets, snapshot and timestamp metadata; Ed25519; consistent snapshots). Only
//! `metadata/timestamp.json` ever changes; everything else is named by its version or its digest:
//!
//! ```text
//! metadata/timestamp.json                     names the snapshot, signed again every few hours
//! metadata/<n>.snapshot.json                  names the targets
//! metadata/<n>.targets.json                   names every file of a release
//! metadata/<n>.root.json                      says which keys sign for whom
//! targets/<sha256>.registry.pb                the Feast registry
//! targets/<sha256>.spin.toml                  the manifest, its sources being the components below
//! targets/components/<sha256>.<name>.wasm     components
//! targets/batches/<view>/<epoch>-<sequence>/<sha256>.<part>.arrow     rows
//! ```
//!
//! The client is our own because it takes the clock as an argument, remembers what it saw in the
//! store's own transaction, and asks for one file when nothing has changed.

mod canonical;
mod error;
mod key;
mod keyring;
mod metadata;
mod part;
mod poll;
mod publish;
mod release;
mod sign;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod trusted;

pub use error::FeedError;
pub use key::KeyPair;
pub use keyring::{KeyShown, Keyring, KeyringShown, NewKeyring, ROOT_KEYS_MAX};
pub use metadata::Role;
pub use part::decode_part;
pub use poll::{
    METADATA_BYTES_MAX, Poll, ROOTS_MAX, TIMESTAMP, TIMESTAMP_BYTES_MAX, path_of, poll,
};
pub use publish::{
    Lives, ORPHANS_AFTER, Progress, Published, PublishedBatch, Publisher, Rows, What,
};
pub use release::{
    Batch, COMPONENT_BYTES_MAX, Content, MANIFEST_BYTES_MAX, Mode, PART_BYTES_MAX, PART_ROWS_MAX,
    Part, REGISTRY_BYTES_MAX, Release, TARGETS_MAX,
};
pub use trusted::Trusted;

/// The version of what Galley adds to the framework's metadata.
const FORMAT: u64 = 1;
