//! Says that the host is at fault.

use galley_hostile::*;

hostile!("err_blames_host", Int64, |input| Err(Error::InvalidInput(
    "the signature is not kept".to_owned()
)));
