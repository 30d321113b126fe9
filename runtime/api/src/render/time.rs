//! Event times as text, at the cost of a few bytes copied.

use galley_types::{EventTime, write_rfc3339};

/// Writes RFC 3339 times in UTC and remembers the last day, which most rows share.
#[derive(Debug, Default)]
pub(crate) struct TimeWriter {
    /// Days since the epoch, and `YYYY-MM-DDT` of that day once there was one.
    day: Option<(i64, [u8; DATE_LEN])>,
}

const EPOCH: &[u8] = b"1970-01-01T00:00:00Z";
const DATE_LEN: usize = "2026-03-01T".len();
const DAY_SECONDS: i64 = 86_400;

// === impl TimeWriter ===

impl TimeWriter {
    /// Appends `time` exactly as [`write_rfc3339`] does.
    pub(crate) fn write(&mut self, time: EventTime, out: &mut Vec<u8>) {
        if time == EventTime::EPOCH {
            // Of all that was computed or not found; the last day is still that of the rows.
            return out.extend_from_slice(EPOCH);
        }
        let seconds = time.seconds();
        let day = seconds.div_euclid(DAY_SECONDS);
        let date = match self.day {
            Some((known, date)) if known == day => date,
            _ => match date_of(day) {
                Some(date) => {
                    self.day = Some((day, date));
                    date
                }
                None => return write_rfc3339(time, out),
            },
        };
        let second = seconds.rem_euclid(DAY_SECONDS).unsigned_abs();
        out.extend_from_slice(&date);
        out.extend_from_slice(&two_digits(second / 3600, b':'));
        out.extend_from_slice(&two_digits(second / 60 % 60, b':'));
        out.extend_from_slice(&two_digits(second % 60, b'Z'));
        let micros = time.0.rem_euclid(1_000_000).unsigned_abs();
        if micros != 0 {
            out.pop();
            write_fraction(micros, out);
        }
    }
}

/// The date of a day of the years 0001 to 9999, which are all that RFC 3339 has.
fn date_of(day: i64) -> Option<[u8; DATE_LEN]> {
    const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;
    if !DAYS.contains(&day) {
        return None;
    }
    let mut text = Vec::with_capacity(32);
    write_rfc3339(EventTime::from_seconds(day * DAY_SECONDS), &mut text);
    text.first_chunk().copied()
}

fn two_digits(value: u64, end: u8) -> [u8; 3] {
    let digit = |value: u64| b'0' + u8::try_from(value % 10).unwrap_or(0);
    [digit(value / 10), digit(value), end]
}

/// Three digits where they say it all, else six, as protobuf's JSON does.
fn write_fraction(micros: u64, out: &mut Vec<u8>) {
    let (mut value, places) = if micros.is_multiple_of(1000) {
        (micros / 1000, 3)
    } else {
        (micros, 6)
    };
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().take(places).rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
    out.push(b'.');
    out.extend(digits.iter().take(places));
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_the_slow_writer_shows_them() {
        let mut writer = TimeWriter::default();
        let mut check = |micros: i64| {
            let (mut fast, mut slow) = (Vec::new(), Vec::new());
            writer.write(EventTime(micros), &mut fast);
            write_rfc3339(EventTime(micros), &mut slow);
            assert_eq!(
                String::from_utf8(fast).unwrap(),
                String::from_utf8(slow).unwrap()
            );
        };
        for micros in [
            0,
            -1,
            1,
            1_772_366_400_000_000,
            1_772_366_400_987_654,
            i64::MIN,
            i64::MAX,
        ] {
            check(micros);
        }
        for micros in [
            -62_135_596_800_000_000,
            -62_135_596_800_000_001,
            253_402_300_799_999_999,
        ] {
            check(micros);
            check(micros + 1);
        }
        // A walk over many days, hours and fractions.
        let mut micros = -70_000_000_000_000_000_i64;
        while micros < 260_000_000_000_000_000 {
            check(micros);
            micros += 97_654_321_987_650;
        }
    }
}
