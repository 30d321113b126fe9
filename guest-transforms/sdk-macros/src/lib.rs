//! The macros of `galley-transform-sdk`; see there for what they do.

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemFn, parse_macro_input};

mod attribute;
mod derive;
mod function;

/// Makes a plain function the transformation of an on-demand feature view.
///
/// `name = ".."` (default: the function's name), `version = ".."` (default: the crate's),
/// `output = ".."` or `outputs("a", "b")` (default: the function's name, or the fields of the
/// struct it returns), `columns` (the function works over columns),
/// `volatility = "immutable" | "per-request" | "volatile"` (default: per-request).
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let settings = parse_macro_input!(arguments as attribute::Settings);
    let function = parse_macro_input!(item as ItemFn);
    function::expand(&settings, function)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a struct's fields the outputs of a transformation.
///
/// `#[name("..")]` before a field calls the output something else.
#[proc_macro_derive(Outputs, attributes(name))]
pub fn outputs(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as DeriveInput);
    derive::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
