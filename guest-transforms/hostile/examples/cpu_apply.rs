//! Spins in `apply`.

use galley_hostile::*;

hostile!("cpu_apply", Int64, |input| spin());
