//! Traps in `describe`.

use galley_hostile::*;

hostile!(describe: panic!("deliberate"), |input| Ok(input));
