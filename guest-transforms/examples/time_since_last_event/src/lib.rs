//! How long ago something last happened: a stored instant against the request's own time.

use galley::Timestamp;

/// What the view serves.
#[derive(Debug, PartialEq, galley::Outputs)]
pub struct Recency {
    /// Seconds since the last event; null when there was none. An event after the request's time,
    /// from a clock that runs ahead, counts as just now.
    pub seconds_since_last_event: Option<f64>,
    /// Whether it happened within the window.
    pub is_active: bool,
}

const WINDOW_SECONDS_DEFAULT: f64 = 86_400.0;

/// The window is the variable `window_seconds` of spin.toml, a day unless it is set.
#[galley::transform]
pub fn time_since_last_event(last_event: Option<Timestamp>) -> Result<Recency, String> {
    let window = match galley::request::variable("window_seconds") {
        None => WINDOW_SECONDS_DEFAULT,
        Some(text) => text
            .parse()
            .map_err(|error| format!("variable window_seconds is {text:?}: {error}"))?,
    };
    let now = galley::request::now();
    let seconds = last_event.map(|event| now.seconds_since(event).max(0.0));
    Ok(Recency {
        seconds_since_last_event: seconds,
        is_active: seconds.is_some_and(|seconds| seconds <= window),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_a_variable() {
        galley::request::set_for_tests(
            Timestamp::from_micros(100_000_000),
            0,
            &[("window_seconds", "30")],
        );
        let recency = time_since_last_event(Some(Timestamp::from_micros(60_000_000))).unwrap();
        assert_eq!(recency.seconds_since_last_event, Some(40.0));
        assert!(!recency.is_active);
    }
}
