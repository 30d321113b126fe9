//! Writes lines to the log for ever.

use galley_hostile::*;

hostile!("cpu_log", Int64, |input| loop {
    log::log(log::Level::Error, "again");
});
