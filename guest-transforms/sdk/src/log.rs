//! Lines for the operator's log. Lines past the node's limit (16 a call unless it is configured
//! otherwise) are dropped and counted.

#[cfg(target_arch = "wasm32")]
use crate::bindings::galley::transform::log::{Level, log};

#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy, Debug)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// Outside the sandbox, in an author's own tests, lines go to stderr.
#[cfg(not(target_arch = "wasm32"))]
fn log(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}

/// Writes a line that helps to find a fault.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// Writes a line of interest.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Writes a line about something that is not as it should be.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// Writes a line that a person should read.
pub fn error(message: &str) {
    log(Level::Error, message);
}

/// Sends the place and the text of a panic to the log before the call ends.
#[cfg(target_arch = "wasm32")]
pub(crate) fn install_panic_hook() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            // "panicked at src/lib.rs:12:5:\nmessage", on one line.
            error(&panic.to_string().replacen(":\n", ": ", 1));
        }));
    });
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn install_panic_hook() {}
