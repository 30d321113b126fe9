//! What a ride will cost: five numbers in, two out. The speed of a call is measured with it.

/// What the view serves.
#[derive(Debug, PartialEq, galley::Outputs)]
pub struct Quote {
    /// The fare, surge included.
    pub fare: f64,
    /// The fare for each kilometre.
    pub fare_per_km: f64,
}

/// Distances below a kilometre count as one.
#[galley::transform(volatility = "immutable")]
pub fn fare_quote(
    base_fare: f64,
    fare_by_km: f64,
    surge: f64,
    distance_m: i64,
    wait_seconds: i64,
) -> Quote {
    let km = if distance_m < 1_000 {
        1.0
    } else {
        distance_m as f64 * 0.001
    };
    let fare = (base_fare + fare_by_km * km + wait_seconds as f64 * 0.01) * surge;
    Quote {
        fare,
        fare_per_km: fare / km,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_ride_costs_a_kilometre() {
        let quote = fare_quote(2.0, 1.5, 1.0, 300, 0);
        assert_eq!((quote.fare, quote.fare_per_km), (3.5, 3.5));
    }
}
