//! The typed client of an interface: one inherent method for each method of the trait, over a host's `Caller`.

use crate::{
    contract::{Contract, Method, Param},
    edges::{arguments_type, is_encoded, outcome_types},
    places::Place,
    quoted::quoted,
    types::Passed,
};
use proc_macro2::{Ident, TokenStream};
use quote::format_ident;
use syn::Visibility;

pub(crate) fn name(interface: &Ident) -> Ident {
    format_ident!("{interface}Client")
}

pub(crate) fn expand(contract: &Contract, vis: &Visibility) -> TokenStream {
    let interface = &contract.name;
    let client = name(interface);
    let docs = format!(
        "Calls a [`{interface}`] through a host: each method runs on the newest generation of the plugin."
    );
    quoted! {
        #[doc = #docs]
        #[derive(Clone, Debug)]
        #vis struct #client<C>(::replug_api::call::Bound<dyn #interface, C>);

        impl<C> ::core::convert::From<::replug_api::call::Bound<dyn #interface, C>> for #client<C> {
            fn from(bound: ::replug_api::call::Bound<dyn #interface, C>) -> Self {
                Self(bound)
            }
        }
    }
}

/// The client's methods. They refer to types by their [places](crate::places), so they must be in the block that declares
/// the places.
pub(crate) fn methods(contract: &Contract, vis: &Visibility) -> TokenStream {
    let client = name(&contract.name);
    let methods = contract.methods.iter().enumerate().map(|(index, method)| call(index, method, vis));
    quoted! {
        impl<C: ::replug_api::Caller> #client<C> {
            #(#methods)*
        }
    }
}

fn call(index: usize, method: &Method, vis: &Visibility) -> TokenStream {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let Method { ident, doc_attributes, returns, error: error_place, .. } = method;
    let inputs = method.params.iter().map(|Param { ident, written, .. }| quoted!(#ident: #written));
    let arguments = arguments_type(&method.params, &quoted!('_));
    let (value, error) = outcome_types(method);
    let given = method.params.iter().rev().fold(quoted!(::replug_api::edge::End), |rest, param| {
        let Param { ident, passed, .. } = param;
        let first = match passed {
            Passed::Text => quoted!(::replug_api::abi_stable::std_types::RStr::from_str(#ident)),
            Passed::Bytes => quoted!(::replug_api::abi_stable::std_types::RSlice::from_slice(#ident)),
            Passed::Owned(place) => {
                let form = place.form();
                quoted!(#form::new(#ident))
            }
        };
        quoted!(::replug_api::edge::Pair(#first, #rest))
    });
    let value_type = &returns.ty;
    let result = match error_place {
        Some(Place { ty, .. }) => quoted!(::core::result::Result<#value_type, ::replug_api::CallError<#ty>>),
        None => quoted!(::core::result::Result<#value_type, ::replug_api::CallError>),
    };
    let received = method.result();
    let encoded = is_encoded(method).map(|is_encoded| {
        let call = encoded_call(index, method);
        quoted!(if #is_encoded { #call })
    });
    quoted! {
        #(#doc_attributes)*
        #[inline]
        #vis fn #ident(&self, #(#inputs),*) -> #result {
            #encoded
            ::replug_api::edge::finished(self.0.call(#index, |object, edge| {
                // SAFETY: obligation 1 of `Caller` and obligation 1 of `Bound::new`: `edge` is the edge of the method
                // at this index, whose layout is that of `Signature` of the same types.
                let edge: unsafe extern "C" fn(::replug_api::abi::Object, #arguments)
                    -> ::replug_api::abi::Outcome<#value, #error> =
                    unsafe { ::core::mem::transmute::<*const (), _>(edge.0) };
                let arguments = #given;
                // SAFETY: obligations 1 and 2 of `Caller`: the object fits the edge, and its instance lives.
                #received::received(unsafe { edge(object, arguments) })
            }))
        }
    }
}

/// The call of a method through an edge that takes encoded arguments.
fn encoded_call(index: u32, method: &Method) -> TokenStream {
    let text = &method.name;
    let given = method.params.iter().map(|Param { ident, name, passed, .. }| match passed {
        Passed::Text | Passed::Bytes => quoted!(call.give_serialized(#name, #ident);),
        Passed::Owned(place) => {
            let place = place.argument();
            quoted!(call.give::<__Places, #place>(#name, #ident);)
        }
    });
    let mutable = if method.params.is_empty() { quoted!() } else { quoted!(mut) };
    let value = method.returns.argument();
    let made = match method.error.as_ref().map(Place::argument) {
        Some(error) => quoted!(fallible::<__Places, #value, #error>),
        None => quoted!(infallible::<__Places, #value>),
    };
    quoted! {
        let #mutable call = ::replug_api::remote::EncodedCall::new(
            #text,
            ::replug_api::Caller::stack_left(self.0.caller()),
        );
        #(#given)*
        return ::replug_api::edge::finished(self.0.call(#index, |object, edge| {
            // SAFETY: obligation 1 of `Caller` and obligation 1 of `Bound::new`: `edge` is the edge of the method at
            // this index, whose layout is that of an `EncodedEdge`.
            let edge: ::replug_api::edge::EncodedEdge =
                unsafe { ::core::mem::transmute::<*const (), _>(edge.0) };
            // SAFETY: obligations 1 and 2 of `Caller`: the object fits the edge, and its instance lives.
            call.#made(|arguments| unsafe { edge(object, arguments) })
        }));
    }
}
