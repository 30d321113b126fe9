//! What stands between the parentheses of `#[galley::transform(..)]`.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Ident, LitStr, Result, Token, parenthesized};

const KNOWN: &str = "name, version, output, outputs, columns and volatility";

#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<LitStr>,
    pub(crate) outputs: Vec<LitStr>,
    pub(crate) columns: bool,
    pub(crate) volatility: Option<LitStr>,
}

impl Parse for Settings {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut settings = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            match key.to_string().as_str() {
                "columns" => settings.columns = true,
                "name" => settings.name = Some(value(input)?),
                "version" => settings.version = Some(value(input)?),
                "output" => settings.outputs = vec![value(input)?],
                "volatility" => settings.volatility = Some(value(input)?),
                "outputs" => {
                    let names;
                    parenthesized!(names in input);
                    settings.outputs = Punctuated::<LitStr, Token![,]>::parse_terminated(&names)?
                        .into_iter()
                        .collect();
                }
                _ => {
                    let message = format!("unknown setting; there are {KNOWN}");
                    return Err(syn::Error::new(key.span(), message));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(settings)
    }
}

fn value(input: ParseStream<'_>) -> Result<LitStr> {
    input.parse::<Token![=]>()?;
    input.parse()
}

/// Takes `#[name("..")]` out of `attributes`.
pub(crate) fn take_name(attributes: &mut Vec<Attribute>) -> Result<Option<LitStr>> {
    let Some(index) = attributes
        .iter()
        .position(|attribute| attribute.path().is_ident("name"))
    else {
        return Ok(None);
    };
    attributes.remove(index).parse_args().map(Some)
}
