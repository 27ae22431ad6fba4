//! `#[data]`: serde for all encodings, and the FFI-safe mirror of a type for calls in process.

use crate::{
    by_serde, docs, fields,
    names::Case,
    places::{Place, Places},
    quoted::quoted,
    settings, types,
};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::{
    Attribute, Data, DataEnum, DeriveInput, Error, Field, Fields, Result, Variant, ext::IdentExt,
    spanned::Spanned,
};

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let by_serde = match syn::parse2::<Option<Ident>>(attribute.clone()) {
        Ok(Some(ident)) if ident == "serde" => true,
        Ok(None) => false,
        _ => return Err(Error::new_spanned(attribute, "the only argument of `#[data]` is `serde`")),
    };
    let mut item: DeriveInput = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), "`#[data]` belongs on a struct or an enum"))?;
    check_whole(&item)?;
    if by_serde {
        return Ok(by_serde::expand(&item));
    }
    check(&item)?;
    fields::mark(&mut item);

    let name = &item.ident;
    let ffi = format_ident!("{name}Ffi", span = Span::mixed_site());
    let text = name.unraw().to_string();
    let docs = docs::of(&item.attrs);
    let names = Case::of(&item.attrs)?;
    let mut places = Places::default();
    let mirror = match &item.data {
        Data::Struct(data) => structure(name, &data.fields, names, &mut places),
        Data::Enum(data) => enumeration(name, data, names, &mut places)?,
        Data::Union(_) => return Err(union(&item)),
    };
    let Mirror { shape, describe, into, from } = mirror;
    let places = places.declared();
    Ok(quoted! {
        #[derive(::replug_api::serde::Serialize, ::replug_api::serde::Deserialize)]
        #[serde(crate = "::replug_api::serde")]
        #item

        const _: () = {
            #places

            // This is a new type and not an alias, so that a recursive type can mention it. It has a const parameter,
            // because the compiler computes the layout of a generic type only where the type is used. Without the
            // parameter, a field that is not `Data` would cause two errors, because its FFI form has no layout either.
            #[repr(transparent)]
            pub struct #ffi<const __USED: bool = true>(#shape);

            // SAFETY: the type has no lifetimes, so it is its own static equivalent.
            unsafe impl<const __USED: bool> ::replug_api::abi_stable::abi_stability::GetStaticEquivalent_ for #ffi<__USED> {
                type StaticEquivalent = Self;
            }

            // SAFETY: `repr(transparent)`: its layout is that of its field.
            unsafe impl<const __USED: bool> ::replug_api::abi_stable::StableAbi for #ffi<__USED> {
                type IsNonZeroType = ::replug_api::abi_stable::reexports::False;
                const LAYOUT: &'static ::replug_api::abi_stable::type_layout::TypeLayout =
                    <#shape as ::replug_api::abi_stable::StableAbi>::LAYOUT;
            }

            // SAFETY: obligation 1 of `Data`: the value is built from fields whose types are `Data`.
            unsafe impl ::replug_api::Data for #name {
                type Ffi = #ffi;

                fn into_ffi(self) -> #ffi {
                    #ffi(#into)
                }

                fn from_ffi(ffi: #ffi) -> Self {
                    #from
                }

                fn describe(types: &mut ::replug_api::describe::Types) -> ::replug_api::describe::Type {
                    types.define::<Self>(#text, ::core::concat!(::core::module_path!(), "::", #text), |types| {
                        ::replug_api::describe::TypeDef::new(#docs, #describe)
                    })
                }
            }
        };
    })
}

/// The generated parts for the body of a type.
struct Mirror {
    /// The FFI-safe type.
    shape: TokenStream,
    /// The `describe::Shape`.
    describe: TokenStream,
    /// The expression that converts `self` to a `shape`.
    into: TokenStream,
    /// The expression that converts `ffi.0`, a `shape`, to `Self`.
    from: TokenStream,
}

fn structure(name: &Ident, fields: &Fields, names: Case, places: &mut Places) -> Mirror {
    let mirrored = Mirrored::of(fields, names, places);
    let (pattern, list) = (&mirrored.pattern, &mirrored.list);
    let (into_list, from_fields) = (&mirrored.into_list, &mirrored.from_fields);
    Mirror {
        shape: mirrored.shape.clone(),
        describe: mirrored.describe.clone(),
        into: quoted!({
            let #name #pattern = self;
            #into_list
        }),
        from: quoted!({
            let #list = ffi.0;
            #name #from_fields
        }),
    }
}

fn enumeration(name: &Ident, data: &DataEnum, names: Case, places: &mut Places) -> Result<Mirror> {
    let mirror = |variant: &'_ Variant| Ok(Mirrored::of(&variant.fields, Case::of(&variant.attrs)?, places));
    let mirrored = data.variants.iter().map(mirror).collect::<Result<Vec<_>>>()?;
    let variants: Vec<(&Ident, Mirrored)> = data.variants.iter().map(|v| &v.ident).zip(mirrored).collect();
    let shapes: Vec<&TokenStream> = variants.iter().map(|(_, mirrored)| &mirrored.shape).collect();
    let into = variants.iter().enumerate().map(|(at, (variant, mirrored))| {
        let pattern = &mirrored.pattern;
        let value = branch(at, variants.len(), mirrored.into_list.clone());
        quoted!(#name::#variant #pattern => #value,)
    });
    let from = variants.iter().enumerate().map(|(at, (variant, mirrored))| {
        let list = branch(at, variants.len(), mirrored.list.clone());
        let fields = &mirrored.from_fields;
        quoted!(#list => #name::#variant #fields,)
    });
    let described = data.variants.iter().zip(&variants).map(|(variant, (ident, mirrored))| {
        let name = names.variant(ident, &variant.attrs);
        let shape = &mirrored.describe;
        quoted!(::replug_api::describe::Variant { name: #name.into(), shape: #shape })
    });
    Ok(Mirror {
        shape: tree(&shapes),
        describe: quoted!(::replug_api::describe::Shape::Enum(::std::vec![#(#described),*])),
        into: quoted!(match self { #(#into)* }),
        from: quoted!(match ffi.0 { #(#from)* }),
    })
}

/// A balanced tree of `Either` over the variants' shapes.
fn tree(shapes: &[&TokenStream]) -> TokenStream {
    match shapes {
        [] => quoted!(::replug_api::edge::End),
        [one] => quoted!(#one),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            let (left, right) = (tree(left), tree(right));
            quoted!(::replug_api::edge::Either<#left, #right>)
        }
    }
}

/// The path to variant `at` of `count` in the tree, as an expression or a pattern around `inner`.
fn branch(at: usize, count: usize, inner: TokenStream) -> TokenStream {
    let half = count / 2;
    if count == 1 {
        inner
    } else if at < half {
        let inner = branch(at, half, inner);
        quoted!(::replug_api::edge::Either::Left(#inner))
    } else {
        let inner = branch(at - half, count - half, inner);
        quoted!(::replug_api::edge::Either::Right(#inner))
    }
}

/// The fields of a struct or a variant, in all forms that the macro needs.
struct Mirrored {
    /// The FFI-safe type of the fields: a list of nested `Pair`s that ends in `End`.
    shape: TokenStream,
    describe: TokenStream,
    /// A pattern that destructures the author's value, without the leading name of the type or the variant.
    pattern: TokenStream,
    /// A pattern that destructures this list.
    list: TokenStream,
    /// The expression that makes this list from the fields.
    into_list: TokenStream,
    /// An expression that makes the author's value from the list, without the leading name of the type or the variant.
    from_fields: TokenStream,
}

impl Mirrored {
    fn of(fields: &Fields, case: Case, places: &mut Places) -> Self {
        let local = |(at, field): (usize, &Field)| {
            (places.add(&field.ty), format_ident!("field_{at}", span = Span::mixed_site()))
        };
        let each: Vec<(Place, Ident)> = fields.iter().enumerate().map(local).collect();
        let end = || quoted!(::replug_api::edge::End);
        let locals: Vec<&Ident> = each.iter().map(|(_, local)| local).collect();
        let forms: Vec<TokenStream> = each.iter().map(|(place, _)| place.form()).collect();
        let shape = each.iter().rev().fold(end(), |rest, (place, _)| {
            let form = place.form_in(&quoted!(__Places<__USED>));
            quoted!(::replug_api::edge::Pair<#form, #rest>)
        });
        let list =
            locals.iter().rev().fold(end(), |rest, local| quoted!(::replug_api::edge::Pair(#local, #rest)));
        let into_list = forms
            .iter()
            .zip(&locals)
            .rev()
            .fold(end(), |rest, (form, local)| quoted!(::replug_api::edge::Pair(#form::new(#local), #rest)));
        let back = locals.iter().map(|local| quoted!(#local.into_value()));
        let described = forms.iter().zip(fields).map(|(form, field)| {
            let by_derive = !fields::is_custom(field);
            quoted!(#form::describe_field::<#by_derive>(types))
        });
        let names: Vec<&Ident> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
        let texts = fields.iter().filter_map(|field| {
            let ident = field.ident.as_ref()?;
            Some(case.field(ident, &field.attrs))
        });
        let (pattern, from_fields, describe) = match fields {
            Fields::Named(_) => (
                quoted!({ #(#names: #locals),* }),
                quoted!({ #(#names: #back),* }),
                quoted!(::replug_api::describe::Shape::Struct(
                    ::std::vec![#(::replug_api::edge::named(#texts, #described)),*]
                )),
            ),
            Fields::Unnamed(_) => (
                quoted!((#(#locals),*)),
                quoted!((#(#back),*)),
                quoted!(::replug_api::describe::Shape::Tuple(::std::vec![#(#described),*])),
            ),
            Fields::Unit => (quote!(), quote!(), quoted!(::replug_api::describe::Shape::Unit)),
        };
        Self { shape, describe, pattern, list, into_list, from_fields }
    }
}

/// Checks what applies to all types, also to those that are marked `#[data(serde)]`.
fn check_whole(item: &DeriveInput) -> Result<()> {
    if !item.generics.params.is_empty() {
        let lifetimes = item.generics.lifetimes().count();
        let message = if lifetimes > 0 {
            "a borrowed value cannot cross the plugin boundary: use an owned type (`String`, `Vec<..>`) and remove the lifetime"
        } else {
            "a `#[data]` type cannot be generic: both sides must agree on one layout; name the types"
        };
        return Err(Error::new(item.generics.params.span(), message));
    }
    if let Some(clause) = &item.generics.where_clause {
        return Err(Error::new(
            clause.where_token.span,
            "a `#[data]` type has no type parameters to bound: remove the `where` clause",
        ));
    }
    check_derives(&item.attrs)?;
    match &item.data {
        Data::Struct(_) => Ok(()),
        Data::Union(_) => Err(union(item)),
        Data::Enum(data) if data.variants.is_empty() => Err(Error::new(
            item.ident.span(),
            "an enum without variants has no values: add a variant, or leave it out of the signature",
        )),
        Data::Enum(_) => Ok(()),
    }
}

fn check(item: &DeriveInput) -> Result<()> {
    check_serde(&item.attrs)?;
    match &item.data {
        Data::Struct(data) => check_fields(&data.fields),
        Data::Union(_) => Err(union(item)),
        Data::Enum(data) => data.variants.iter().try_for_each(|variant| {
            check_serde(&variant.attrs)?;
            check_fields(&variant.fields)
        }),
    }
}

fn union(item: &DeriveInput) -> Error {
    Error::new(item.ident.span(), "a union does not say which of its fields it holds: write an enum")
}

fn check_fields(fields: &Fields) -> Result<()> {
    fields.iter().try_for_each(|field| {
        check_serde(&field.attrs)?;
        types::check_owned(&field.ty)
    })
}

fn check_derives(attributes: &[Attribute]) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        attribute.parse_nested_meta(|meta| match meta.path.segments.last() {
            Some(last) if last.ident == "Serialize" || last.ident == "Deserialize" => {
                Err(meta.error(format!("`#[data]` derives `{}` already: remove it here", last.ident)))
            }
            _ => Ok(()),
        })?;
    }
    Ok(())
}

/// Rejects attributes that the compact encoding, which has no field names, cannot support.
fn check_serde(attributes: &[Attribute]) -> Result<()> {
    const SELF_DESCRIBING: [&str; 8] = [
        "untagged",
        "tag",
        "content",
        "flatten",
        "skip",
        "skip_serializing",
        "skip_deserializing",
        "skip_serializing_if",
    ];
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            if let Some(name) = meta.path.get_ident().map(ToString::to_string) {
                if SELF_DESCRIBING.contains(&name.as_str()) {
                    return Err(meta.error(format!(
                        "`{name}` needs an encoding with field names, but calls also use an encoding without field names: remove it"
                    )));
                }
                if name == "crate" {
                    return Err(meta.error("`#[data]` sets `crate` itself: remove it"));
                }
                let in_two_ways = name.starts_with("rename") && meta.input.peek(syn::token::Paren);
                if name == "rename_all_fields" || in_two_ways {
                    return Err(meta.error(format!(
                        "`{name}` cannot be represented in the interface's description: use `rename = \"..\"` on each"
                    )));
                }
            }
            settings::skip_value(&meta)
        })?;
    }
    Ok(())
}
