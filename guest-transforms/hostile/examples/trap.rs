//! Executes `unreachable`.

use galley_hostile::*;

#[cfg(target_arch = "wasm32")]
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn trap() -> ! {
    std::process::abort()
}

hostile!("trap", Int64, |input| trap());
