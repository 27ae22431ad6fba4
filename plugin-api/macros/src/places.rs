//! The places where an author's type stands. Each is named once, so that a type that is not `Data` is one error.

use crate::edges::quoted;
use proc_macro2::TokenStream;
use syn::Type;

/// The places of one item, in order.
#[derive(Default)]
pub(crate) struct Places(Vec<Type>);

/// A place and the type that stands there.
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

    /// The one mention of each type. The type that implements them is private, as the author's types may be.
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

    /// The same, of places that have their parameter.
    pub(crate) fn form_in(&self, places: &TokenStream) -> TokenStream {
        let at = self.at;
        quoted!(::replug_api::edge::Form::<#places, #at>)
    }

    /// What a method makes that returns this, or this or an error: a type with `received` and `answer`.
    pub(crate) fn result(&self, error: Option<&Self>) -> TokenStream {
        let value = self.at;
        match error {
            Some(Self { at, .. }) => quoted!(::replug_api::edge::Fallible::<__Places, #value, #at>),
            None => self.form(),
        }
    }
}
