//! The fields of `#[data]` types whose types calls encode in a form of their own, which serde's derive does not know.

use crate::types::bare;
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Data, DeriveInput, Field, Fields, Type, parse_quote};

/// The names of the types for which `Data::BY_SERDE` is false.
const OWN_FORM: [&str; 9] = [
    "NonZeroI128",
    "NonZeroU128",
    "PathBuf",
    "SocketAddr",
    "SocketAddrV6",
    "SystemTime",
    "Value",
    "i128",
    "u128",
];

/// Lets serde's derive encode each of these fields like calls do, unless the author has set how the field is encoded.
pub(crate) fn mark(item: &mut DeriveInput) {
    // serde encodes a transparent type as its field, which therefore cannot be missing.
    let are_never_missing = has(&item.attrs, &["default", "transparent"]);
    match &mut item.data {
        Data::Struct(data) => mark_all(&mut data.fields, are_never_missing),
        Data::Enum(data) => data.variants.iter_mut().for_each(|variant| mark_all(&mut variant.fields, false)),
        Data::Union(_) => {}
    }
}

fn mark_all(fields: &mut Fields, are_never_missing: bool) {
    for field in fields.iter_mut().filter(|field| has_own_form(&field.ty) && !is_custom(field)) {
        field.attrs.push(parse_quote!(#[serde(with = "::replug_api::edge::field")]));
        // With `with`, serde no longer reads a missing field as `None`. Only a field with a name can be missing.
        let may_be_missing = field.ident.is_some() && !are_never_missing && is_option(&field.ty);
        if may_be_missing && !has(&field.attrs, &["default"]) {
            field.attrs.push(parse_quote!(#[serde(default)]));
        }
    }
}

/// Whether the attributes of a field say how it is encoded.
pub(crate) fn is_custom(field: &Field) -> bool {
    has(&field.attrs, &["with", "serialize_with", "deserialize_with"])
}

fn has_own_form(ty: &Type) -> bool {
    contains(ty.to_token_stream(), &|name| OWN_FORM.contains(&name))
}

/// Whether a name is among the tokens, at any depth.
fn contains(tokens: TokenStream, is_wanted: &dyn Fn(&str) -> bool) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => is_wanted(&ident.to_string()),
        TokenTree::Group(group) => contains(group.stream(), is_wanted),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

fn is_option(ty: &Type) -> bool {
    matches!(bare(ty), Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Option"))
}

/// Whether serde's attributes include one of these names.
fn has(attributes: &[Attribute], names: &[&str]) -> bool {
    let mut found = false;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        // Errors are ignored here: serde itself reports an attribute that cannot be parsed.
        let _ = attribute.parse_nested_meta(|meta| {
            found |= names.iter().any(|name| meta.path.is_ident(name));
            if let Ok(value) = meta.value() {
                value.parse::<syn::Expr>()?;
            } else if meta.input.peek(syn::token::Paren) {
                let content;
                syn::parenthesized!(content in meta.input);
                content.parse::<TokenStream>()?;
            }
            Ok(())
        });
    }
    found
}
