//! Calls itself by control characters.

use galley_hostile::*;

hostile!(describe: signature("\u{1b}[31m\r\nred", Kind::Int64, Kind::Int64), |input| Ok(input));
