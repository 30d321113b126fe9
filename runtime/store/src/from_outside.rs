//! Records of the store's file, read one at a time: for the fuzzers and for the replay of what they
//! found.

use crate::codec::{self, Kind};

/// Reads the body of a record as every kind there is, as if its checksum were right; returns how many
/// kinds it could be.
#[must_use]
pub fn record(body: &[u8]) -> usize {
    const KEY: &[u8] = b"key";
    let sealed = |kind| codec::seal_bytes(kind, KEY, body);
    let read = [
        codec::decode_schema(KEY, &sealed(Kind::Schema)).is_ok(),
        codec::decode_queued(KEY, &sealed(Kind::Queued)).is_ok(),
        codec::decode::<codec::Meta>(Kind::Meta, KEY, &sealed(Kind::Meta)).is_ok(),
        codec::decode::<codec::Table<'_>>(Kind::Table, KEY, &sealed(Kind::Table)).is_ok(),
        codec::decode::<codec::Release<'_>>(Kind::Release, KEY, &sealed(Kind::Release)).is_ok(),
        codec::decode::<codec::Outgoing<'_>>(Kind::Outgoing, KEY, &sealed(Kind::Outgoing)).is_ok(),
        codec::decode::<codec::ParkedPart<'_>>(Kind::ParkedPart, KEY, &sealed(Kind::ParkedPart))
            .is_ok(),
    ];
    read.iter().filter(|read| **read).count()
}
