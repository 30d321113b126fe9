//! How settings are written: sizes and durations.

use std::time::Duration;

const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

const TIMES: [(&str, u64); 5] = [
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// How a size looks, for messages.
pub(crate) const SIZE: &str = "a size such as \"16MiB\" or \"64KiB\"";
/// How a duration looks, for messages.
pub(crate) const DURATION: &str = "a duration such as \"50ms\" or \"5s\"";

/// Bytes of `16MiB`, `64KiB`, `4096B`; `None` for what is no size, or too large a one.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    scaled(text, &SIZES)
}

/// The time of `50ms`, `5s`, `500us`; `None` for what is no duration, or too long a one.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    scaled(text, &TIMES).map(Duration::from_micros)
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_part_of_the_value() {
        assert_eq!(size("16MiB"), Some(16 << 20));
        assert_eq!(size("3 KiB"), Some(3 << 10));
        assert_eq!(duration("250us"), Some(Duration::from_micros(250)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        for wrong in [
            "",
            "MiB",
            "16",
            "16MB",
            "-1s",
            "1.5s",
            "99999999999999999GiB",
        ] {
            assert_eq!((size(wrong), duration(wrong)), (None, None), "{wrong}");
        }
    }
}
