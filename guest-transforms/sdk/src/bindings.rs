//! The contract as Rust types, written by wit-bindgen.

#![allow(missing_docs)]

// `export` writes out what the component exports; with the SDK's own allocator that is done there.
#[cfg(feature = "allocator")]
wit_bindgen::generate!({
    path: "wit",
    world: "transform",
});

#[cfg(not(feature = "allocator"))]
wit_bindgen::generate!({
    path: "wit",
    world: "transform",
    pub_export_macro: true,
    export_macro_name: "export",
    default_bindings_module: "galley::bindings",
});
