//! Bodies of requests.

use std::sync::{Arc, LazyLock};

use galley_api::from_outside::{Answer, Desk};
use serde_json::Value;

use crate::rides::NODE;

static DESK: LazyLock<Desk> = LazyLock::new(|| {
    let desk = Desk::new(Arc::clone(&NODE));
    // Rows for look-ups to find.
    for body in crate::seeds::PUSHES {
        let (status, answer) = desk.push(body.as_bytes());
        assert!(
            status == 200,
            "{body}: {status} {}",
            String::from_utf8_lossy(&answer)
        );
    }
    desk
});

/// The body of a push, which is also tried as that of a write to one view.
pub(crate) fn push(bytes: &[u8]) {
    told(DESK.push(bytes));
    told(DESK.write(bytes));
}

/// The body of a look-up, or a connection's bytes with a whole request.
pub(crate) fn look_up(bytes: &[u8]) {
    match DESK.connection(bytes) {
        Some((answer, end)) => {
            assert!(end <= bytes.len(), "a request ends within its bytes");
            told(answer);
        }
        None => told(DESK.look_up(bytes)),
    }
}

/// An answer is JSON or nothing, and never says that the server failed.
fn told((status, body): Answer) {
    let text = String::from_utf8_lossy(&body);
    assert_ne!(status, 500, "{text}");
    if !body.is_empty()
        && let Err(error) = serde_json::from_slice::<Value>(&body)
    {
        panic!("{error} in {text}");
    }
}
