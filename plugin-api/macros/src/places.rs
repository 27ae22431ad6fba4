//! The places of an author's types: their positions in an interface or a `#[data]` type. Generated code names each type
//! only in the declaration of its place, and refers to the place elsewhere. So a type that is not `Data` causes only
//! one error.

use crate::quoted::quoted;
use proc_macro2::TokenStream;
use syn::Type;

/// The places of one trait or `#[data]` type, in order.
#[derive(Default)]
pub(crate) struct Places(Vec<Type>);

/// A place and its type.
pub(crate) struct Place {
    pub(crate) ty: Type,
    at: u32,
}

impl Places {
    pub(crate) fn add(&mut self, ty: &Type) -> Place {
        let at = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.push(ty.clone());
        Place { ty: ty.clone(), at }
    }

    /// The declarations of the places, which name each type once. The type that implements `Place` is private, because
    /// the author's types may be private.
    pub(crate) fn declared(&self) -> TokenStream {
        let places = self.0.iter().zip(0u32..).map(|(ty, at)| {
            quoted! {
                impl<const __USED: bool> ::replug_api::edge::Place<#at> for __Places<__USED> {
                    type Type = #ty;
                }
            }
        });
        quoted! {
            struct __Places<const __USED: bool = true>;
            #(#places)*
        }
    }
}

impl Place {
    /// The FFI form of the type.
    pub(crate) fn form(&self) -> TokenStream {
        self.form_in(&quoted!(__Places))
    }

    /// Like [`Place::form`], for a type `places` other than `__Places` with its default parameter.
    pub(crate) fn form_in(&self, places: &TokenStream) -> TokenStream {
        let at = self.at;
        quoted!(::replug_api::edge::Form::<#places, #at>)
    }

    /// The const argument by which functions that are generic over places get this place.
    pub(crate) fn argument(&self) -> u32 {
        self.at
    }

    /// The type whose functions `outcome`, `received` and `answer` convert the result of a method that returns a value
    /// of this place and, if `error` is given, may return an error.
    pub(crate) fn result(&self, error: Option<&Self>) -> TokenStream {
        let value = self.at;
        match error {
            Some(Self { at, .. }) => quoted!(::replug_api::edge::Fallible::<__Places, #value, #at>),
            None => self.form(),
        }
    }
}
