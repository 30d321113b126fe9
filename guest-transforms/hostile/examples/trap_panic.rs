//! Panics with a text that goes to the log.

use galley_hostile::*;

hostile!("trap_panic", Int64, |input| {
    galley::rt::begin(false);
    panic!("deliberate");
});
