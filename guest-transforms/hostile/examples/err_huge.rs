//! Rejects the data with a text of 8 MiB.

use galley_hostile::*;

hostile!("err_huge", Int64, |input| Err(Error::Rejected(Rejection {
    row: Some(0),
    message: "x".repeat(8 << 20)
})));
