//! The `extern "C"` functions of an interface: one for each method, one for the description, and the *encoded entry*
//! `invoke`, which takes the index of a method and its arguments as bytes.

use crate::{
    contract::{Contract, Method, Param},
    places::Place,
    quoted::quoted,
    types::{Passed, has_known_names, is_string},
};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote_spanned};
use syn::spanned::Spanned;

pub(crate) fn expand(contract: &Contract) -> TokenStream {
    let name = &contract.name;
    let text = name.to_string();
    let edges = contract.methods.iter().map(|method| edge(name, method));
    let exports = contract.methods.iter().enumerate().map(|(index, method)| {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        export(method, &edge_name(method), &quoted!(encoded::<#index>))
    });
    let arms = contract.methods.iter().enumerate().map(|(index, method)| arm(name, index, method));
    let docs = &contract.docs;
    let checks = contract.methods.iter().flat_map(owned_places).filter_map(check_names);
    let descriptions = contract.methods.iter().map(description);
    quoted! {
        #(#edges)*
        #(#checks)*

        // Safety: 1 and 2 of `InterfaceExport::invoke`.
        unsafe extern "C" fn invoke(
            object: ::replug_api::abi::Object,
            method: u32,
            encoding: ::replug_api::abi::Encoding,
            bytes: ::replug_api::abi_stable::std_types::RSlice<'_, u8>,
        ) -> ::replug_api::abi::Outcome<
            ::replug_api::abi_stable::std_types::RVec<u8>,
            ::replug_api::abi::Refusal,
        > {
            ::replug_api::edge::invoked(|result| {
                // SAFETY: 1 and 2 are the caller's.
                let it = unsafe { ::replug_api::edge::view::<dyn #name>(object) };
                match method {
                    #(#arms)*
                    _ => ::core::result::Result::Err(::replug_api::edge::no_such_method(method)),
                }
            })
        }

        // Safety: 1 and 2 of `InterfaceExport::invoke`.
        #[allow(dead_code, reason = "only methods whose signature contains a `#[data(serde)]` type need it")]
        unsafe extern "C" fn encoded<const METHOD: u32>(
            object: ::replug_api::abi::Object,
            bytes: ::replug_api::abi_stable::std_types::RSlice<'_, u8>,
        ) -> ::replug_api::abi::Outcome<
            ::replug_api::abi_stable::std_types::RVec<u8>,
            ::replug_api::abi::Refusal,
        > {
            // SAFETY: 1 and 2 are the caller's.
            unsafe { invoke(object, METHOD, ::replug_api::edge::encoded::ENCODING, bytes) }
        }

        extern "C" fn describe() -> ::replug_api::abi_stable::std_types::RString {
            ::replug_api::edge::described(#text, #docs, |types| ::std::vec![#(#descriptions),*])
        }

        static METHODS: &[::replug_api::abi::MethodExport] = &[#(#exports),*];

        static EXPORT: ::replug_api::abi::InterfaceExport = ::replug_api::abi::InterfaceExport {
            name: ::replug_api::abi_stable::std_types::RStr::from_str(#text),
            methods: ::replug_api::abi_stable::std_types::RSlice::from_slice(METHODS),
            describe,
            invoke,
        };
    }
}

fn edge_name(method: &Method) -> Ident {
    format_ident!("edge_{}", method.name, span = Span::mixed_site())
}

/// The FFI-safe form of all arguments as one value; references have the given lifetime.
pub(crate) fn arguments_type(params: &[Param], lifetime: &TokenStream) -> TokenStream {
    params.iter().rev().fold(quoted!(::replug_api::edge::End), |rest, param| {
        let first = match &param.passed {
            Passed::Text => quoted!(::replug_api::abi_stable::std_types::RStr<#lifetime>),
            Passed::Bytes => quoted!(::replug_api::abi_stable::std_types::RSlice<#lifetime, u8>),
            Passed::Owned(place) => place.form(),
        };
        quoted!(::replug_api::edge::Pair<#first, #rest>)
    })
}

/// The types of an [`Outcome`](abi::Outcome)'s value and error.
pub(crate) fn outcome_types(method: &Method) -> (TokenStream, TokenStream) {
    let error = match &method.error {
        Some(error) => error.form(),
        None => quoted!(::replug_api::abi::Nothing),
    };
    (method.returns.form(), error)
}

/// The pattern that splits the arguments, and binds each of them to the name of its parameter.
pub(crate) fn arguments_pattern(params: &[Param]) -> TokenStream {
    params.iter().rev().fold(
        quoted!(::replug_api::edge::End),
        |rest, Param { ident, .. }| quoted!(::replug_api::edge::Pair(#ident, #rest)),
    )
}

fn edge(name: &Ident, method: &Method) -> TokenStream {
    let edge = edge_name(method);
    let ident = &method.ident;
    let arguments = arguments_type(&method.params, &quoted!('_));
    let (value, error) = outcome_types(method);
    let pattern = arguments_pattern(&method.params);
    let values = method.params.iter().map(|Param { ident, passed, .. }| match passed {
        Passed::Text => quoted!(#ident.as_str()),
        Passed::Bytes => quoted!(#ident.as_slice()),
        Passed::Owned(_) => quoted!(#ident.into_value()),
    });
    let answer = method.result();
    quoted! {
        // Safety: 1: the object comes from `bind` of this library. 2: its instance lives until the edge has returned.
        unsafe extern "C" fn #edge(
            object: ::replug_api::abi::Object,
            arguments: #arguments,
        ) -> ::replug_api::abi::Outcome<#value, #error> {
            ::replug_api::edge::contain(move || {
                // SAFETY: 1 and 2 are the caller's.
                let it = unsafe { ::replug_api::edge::view::<dyn #name>(object) };
                let #pattern = arguments;
                #answer::outcome(<dyn #name as #name>::#ident(it, #(#values),*))
            })
        }
    }
}

/// The entry of a method in a table of edges. `encoded` is the edge that takes encoded arguments.
pub(crate) fn export(method: &Method, edge: &Ident, encoded: &TokenStream) -> TokenStream {
    let name = &method.name;
    let arguments = arguments_type(&method.params, &quoted!('static));
    let (value, error) = outcome_types(method);
    let mut address = quoted!(#edge as *const ());
    let mut layout = quoted! {
        <::replug_api::edge::Signature<#arguments, #value, #error>
            as ::replug_api::abi_stable::StableAbi>::LAYOUT
    };
    if let Some(is_encoded) = is_encoded(method) {
        address = quoted!(if #is_encoded { #encoded as *const () } else { #address });
        layout = quoted!(if #is_encoded { ::replug_api::edge::encoded::ENCODED_LAYOUT } else { #layout });
    }
    quoted! {
        ::replug_api::abi::MethodExport {
            name: ::replug_api::abi_stable::std_types::RStr::from_str(#name),
            edge: ::replug_api::abi::Edge(#address),
            layout: #layout,
        }
    }
}

/// The constant expression that says whether calls of the method pass encoded arguments, also in process. `None` if the
/// signature consists of types that do not need it, judging by their names: [`check_names`] checks this.
pub(crate) fn is_encoded(method: &Method) -> Option<TokenStream> {
    let places = owned_places(method).filter(|place| !has_known_names(&place.ty));
    let forms: Vec<_> = places.map(Place::form).collect();
    (!forms.is_empty()).then(|| quoted!(#(#forms::SENT_ENCODED)||*))
}

/// The places of all types in the method's signature, except the borrowed ones.
fn owned_places(method: &Method) -> impl Iterator<Item = &Place> {
    let owned = method.params.iter().filter_map(|param| match &param.passed {
        Passed::Owned(place) => Some(&**place),
        Passed::Text | Passed::Bytes => None,
    });
    owned.chain([&method.returns]).chain(&method.error)
}

/// A check that a type does not need encoded arguments, if [`is_encoded`] has judged it by its names.
fn check_names(place: &Place) -> Option<TokenStream> {
    let form = place.form();
    let span = place.ty.span().resolved_at(Span::mixed_site());
    has_known_names(&place.ty).then(|| {
        quote_spanned! {span=>
            const _: () = ::core::assert!(
                !#form::SENT_ENCODED,
                "this type is or contains a type that is marked `#[data(serde)]` and has the name of a type of the standard library: give it another name"
            );
        }
    })
}

fn arm(name: &Ident, index: usize, method: &Method) -> TokenStream {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let ident = &method.ident;
    let names: Vec<&String> = method.params.iter().map(|param| &param.name).collect();
    let alone = match method.params.as_slice() {
        [Param { passed: Passed::Text, .. }] => quoted!(Text),
        [Param { passed: Passed::Owned(place), .. }] if is_string(&place.ty) => quoted!(Text),
        _ => quoted!(No),
    };
    let taken = method.params.iter().map(|Param { ident, passed, .. }| match passed {
        Passed::Text => quoted!(let #ident = arguments.take::<::std::string::String>()?;),
        Passed::Bytes => quoted!(let #ident = arguments.take_bytes()?;),
        Passed::Owned(place) => {
            let form = place.form();
            quoted!(let #ident = #form::take(&mut arguments)?;)
        }
    });
    let values = method.params.iter().map(|Param { ident, passed, .. }| match passed {
        Passed::Text => quoted!(#ident.as_str()),
        Passed::Bytes => quoted!(#ident.as_slice()),
        Passed::Owned(_) => quoted!(#ident),
    });
    let mutable = if method.params.is_empty() { quoted!() } else { quoted!(mut) };
    let answer = method.result();
    quoted! {
        #index => {
            let #mutable arguments = ::replug_api::edge::Arguments::read(
                encoding,
                bytes.as_slice(),
                &[#(#names),*],
                ::replug_api::edge::Alone::#alone,
            );
            #(#taken)*
            arguments.end()?;
            #answer::answer(encoding, &<dyn #name as #name>::#ident(it, #(#values),*), result)
        }
    }
}

fn described(place: &Place) -> TokenStream {
    let form = place.form();
    quoted!(#form::describe(types))
}

fn description(method: &Method) -> TokenStream {
    let (name, docs) = (&method.name, &method.docs);
    let params = method.params.iter().map(|Param { name, passed, .. }| match passed {
        Passed::Text => {
            quoted!(::replug_api::edge::borrowed(#name, ::replug_api::describe::Type::String))
        }
        Passed::Bytes => {
            let ty = quoted!(<::std::vec::Vec<u8> as ::replug_api::Data>::describe(types));
            quoted!(::replug_api::edge::borrowed(#name, #ty))
        }
        Passed::Owned(place) => {
            let ty = described(place);
            quoted!(::replug_api::edge::named(#name, #ty))
        }
    });
    let returns = described(&method.returns);
    let error = match &method.error {
        Some(error) => {
            let described = described(error);
            quoted!(::core::option::Option::Some(#described))
        }
        None => quoted!(::core::option::Option::None),
    };
    quoted! {
        ::replug_api::describe::Method {
            name: #name.into(),
            docs: #docs.into(),
            params: ::std::vec![#(#params),*],
            returns: #returns,
            error: #error,
        }
    }
}
