//! What is the same for the whole request: its time, a seed, variables.

use std::cell::Cell;

use crate::Timestamp;

thread_local! {
    static IMMUTABLE: Cell<bool> = const { Cell::new(false) };
}

/// The time of the request. The same however often it is asked within one request.
///
/// # Panics
///
/// In a transformation that is declared `volatility = "immutable"`.
#[must_use]
pub fn now() -> Timestamp {
    refuse_if_immutable("request::now");
    Timestamp::from_micros(source::now_micros())
}

/// A number to seed a generator with; the same within one request.
///
/// # Panics
///
/// In a transformation that is declared `volatility = "immutable"`.
#[must_use]
pub fn seed() -> u64 {
    refuse_if_immutable("request::seed");
    source::seed()
}

/// The variable `name` of the component's `variables` table in spin.toml, if it is set there.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    source::variable(name)
}

/// Called by the macros' code before the author's function.
#[doc(hidden)]
pub fn begin(immutable: bool) {
    IMMUTABLE.set(immutable);
    crate::log::install_panic_hook();
}

fn refuse_if_immutable(what: &str) {
    assert!(
        !IMMUTABLE.get(),
        "{what}() in a transformation that is declared immutable: \
         its answers would be cached past the request. Remove volatility = \"immutable\""
    );
}

#[cfg(target_arch = "wasm32")]
mod source {
    pub(super) use crate::bindings::galley::transform::request::{now_micros, seed, variable};
}

/// Outside the sandbox the author's tests say what the request is.
#[cfg(not(target_arch = "wasm32"))]
mod source {
    use std::cell::RefCell;

    #[derive(Default)]
    pub(super) struct Request {
        pub(super) now_micros: i64,
        pub(super) seed: u64,
        pub(super) variables: Vec<(String, String)>,
    }

    thread_local! {
        pub(super) static REQUEST: RefCell<Request> = RefCell::default();
    }

    pub(super) fn now_micros() -> i64 {
        REQUEST.with_borrow(|request| request.now_micros)
    }

    pub(super) fn seed() -> u64 {
        REQUEST.with_borrow(|request| request.seed)
    }

    pub(super) fn variable(name: &str) -> Option<String> {
        REQUEST.with_borrow(|request| {
            let found = request.variables.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        })
    }
}

/// Sets what [`now`], [`seed`] and [`variable`] tell in tests that run outside the sandbox.
#[cfg(not(target_arch = "wasm32"))]
pub fn set_for_tests(now: Timestamp, seed: u64, variables: &[(&str, &str)]) {
    source::REQUEST.set(source::Request {
        now_micros: now.micros(),
        seed,
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    });
}
