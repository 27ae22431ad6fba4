//! The remote edges of an interface. They have the same signatures as its edges, and encode the arguments.

use crate::{
    contract::{Contract, Method, Param},
    edges::{arguments_pattern, arguments_type, export, outcome_types},
    quoted::quoted,
    types::Passed,
};
use proc_macro2::{Ident, Span, TokenStream};
use quote::format_ident;

pub(crate) fn expand(contract: &Contract) -> TokenStream {
    let text = contract.name.to_string();
    let edges = contract.methods.iter().enumerate().map(|(index, method)| edge(index, method));
    let exports = contract.methods.iter().enumerate().map(|(index, method)| {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        export(method, &edge_name(method), &quoted!(::replug_api::remote::encoded_edge::<#index>))
    });
    quoted! {
        #(#edges)*

        static REMOTE_METHODS: &[::replug_api::abi::MethodExport] = &[#(#exports),*];

        static REMOTE: ::replug_api::abi::InterfaceExport = ::replug_api::abi::InterfaceExport {
            name: ::replug_api::abi_stable::std_types::RStr::from_str(#text),
            methods: ::replug_api::abi_stable::std_types::RSlice::from_slice(REMOTE_METHODS),
            describe,
            invoke: ::replug_api::remote::invoke,
        };
    }
}

fn edge_name(method: &Method) -> Ident {
    format_ident!("remote_{}", method.name, span = Span::mixed_site())
}

fn edge(index: usize, method: &Method) -> TokenStream {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let edge = edge_name(method);
    let text = &method.name;
    let arguments = arguments_type(&method.params, &quoted!('_));
    let pattern = arguments_pattern(&method.params);
    let (value, error) = outcome_types(method);
    let given = method.params.iter().map(|Param { ident, name, passed, .. }| match passed {
        Passed::Text => quoted!(call.give(#name, #ident.as_str());),
        Passed::Bytes => quoted!(call.give_bytes(#name, #ident.as_slice());),
        Passed::Owned(_) => quoted!(call.give_form(#name, #ident);),
    });
    let mutable = if method.params.is_empty() { quoted!() } else { quoted!(mut) };
    let answer = match &method.error {
        Some(_) => quoted!(call.fallible()),
        None => quoted!(call.infallible()),
    };
    quoted! {
        // Safety: 1: the object comes from `RemoteObject::object`. 2: a clone of that `RemoteObject` lives until the
        // edge has returned.
        unsafe extern "C" fn #edge(
            object: ::replug_api::abi::Object,
            arguments: #arguments,
        ) -> ::replug_api::abi::Outcome<#value, #error> {
            ::replug_api::edge::contain(move || {
                // SAFETY: 1 and 2 are the caller's.
                let #mutable call = unsafe { ::replug_api::remote::Call::new(object, #index, #text) };
                let #pattern = arguments;
                #(#given)*
                #answer
            })
        }
    }
}
