//! Generates the whole expansion of `#[interface]` for one trait.

use crate::{client, contract, edges, remote};
use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::{Error, ItemTrait, Result};

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !attribute.is_empty() {
        return Err(Error::new_spanned(attribute, "`#[interface]` takes no arguments"));
    }
    let mut item: ItemTrait = syn::parse2(item).map_err(|error| {
        Error::new(error.span(), "`#[interface]` belongs on a trait: `pub trait Name { .. }`")
    })?;
    let contract = contract::read(&item)?;
    for bound in ["::core::marker::Send", "::core::marker::Sync", "'static"] {
        item.supertraits.push(syn::parse_str(bound)?);
    }
    item.colon_token.get_or_insert_default();

    let client = client::expand(&contract, &item.vis);
    let client_methods = client::methods(&contract, &item.vis);
    let client_name = client::name(&contract.name);
    let places = contract.places.declared();
    let edges = edges::expand(&contract);
    let remote = remote::expand(&contract);
    let name = &contract.name;
    Ok(quote_spanned! {Span::mixed_site()=>
        #item
        #client
        const _: () = {
            #places
            #client_methods
            #edges
            #remote

            // SAFETY: the obligations of `Interface`: 1: the edges take the object that `bind` below makes, and the
            // types of `Signature`, from which the exported layouts are made. 2: the client is generated from the same
            // signatures. 3: the remote edges are generated from the same signatures. 4: `bind` stores its reference
            // only in the cell that the object points to.
            unsafe impl ::replug_api::Interface for dyn #name {
                type Client<C: ::replug_api::Caller> = #client_name<C>;
                const EXPORT: &'static ::replug_api::abi::InterfaceExport = &EXPORT;
                const REMOTE: &'static ::replug_api::abi::InterfaceExport = &REMOTE;

                fn bind(it: &'static Self) -> ::replug_api::abi::BoundInterface {
                    ::replug_api::abi::BoundInterface {
                        export: &EXPORT,
                        object: ::replug_api::edge::cell::<Self>(it),
                    }
                }
            }
        };
    })
}
