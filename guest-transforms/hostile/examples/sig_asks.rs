//! Asks for the request's time in `describe`, where there is no request.

use galley_hostile::*;

hostile!(
    describe: {
        let name = format!("sig_asks_{}", request::now_micros());
        signature(&name, Kind::Int64, Kind::Int64)
    },
    |input| Ok(input)
);
