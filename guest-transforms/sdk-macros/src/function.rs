//! `#[galley::transform]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{
    Error, FnArg, GenericArgument, ItemFn, LitStr, PatType, PathArguments, Result, ReturnType, Type,
};

use crate::attribute::{Settings, take_name};

/// What is known about one argument.
struct Argument {
    name: String,
    /// The type of one row of it.
    item: Type,
    local: proc_macro2::Ident,
}

/// What the function returns: a success, and whether it stands in a `Result`.
struct Returned {
    success: Type,
    fallible: bool,
}

pub(crate) fn expand(settings: &Settings, mut function: ItemFn) -> Result<TokenStream> {
    refuse_odd_functions(&function)?;
    let arguments = arguments(settings, &mut function)?;
    let returned = returned(&function)?;
    let names = output_names(settings, &function, &returned);
    let describe = describe(settings, &function, &arguments, (&returned, &names))?;
    let apply = if settings.columns {
        apply_columns(&function, &arguments, &returned)
    } else {
        apply_rows(&function, &arguments, &returned)
    };
    let immutable = settings
        .volatility
        .as_ref()
        .is_some_and(|text| text.value() == "immutable");
    let count = arguments.len();
    let component = format_ident!("__galley_{}", function.sig.ident);
    Ok(quote! {
        #function

        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        pub struct #component;

        #[allow(clippy::all)]
        const _: () = {
            impl ::galley::rt::Guest for #component {
                fn describe() -> ::galley::rt::Signature {
                    #describe
                }

                fn apply(
                    batch: ::galley::rt::Batch,
                ) -> ::std::result::Result<::galley::rt::Batch, ::galley::rt::Error> {
                    ::galley::rt::begin(#immutable);
                    let batch = ::galley::rt::Taken::new(batch);
                    let rows = ::galley::rt::columns(&batch, #count)?;
                    #apply
                }
            }

            #[cfg(target_arch = "wasm32")]
            ::galley::rt::export!(#component with_types_in ::galley::bindings);
        };
    })
}

fn refuse_odd_functions(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        return Err(Error::new_spanned(
            token,
            "a transformation cannot wait: remove async",
        ));
    }
    if signature.generics.type_params().next().is_some() {
        let message = "a transformation has fixed types: remove the type parameters";
        return Err(Error::new_spanned(&signature.generics, message));
    }
    if signature.inputs.is_empty() {
        let message = "a transformation needs an argument for every input";
        return Err(Error::new_spanned(&signature.ident, message));
    }
    Ok(())
}

fn arguments(settings: &Settings, function: &mut ItemFn) -> Result<Vec<Argument>> {
    let mut arguments = Vec::new();
    for (index, input) in function.sig.inputs.iter_mut().enumerate() {
        let FnArg::Typed(input) = input else {
            return Err(Error::new_spanned(
                input,
                "a transformation is a plain function",
            ));
        };
        let renamed = take_name(&mut input.attrs)?;
        let item = if settings.columns {
            item_of(&input.ty)?
        } else {
            (*input.ty).clone()
        };
        arguments.push(Argument {
            name: argument_name(input, renamed)?,
            item,
            local: format_ident!("column_{index}"),
        });
    }
    Ok(arguments)
}

fn argument_name(input: &PatType, renamed: Option<LitStr>) -> Result<String> {
    match (renamed, &*input.pat) {
        (Some(name), _) => Ok(name.value()),
        (None, syn::Pat::Ident(pattern)) => {
            let text = pattern.ident.to_string();
            Ok(text.trim_start_matches("r#").to_owned())
        }
        (None, pattern) => {
            let message = "an input needs a name: use a plain argument, or #[name(\"..\")]";
            Err(Error::new_spanned(pattern, message))
        }
    }
}

/// `T` of `&[T]`.
fn item_of(argument: &Type) -> Result<Type> {
    if let Type::Reference(reference) = argument
        && let Type::Slice(slice) = &*reference.elem
    {
        return Ok((*slice.elem).clone());
    }
    let message = "over columns, every argument is a slice such as &[f64] or &[Option<f64>]";
    Err(Error::new_spanned(argument, message))
}

fn returned(function: &ItemFn) -> Result<Returned> {
    let ReturnType::Type(_, returned) = &function.sig.output else {
        let message = "a transformation returns its outputs";
        return Err(Error::new_spanned(&function.sig.ident, message));
    };
    if let Type::Path(path) = &**returned
        && let Some(last) = path.path.segments.last()
        && last.ident == "Result"
        && let PathArguments::AngleBracketed(generics) = &last.arguments
        && let Some(GenericArgument::Type(success)) = generics.args.first()
    {
        let success = success.clone();
        return Ok(Returned {
            success,
            fallible: true,
        });
    }
    let success = (**returned).clone();
    Ok(Returned {
        success,
        fallible: false,
    })
}

/// The names given, or the function's own name for a single output.
fn output_names(settings: &Settings, function: &ItemFn, returned: &Returned) -> Vec<LitStr> {
    let single = !matches!(returned.success, Type::Tuple(_));
    if settings.outputs.is_empty() && single {
        let ident = &function.sig.ident;
        return vec![LitStr::new(&ident.to_string(), ident.span())];
    }
    settings.outputs.clone()
}

fn describe(
    settings: &Settings,
    function: &ItemFn,
    arguments: &[Argument],
    (returned, names): (&Returned, &[LitStr]),
) -> Result<TokenStream> {
    if let Type::Tuple(tuple) = &returned.success
        && tuple.elems.len() != names.len()
    {
        let message = format!(
            "{} values are returned: name them, outputs(\"..\", \"..\")",
            tuple.elems.len()
        );
        return Err(Error::new_spanned(tuple, message));
    }
    let name = match &settings.name {
        Some(name) => name.value(),
        None => function.sig.ident.to_string(),
    };
    let version = match &settings.version {
        Some(version) => quote!(#version),
        None => quote!(::std::env!("CARGO_PKG_VERSION")),
    };
    let volatility = volatility(settings)?;
    let inputs = arguments.iter().map(|argument| argument.name.as_str());
    let items: Vec<_> = arguments.iter().map(|argument| &argument.item).collect();
    let success = &returned.success;
    // Over rows the code below keeps nulls away from arguments that cannot hold them, so every
    // input may be null. Over columns nobody does, once the host hands nulls over.
    let (copes, fields, withheld) = if settings.columns {
        (
            quote!(none_takes),
            quote!(::galley::rt::Columns),
            quote!(none_takes),
        )
    } else {
        (
            quote!(true),
            quote!(::galley::rt::Outputs),
            quote!(!all_take),
        )
    };
    Ok(quote! {
        let none_takes = true #(&& !<#items as ::galley::rt::Arg<'_>>::NULLABLE)*;
        let all_take = true #(&& <#items as ::galley::rt::Arg<'_>>::NULLABLE)*;
        ::galley::rt::Signature {
            name: #name.to_owned(),
            version: #version.to_owned(),
            inputs: ::std::vec![#(::galley::rt::Field {
                name: #inputs.to_owned(),
                data_type: <#items as ::galley::rt::Arg<'_>>::TYPE,
                nullable: #copes || <#items as ::galley::rt::Arg<'_>>::NULLABLE,
            }),*],
            outputs: <#success as #fields>::fields(&[#(#names),*], #withheld),
            null_handling: if none_takes {
                ::galley::rt::NullHandling::NullInNullOut
            } else {
                ::galley::rt::NullHandling::CalledOnNull
            },
            volatility: ::galley::rt::Volatility::#volatility,
        }
    })
}

fn volatility(settings: &Settings) -> Result<syn::Ident> {
    let Some(text) = &settings.volatility else {
        return Ok(format_ident!("PerRequest"));
    };
    match text.value().as_str() {
        "immutable" => Ok(format_ident!("Immutable")),
        "per-request" => Ok(format_ident!("PerRequest")),
        "volatile" => Ok(format_ident!("Volatile")),
        _ => {
            let message = "volatility is \"immutable\", \"per-request\" or \"volatile\"";
            Err(Error::new(text.span(), message))
        }
    }
}

fn apply_rows(function: &ItemFn, arguments: &[Argument], returned: &Returned) -> TokenStream {
    let ident = &function.sig.ident;
    let locals: Vec<_> = arguments.iter().map(|argument| &argument.local).collect();
    let names = arguments.iter().map(|argument| argument.name.as_str());
    let items = arguments.iter().map(|argument| &argument.item);
    let index = 0..arguments.len();
    let success = &returned.success;
    let mut value = quote!(#ident(#(#locals.get(row)),*));
    if returned.fallible {
        value = quote!(#value.map_err(|error| ::galley::rt::rejected(Some(row), &error))?);
    }
    quote! {
        #(let #locals = ::galley::rt::open::<#items>(&batch, #index, #names)?;)*
        let mut columns = <#success as ::galley::rt::Outputs>::room(rows);
        let may_withhold = false #(|| #locals.may_withhold())*;
        for row in 0..rows {
            if may_withhold && (false #(|| #locals.withholds(row))*) {
                <#success as ::galley::rt::Outputs>::write_nulls(&mut columns, row);
                continue;
            }
            let value: #success = #value;
            ::galley::rt::Outputs::write_row(value, &mut columns, row);
        }
        ::galley::rt::batch(rows, ::galley::rt::finish::<#success>(columns))
    }
}

fn apply_columns(function: &ItemFn, arguments: &[Argument], returned: &Returned) -> TokenStream {
    let ident = &function.sig.ident;
    let locals: Vec<_> = arguments.iter().map(|argument| &argument.local).collect();
    let names = arguments.iter().map(|argument| argument.name.as_str());
    let items = arguments.iter().map(|argument| &argument.item);
    let index = 0..arguments.len();
    let success = &returned.success;
    let mut value = quote!(#ident(#(&#locals),*));
    if returned.fallible {
        value = quote!(#value.map_err(|error| ::galley::rt::rejected(None, &error))?);
    }
    quote! {
        #(let #locals = ::galley::rt::whole::<#items>(&batch, #index, #names)?;)*
        let value: #success = #value;
        ::galley::rt::batch(rows, ::galley::rt::Columns::finish(value, rows)?)
    }
}
