//! How values are written: counts, sizes, durations, switches.

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

/// `64MiB`, `16KiB`, `4096`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let bytes = text.parse().ok().or_else(|| galley_manifest::size(text));
    bytes.ok_or_else(|| format!("expected a size such as 64MiB, 16KiB or 4096, got '{text}'"))
}

/// The largest unit that divides the size.
pub(super) fn show_size(bytes: u64) -> String {
    for (name, unit) in SIZES {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// `250ms`, `10s`, `5m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    galley_manifest::duration(text)
        .ok_or_else(|| format!("expected a duration such as 250ms, 10s or 5m, got '{text}'"))
}

/// The largest unit that divides the duration.
pub(super) fn show_duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    for (name, unit) in TIMES {
        if micros >= unit && micros.is_multiple_of(unit) {
            return format!("{}{name}", micros / unit);
        }
    }
    format!("{micros}us")
}

/// A whole number.
pub(super) fn count<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("expected a whole number, got '{text}'"))
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("expected true or false, got '{text}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_and_shown() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("4096"), Ok(4096));
        assert!(size("64MB").is_err() && size("").is_err() && size("99999999999GiB").is_err());
        assert_eq!(show_size(64 << 20), "64MiB");
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("10").is_err() && duration("-1s").is_err());
        assert_eq!(show_duration(Duration::from_secs(300)), "5m");
    }
}
