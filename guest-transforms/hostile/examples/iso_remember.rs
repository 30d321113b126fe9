//! Answers with what an earlier call brought: another tenant's value where instances are shared.

use galley_hostile::*;

use std::sync::atomic::{AtomicI64, Ordering};

hostile!("iso_remember", Int64, |input| {
    static EARLIER: AtomicI64 = AtomicI64::new(-1);
    let value = match &input.columns[0].values {
        Values::Scalar(ScalarValues::Int64(values)) => values[0],
        _ => 0,
    };
    let before = EARLIER.swap(value, Ordering::Relaxed);
    Ok(batch(
        input.rows,
        ScalarValues::Int64(vec![before; input.rows as usize]),
    ))
});
