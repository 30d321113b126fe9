//! Event times: microseconds since the epoch, and how they are read and shown.

use std::time::{SystemTime, UNIX_EPOCH};

/// An instant in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventTime(pub i64);

/// Why a time could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a time: expected ISO 8601 such as 2026-03-01T12:00:00Z")]
pub struct TimeError(pub String);

/// The time of day, owned by whoever builds a node so that tests can set it.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The current instant.
    fn now(&self) -> EventTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

// === impl EventTime ===

impl EventTime {
    /// The epoch.
    pub const EPOCH: Self = Self(0);

    /// From whole seconds since the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Reads ISO 8601 as Feast's clients write it: date and time with `T` or a space, any number of
    /// fraction digits, an offset or `Z`, or neither (then UTC); a bare date is its midnight.
    ///
    /// # Errors
    /// [`TimeError`] with the text.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let error = || TimeError(text.chars().take(64).collect());
        let trimmed = text.trim();
        if let Ok(timestamp) = trimmed.parse::<jiff::Timestamp>() {
            return Ok(Self(timestamp.as_microsecond()));
        }
        // Python's isoformat and SQL write `+0000` or a space before the offset.
        if let Ok(zoned) = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S%.f %z", trimmed)
            .or_else(|_| jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", trimmed))
            .and_then(|parts| parts.to_timestamp())
        {
            return Ok(Self(zoned.as_microsecond()));
        }
        let utc = jiff::tz::TimeZone::UTC;
        if let Ok(datetime) = trimmed.parse::<jiff::civil::DateTime>() {
            let zoned = utc.to_timestamp(datetime).map_err(|_| error())?;
            return Ok(Self(zoned.as_microsecond()));
        }
        Err(error())
    }
}

impl std::fmt::Display for EventTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(32);
        write_rfc3339(*self, &mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or("out of range"))
    }
}

/// Appends `time` as RFC 3339 in UTC with no, 3 or 6 digits of fraction, as protobuf's JSON does.
/// Years outside 0001..9999 are clamped to that range.
pub fn write_rfc3339(time: EventTime, out: &mut Vec<u8>) {
    const YEAR_1: i64 = -62_135_596_800;
    const YEAR_9999_END: i64 = 253_402_300_799;
    let seconds = time.seconds().clamp(YEAR_1, YEAR_9999_END);
    let micros = time.0.rem_euclid(1_000_000).unsigned_abs();
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let mut put = |value: i64, width: u32| {
        for place in (0..width).rev() {
            let digit = value / 10_i64.pow(place) % 10;
            out.push(b'0' + u8::try_from(digit).unwrap_or(0));
        }
    };
    put(year, 4);
    out.push(b'-');
    let mut put = |value: i64, end: u8| {
        out.push(b'0' + u8::try_from(value / 10 % 10).unwrap_or(0));
        out.push(b'0' + u8::try_from(value % 10).unwrap_or(0));
        out.push(end);
    };
    put(month, b'-');
    put(day, b'T');
    put(second / 3600, b':');
    put(second / 60 % 60, b':');
    put(second % 60, b'Z');
    if micros != 0 {
        out.pop();
        let text = if micros.is_multiple_of(1000) {
            format!(".{:03}Z", micros / 1000)
        } else {
            format!(".{micros:06}Z")
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// Year, month and day of a count of days since the epoch (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

// === impl SystemClock ===

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock others take")]
    fn now(&self) -> EventTime {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        EventTime(micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_clients_send() {
        let check = |text: &str, micros: i64| {
            assert_eq!(EventTime::parse(text), Ok(EventTime(micros)), "{text}");
        };
        let noon = 1_772_366_400_000_000;
        check("2026-03-01T12:00:00Z", noon);
        check("2026-03-01T12:00:00", noon);
        check("2026-03-01 12:00:00", noon);
        check("2026-03-01 12:00:00+00:00", noon);
        check("2026-03-01T14:30:00+02:30", noon);
        check("2026-03-01T12:00:00+0000", noon);
        check("2026-03-01 12:00:00 +0000", noon);
        check("2026-03-01T12:00:00.987654Z", noon + 987_654);
        check("2026-03-01T12:00:00.5", noon + 500_000);
        check("2026-03-01", noon - 43_200_000_000);
        for bad in ["", "not a time", "2026-13-01", "1772366400"] {
            assert!(EventTime::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_shown_as_protobuf_shows_them() {
        let check = |micros: i64, text: &str| assert_eq!(EventTime(micros).to_string(), text);
        check(0, "1970-01-01T00:00:00Z");
        check(1_772_366_400_000_000, "2026-03-01T12:00:00Z");
        check(1_772_366_400_500_000, "2026-03-01T12:00:00.500Z");
        check(-1, "1969-12-31T23:59:59.999999Z");
        check(i64::MIN, "0001-01-01T00:00:00.224192Z");
        check(1_709_164_800_000_000, "2024-02-29T00:00:00Z");
    }
}
