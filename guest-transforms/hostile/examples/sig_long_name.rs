//! Calls itself by a name of a megabyte.

use galley_hostile::*;

hostile!(describe: signature(&"n".repeat(1 << 20), Kind::Int64, Kind::Int64), |input| Ok(input));
