//! Rejects the data with control characters, line breaks and a forged line of log.

use galley_hostile::*;

hostile!("err_control", Int64, |input| {
    let message = "\u{1b}[2J\r\nlevel=info msg=\"all is well\"\0\u{202e}".to_owned();
    Err(Error::Rejected(Rejection {
        row: Some(u32::MAX),
        message,
    }))
});
