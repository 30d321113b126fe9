//! The contract as Rust types, written by wit-bindgen.

#![allow(missing_docs)]

wit_bindgen::generate!({
    path: "wit",
    world: "transform",
    pub_export_macro: true,
    export_macro_name: "export",
    default_bindings_module: "galley::bindings",
});
