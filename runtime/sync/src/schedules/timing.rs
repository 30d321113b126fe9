//! When a schedule's turn comes.

use std::str::FromStr as _;
use std::time::Duration;

use croner::Cron;
use galley_types::EventTime;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A cron expression in a time zone, and how much later than that a run may begin.
#[derive(Debug)]
pub(super) struct Timing {
    cron: Cron,
    zone: TimeZone,
    jitter: Duration,
}

/// One turn: the time of the expression, and when the run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) tick: EventTime,
    pub(super) due: EventTime,
}

/// The longest delay of a run.
const JITTER_MAX: Duration = Duration::from_hours(1);

// === impl Timing ===

impl Timing {
    /// Reads an expression of five fields, or of six with seconds first, or a nickname such as
    /// `@hourly`; what never comes is refused.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(cron: &str, timezone: &str, jitter: Duration) -> Result<Self, String> {
        let wrong = |reason: &str| {
            format!(
                "cron '{cron}': {reason}; expected minute hour day month weekday, such as \
                 '*/5 * * * *'"
            )
        };
        // A field of nothing is taken for one that no time matches, and looked for second by second.
        let mut fields = cron.split_whitespace();
        if fields.any(|field| field.split(',').any(str::is_empty)) {
            return Err(wrong("a list with nothing between its commas"));
        }
        let expression = Cron::from_str(cron).map_err(|error| wrong(&error.to_string()))?;
        let zone = TimeZone::get(timezone).map_err(|_| {
            format!("timezone '{timezone}' is not known; expected a name such as Europe/Berlin")
        })?;
        if jitter > JITTER_MAX {
            return Err(format!("jitter is longer than {JITTER_MAX:?}"));
        }
        let timing = Self {
            cron: expression,
            zone,
            jitter,
        };
        if timing
            .after(EventTime::from_seconds(1_767_225_600))
            .is_none()
        {
            return Err(format!("cron '{cron}' never comes"));
        }
        Ok(timing)
    }

    /// The first time of the expression after `time`.
    pub(super) fn after(&self, time: EventTime) -> Option<EventTime> {
        let start = Timestamp::from_microsecond(time.0).ok()?;
        let start = start.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&start, false).ok()?;
        // The expression knows whole seconds.
        let next = EventTime::from_seconds(next.timestamp().as_second());
        (next > time).then_some(next)
    }

    /// The first turn after `time`; `salt` decides on its delay.
    pub(super) fn turn_after(&self, time: EventTime, salt: u64) -> Option<Turn> {
        let tick = self.after(time)?;
        let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX);
        let delay = match jitter {
            0 => 0,
            jitter => mixed(salt ^ tick.0.unsigned_abs()) % jitter,
        };
        let delay = i64::try_from(delay).unwrap_or(0);
        Some(Turn {
            tick,
            due: EventTime(tick.0.saturating_add(delay)),
        })
    }
}

/// The finaliser of SplitMix64: neighbouring times get delays that have nothing in common.
fn mixed(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(cron: &str, zone: &str, time: &str) -> String {
        let timing = Timing::parse(cron, zone, Duration::ZERO).unwrap();
        let time = EventTime::parse(time).unwrap();
        timing.after(time).map(|it| it.to_string()).unwrap()
    }

    #[test]
    fn expressions_are_read_in_their_zone() {
        let time = "2026-03-28T23:30:00.5Z";
        assert_eq!(after("*/5 * * * *", "UTC", time), "2026-03-28T23:35:00Z");
        assert_eq!(after("* * * * * *", "UTC", time), "2026-03-28T23:30:01Z");
        assert_eq!(after("@daily", "UTC", time), "2026-03-29T00:00:00Z");
        // 01:30 there is 00:30 in UTC, and on the day after, when the clocks went forward, 23:30.
        let berlin = |time| after("30 1 * * *", "Europe/Berlin", time);
        assert_eq!(berlin(time), "2026-03-29T00:30:00Z");
        assert_eq!(berlin("2026-03-29T00:30:00Z"), "2026-03-29T23:30:00Z");
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let check = |cron: &str, zone: &str, wanted: &str| {
            let error = Timing::parse(cron, zone, Duration::ZERO).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        };
        check("61 * * * *", "UTC", "cron '61 * * * *'");
        check("", "UTC", "cron ''");
        check("every day", "UTC", "expected minute hour");
        check("0 0 30 2 *", "UTC", "never comes");
        check(",, * * * *", "UTC", "nothing between its commas");
        check("0 5, * * *", "UTC", "nothing between its commas");
        check("* * * * *", "Mars/Olympus", "timezone 'Mars/Olympus'");
        assert!(Timing::parse("* * * * *", "UTC", Duration::from_secs(3601)).is_err());
    }

    #[test]
    fn a_delay_is_shorter_than_the_jitter_and_the_same_each_time() {
        let timing = Timing::parse("* * * * *", "UTC", Duration::from_secs(10)).unwrap();
        let mut delays = Vec::new();
        for minute in 0..50 {
            let time = EventTime::from_seconds(minute * 60);
            let turn = timing.turn_after(time, 7).unwrap();
            assert_eq!(Some(turn), timing.turn_after(time, 7));
            delays.push(turn.due.0 - turn.tick.0);
        }
        assert!(delays.iter().all(|delay| (0..10_000_000).contains(delay)));
        delays.sort_unstable();
        delays.dedup();
        assert!(delays.len() > 40, "{delays:?}");
    }
}
