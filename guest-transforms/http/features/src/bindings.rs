//! The contract as Rust types, written by wit-bindgen.

#![allow(missing_docs)]

wit_bindgen::generate!({
    path: "wit",
    world: "galley:features/features",
    generate_all,
});
