//! The classic of Feast's tutorial: a stored rate plus values from the request.

/// What the view serves.
#[derive(Debug, PartialEq, galley::Outputs)]
pub struct Rates {
    /// The rate plus the request's first value.
    pub conv_rate_plus_val1: f64,
    /// The rate plus the request's second value.
    pub conv_rate_plus_val2: f64,
}

/// A driver without a stored rate has no sums either: nulls never reach this function.
#[galley::transform(name = "transformed_conv_rate", volatility = "immutable")]
pub fn conversion_rate(conv_rate: f64, val_to_add: i64, val_to_add_2: i64) -> Rates {
    Rates {
        conv_rate_plus_val1: conv_rate + val_to_add as f64,
        conv_rate_plus_val2: conv_rate + val_to_add_2 as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_values_are_added() {
        let rates = conversion_rate(0.5, 1, 10);
        assert_eq!(
            (rates.conv_rate_plus_val1, rates.conv_rate_plus_val2),
            (1.5, 10.5)
        );
    }
}
