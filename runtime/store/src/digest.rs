//! The digest of a table: the XOR over its rows of a fixed 64-bit hash of key and row.
//!
//! Adding, replacing and removing a row each cost one hash, so the digest is kept in the same
//! transaction as the rows, and a full read can prove that none is missing. The hash is part of
//! the file format and must never change for format 1. With all integers little-endian and
//! `fold(x, y)` the XOR of both halves of the 128-bit product:
//!
//! ```text
//! h = K0 ^ key length ^ (row length << 32)
//! for each 16-byte chunk of key, then of row (each padded with zeros): h = fold(h ^ low, K1 ^ high)
//! result = fold(h ^ K2, K3)
//! ```

const K0: u64 = 0xa076_1d64_78bd_642f;
const K1: u64 = 0xe703_7ed1_a0b4_28db;
const K2: u64 = 0x8ebc_6af0_9c88_c6e3;
const K3: u64 = 0x5899_65cc_7537_4cc3;

fn fold(x: u64, y: u64) -> u64 {
    let product = u128::from(x) * u128::from(y);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

fn mix(state: u64, chunk: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken")]
    let (low, high) = (chunk as u64, (chunk >> 64) as u64);
    fold(state ^ low, K1 ^ high)
}

fn absorb(mut state: u64, bytes: &[u8]) -> u64 {
    let (chunks, tail) = bytes.as_chunks::<16>();
    for chunk in chunks {
        state = mix(state, u128::from_le_bytes(*chunk));
    }
    if !tail.is_empty() {
        let mut last = [0; 16];
        for (to, from) in last.iter_mut().zip(tail) {
            *to = *from;
        }
        state = mix(state, u128::from_le_bytes(last));
    }
    state
}

/// The share of one row in its table's digest.
pub(crate) fn of_row(key: &[u8], row: &[u8]) -> u64 {
    let state = K0 ^ (key.len() as u64) ^ ((row.len() as u64) << 32);
    fold(absorb(absorb(state, key), row) ^ K2, K3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_format_1_does_not_change() {
        assert_eq!(of_row(b"", b""), 0xfcd6_a911_1163_1185);
        assert_eq!(of_row(b"key", b"row"), 0x52fc_778f_7310_9bac);
        let long: Vec<u8> = (0..100).collect();
        assert_eq!(of_row(&long, &long), 0x84c7_2596_f3ed_46a2);
    }

    #[test]
    fn one_bit_or_a_moved_border_changes_the_hash() {
        let base = of_row(b"abcd", b"efgh");
        assert_ne!(base, of_row(b"abc", b"defgh"));
        assert_ne!(base, of_row(b"abcd", b"efgi"));
        assert_ne!(base, of_row(b"abcd", b"efgh\0"));
    }
}
