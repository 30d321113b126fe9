//! `#[derive(Outputs)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result};

use crate::attribute::take_name;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(
            &input.ident,
            "outputs are the fields of a struct",
        ));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(
            &input.ident,
            "outputs need names: use named fields",
        ));
    };
    let mut idents = Vec::new();
    let mut types = Vec::new();
    let mut names = Vec::new();
    for field in &fields.named {
        let Some(ident) = &field.ident else { continue };
        let name = match take_name(&mut field.attrs.clone())? {
            Some(name) => name.value(),
            None => ident.to_string().trim_start_matches("r#").to_owned(),
        };
        idents.push(ident);
        types.push(&field.ty);
        names.push(name);
    }
    let this = &input.ident;
    Ok(quote! {
        const _: () = {
            #[doc(hidden)]
            pub struct Columns {
                #(#idents: ::galley::rt::Builder<#types>,)*
            }

            impl ::galley::Outputs for #this {
                type Columns = Columns;

                fn fields(_names: &[&str], nulls: bool) -> ::std::vec::Vec<::galley::rt::Field> {
                    ::std::vec![#(::galley::rt::field::<#types>(#names, nulls)),*]
                }

                fn room(rows: usize) -> Self::Columns {
                    Columns { #(#idents: ::galley::rt::Builder::new(rows)),* }
                }

                #[inline]
                fn write_row(self, columns: &mut Self::Columns, row: usize) {
                    #(columns.#idents.set(row, self.#idents);)*
                }

                fn write_nulls(columns: &mut Self::Columns, row: usize) {
                    #(columns.#idents.set_null(row);)*
                }

                fn close(columns: Self::Columns) -> ::std::vec::Vec<::galley::rt::Column> {
                    ::std::vec![#(columns.#idents.finish()),*]
                }
            }
        };
    })
}
