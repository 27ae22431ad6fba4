//! `#[config]` and `#[state]`: serde's traits for a plugin's configuration and state.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Data, DeriveInput, Error, Result};

/// Which of the two attributes is expanded.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Config,
    State,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::State => "state",
        }
    }
}

pub(crate) fn expand(kind: Kind, attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let name = kind.name();
    if !attribute.is_empty() {
        return Err(Error::new_spanned(attribute, format!("`#[{name}]` takes no arguments")));
    }
    let item: DeriveInput = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), format!("`#[{name}]` belongs on a struct or an enum")))?;
    if let Data::Union(_) = item.data {
        let message = format!("`#[{name}]` cannot encode a union: write an enum");
        return Err(Error::new(item.ident.span(), message));
    }
    item.attrs.iter().try_for_each(|attribute| check(kind, attribute))?;
    let serialize = match kind {
        Kind::Config => None,
        Kind::State => Some(quote!(::replug_api::serde::Serialize,)),
    };
    Ok(quote! {
        #[derive(#serialize ::replug_api::serde::Deserialize)]
        #[serde(crate = "::replug_api::serde")]
        #item
    })
}

/// Rejects an attribute that implements or sets the same a second time.
fn check(kind: Kind, attribute: &Attribute) -> Result<()> {
    let name = kind.name();
    let path = attribute.path();
    if path.is_ident("derive") {
        return attribute.parse_nested_meta(|meta| match meta.path.segments.last() {
            Some(last) if derives(kind, &last.ident.to_string()) => {
                Err(meta.error(format!("`#[{name}]` derives `{}` already: remove it here", last.ident)))
            }
            _ => Ok(()),
        });
    }
    if path.is_ident("serde") {
        return attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("crate") {
                return Err(meta.error(format!("`#[{name}]` sets `crate` itself: remove it")));
            }
            skip_value(&meta)
        });
    }
    let is_ours = path.segments.len() == 2 && path.segments[0].ident == "replug_api";
    match path.segments.last() {
        Some(last) if is_ours && ["data", "state"].iter().any(|other| last.ident == other) => {
            let message = format!("`#[{}]` includes `#[{name}]`: remove `#[{name}]`", last.ident);
            Err(Error::new_spanned(attribute, message))
        }
        Some(last) if is_ours && last.ident == "config" => {
            let message = format!("`#[{name}]` includes `#[config]`: remove `#[config]`");
            Err(Error::new_spanned(attribute, message))
        }
        _ => Ok(()),
    }
}

fn derives(kind: Kind, name: &str) -> bool {
    name == "Deserialize" || (name == "Serialize" && matches!(kind, Kind::State))
}

/// Skips the value of an argument of serde's attribute.
pub(crate) fn skip_value(meta: &syn::meta::ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(syn::Token![=]) {
        meta.value()?.parse::<syn::Expr>()?.into_token_stream();
    } else if meta.input.peek(syn::token::Paren) {
        let content;
        syn::parenthesized!(content in meta.input);
        content.parse::<TokenStream>()?;
    }
    Ok(())
}
