//! Spins in `describe`.

use galley_hostile::*;

hostile!(describe: spin(), |input| Ok(input));
