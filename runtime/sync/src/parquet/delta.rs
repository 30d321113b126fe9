//! What a page of delta encodings unfolds to, before it does.
//!
//! A few bytes can stand for any number of lengths, and a length for a copy of the whole text
//! before it; the decoder makes room for all of them at once.

use super::thrift::{varint, zigzag};

/// Values of one block; writers use 128 to a few thousand.
const BLOCK_VALUES_MAX: u64 = 1 << 20;
/// Bits of a packed length.
const LENGTH_BITS_MAX: u8 = 32;

/// The head of a sequence of blocks.
#[derive(Debug)]
struct Head {
    values: usize,
    minis: usize,
    values_each: usize,
    first: i64,
}

/// Checks the head of packed numbers in `bytes`, which may be `values_max` at most.
pub(super) fn numbers(bytes: &[u8], values_max: u64) -> Result<(), &'static str> {
    head(&mut { bytes }, values_max).map(|_| ())
}

/// Bytes that texts encoded by the prefix they share with the one before take when they are whole.
/// There are `values_max` of them at most.
pub(super) fn texts_bytes(bytes: &[u8], values_max: u64) -> Result<u64, &'static str> {
    let mut rest = bytes;
    let mut prefixes = Vec::new();
    lengths(&mut rest, values_max, |length| {
        prefixes.push(length);
        Ok(())
    })?;
    let mut before = prefixes.iter();
    let (mut length, mut whole, mut own) = (0_u64, 0_u64, 0_u64);
    let count = lengths(&mut rest, values_max, |suffix| {
        let prefix = u64::from(*before.next().ok_or("fewer prefixes than texts")?);
        if prefix > length {
            return Err("a prefix longer than the text before");
        }
        length = prefix + u64::from(suffix);
        whole = whole.saturating_add(length);
        own += u64::from(suffix);
        Ok(())
    })?;
    if count != prefixes.len() {
        return Err("more prefixes than texts");
    }
    if own > rest.len() as u64 {
        return Err("texts longer than the page");
    }
    Ok(whole)
}

/// Calls `each` with all lengths of the sequence in front of `rest`, and returns how many they were.
fn lengths(
    rest: &mut &[u8],
    values_max: u64,
    mut each: impl FnMut(u32) -> Result<(), &'static str>,
) -> Result<usize, &'static str> {
    const SHORT: &str = "its lengths end in the middle";
    let head = head(rest, values_max)?;
    let mut left = head.values;
    // As the decoder has it: 32 bits that wrap.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a length that does not fit wraps, and is refused when it is negative"
    )]
    let low = |value: i64| value as i32;
    let mut value = low(head.first);
    let mut give = |value: i32| match u32::try_from(value) {
        Ok(length) => each(length),
        Err(_) => Err("a length below zero"),
    };
    if left > 0 {
        give(value)?;
        left -= 1;
    }
    while left > 0 {
        let least = low(zigzag(varint(rest).map_err(|_| SHORT)?));
        let (widths, tail) = rest.split_at_checked(head.minis).ok_or(SHORT)?;
        *rest = tail;
        for width in widths {
            if left == 0 {
                break;
            }
            if *width > LENGTH_BITS_MAX {
                return Err("lengths of more than 32 bits");
            }
            let bytes = usize::from(*width) * head.values_each / 8;
            let (packed, tail) = rest.split_at_checked(bytes).ok_or(SHORT)?;
            *rest = tail;
            for index in 0..head.values_each.min(left) {
                let delta = low(bits(packed, index, *width).cast_signed());
                value = value.wrapping_add(least).wrapping_add(delta);
                give(value)?;
                left -= 1;
            }
        }
    }
    Ok(head.values)
}

fn head(rest: &mut &[u8], values_max: u64) -> Result<Head, &'static str> {
    const SHORT: &str = "its blocks end in the middle";
    let mut number = || varint(rest).map_err(|_| SHORT);
    let (block, minis, values, first) = (number()?, number()?, number()?, number()?);
    if block == 0 || block > BLOCK_VALUES_MAX || minis == 0 || !block.is_multiple_of(minis) {
        return Err("blocks of a size that no writer uses");
    }
    let values_each = block / minis;
    if !values_each.is_multiple_of(32) {
        return Err("blocks of a size that no writer uses");
    }
    if values > values_max {
        return Err("it claims more values than the page has");
    }
    let small = |value: u64| usize::try_from(value).map_err(|_| SHORT);
    Ok(Head {
        values: small(values)?,
        minis: small(minis)?,
        values_each: small(values_each)?,
        first: zigzag(first),
    })
}

/// Number `index` of those packed in `width` bits each, the lowest bits first.
fn bits(packed: &[u8], index: usize, width: u8) -> u64 {
    let at = index * usize::from(width);
    let mut window = [0_u8; 8];
    let bytes = packed.get(at / 8..).unwrap_or_default();
    for (to, from) in window.iter_mut().zip(bytes) {
        *to = *from;
    }
    let mask = (1_u64 << width) - 1;
    (u64::from_le_bytes(window) >> (at % 8)) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values as writers pack them: blocks of 128 in 4 parts, all parts of a block as wide.
    fn packed(values: &[i64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let first = values.first().copied().unwrap_or(0);
        for number in [128, 4, values.len() as u64, signed(first)] {
            number_to(&mut bytes, number);
        }
        let steps: Vec<i64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for block in steps.chunks(128) {
            let least = *block.iter().min().unwrap();
            let width = (block.iter().max().unwrap() - least).checked_ilog2();
            let width = width.map_or(0, |log| log as usize + 1);
            number_to(&mut bytes, signed(least));
            bytes.extend([width as u8; 4]);
            let parts = block.len().div_ceil(32);
            let mut bits = vec![0_u8; parts * 32 * width / 8];
            for (index, step) in block.iter().enumerate() {
                for bit in (0..width).filter(|bit| (step - least) >> bit & 1 == 1) {
                    let at = index * width + bit;
                    bits[at / 8] |= 1 << (at % 8);
                }
            }
            bytes.extend(bits);
        }
        bytes
    }

    fn signed(value: i64) -> u64 {
        (value << 1 ^ value >> 63).cast_unsigned()
    }

    fn number_to(bytes: &mut Vec<u8>, mut number: u64) {
        while number >= 0x80 {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }

    #[test]
    fn packed_lengths_are_read_as_they_were_written() {
        let uneven: Vec<i64> = (0..500).map(|i| i * 7919 % 1000).collect();
        for values in [vec![], vec![5], vec![3; 129], uneven, (0..32).collect()] {
            let bytes = [packed(&values), vec![0xaa; 3]].concat();
            let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
            let count = lengths(&mut rest, 500, |length| {
                found.push(i64::from(length));
                Ok(())
            });
            assert_eq!((count, &found), (Ok(values.len()), &values));
            assert_eq!(rest, [0xaa; 3], "{} values", values.len());
        }
    }

    #[test]
    fn the_bytes_of_texts_are_known_before_they_are_made() {
        // A text of a thousand letters, and 499 copies of it.
        let (mut prefixes, mut suffixes) = (vec![1000; 500], vec![0; 500]);
        (prefixes[0], suffixes[0]) = (0, 1000);
        let page = [packed(&prefixes), packed(&suffixes), vec![b'x'; 1000]].concat();
        assert_eq!(texts_bytes(&page, 500), Ok(500_000));
        let short = texts_bytes(&page[..page.len() - 1], 500);
        assert_eq!(short, Err("texts longer than the page"));
        let many = texts_bytes(&page, 499);
        assert_eq!(many, Err("it claims more values than the page has"));
        for end in 0..page.len() - 1000 {
            assert!(texts_bytes(&page[..end], 500).is_err(), "{end}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let texts = |prefixes: &[i64], suffixes: &[i64]| {
            let page = [packed(prefixes), packed(suffixes), vec![0; 30]].concat();
            texts_bytes(&page, 10)
        };
        assert_eq!(texts(&[0; 10], &[3; 10]), Ok(30));
        let longer = texts(&[0, 4], &[3, 0]);
        assert_eq!(longer, Err("a prefix longer than the text before"));
        assert_eq!(texts(&[0; 10], &[3; 9]), Err("more prefixes than texts"));
        assert_eq!(texts(&[0; 9], &[3; 10]), Err("fewer prefixes than texts"));
        assert_eq!(texts(&[0, -1], &[3, 0]), Err("a length below zero"));
        let mut blocks = Vec::new();
        for number in [1 << 40, 1, 10, 0] {
            number_to(&mut blocks, number);
        }
        assert!(numbers(&blocks, 10).is_err());
        assert!(numbers(&[], 10).is_err());
        assert!(numbers(&packed(&[1; 10]), 9).is_err());
        assert!(numbers(&packed(&[1; 10]), 10).is_ok());
    }
}
