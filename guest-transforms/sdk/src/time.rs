//! Instants.

/// An instant: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_HOUR: i64 = 3_600 * MICROS_PER_SECOND;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

impl Timestamp {
    /// The instant `micros` microseconds after the epoch (before it, when negative).
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, with their fraction.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / MICROS_PER_SECOND as f64
    }

    /// Seconds from `earlier` to this instant; negative when `earlier` is the later one.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / MICROS_PER_SECOND as f64
    }

    /// The hour of the day in UTC, 0 to 23.
    #[must_use]
    pub const fn hour(self) -> u32 {
        (self.0.rem_euclid(MICROS_PER_DAY) / MICROS_PER_HOUR) as u32
    }

    /// The day of the week in UTC, 0 is Monday.
    #[must_use]
    pub const fn weekday(self) -> u32 {
        // The epoch was a Thursday.
        (self.0.div_euclid(MICROS_PER_DAY) + 3).rem_euclid(7) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_parts_hold_before_the_epoch_too() {
        let before = Timestamp::from_micros(-1);
        assert_eq!((before.hour(), before.weekday()), (23, 2));
        let epoch = Timestamp::from_micros(0);
        assert_eq!((epoch.hour(), epoch.weekday()), (0, 3));
        assert_eq!(epoch.seconds_since(before), 0.000_001);
    }
}
