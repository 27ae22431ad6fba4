//! `#[data(serde)]`: a type that only serde knows how to encode. It crosses the boundary encoded, also in process.

use crate::{docs, quoted::quoted};
use proc_macro2::TokenStream;
use syn::{DeriveInput, ext::IdentExt};

/// Expands the attribute. With `remote = "Self"`, serde's derive generates functions of the type instead of
/// implementations of serde's traits. The implementations below choose the form: serde's own, or a byte string.
pub(crate) fn expand(item: &DeriveInput) -> TokenStream {
    let name = &item.ident;
    let text = name.unraw().to_string();
    let docs = docs::of(&item.attrs);
    quoted! {
        #[derive(::replug_api::serde::Serialize, ::replug_api::serde::Deserialize)]
        #[serde(crate = "::replug_api::serde", remote = "Self")]
        #item

        const _: () = {
            struct __Given<'a>(&'a #name);

            impl ::replug_api::serde::Serialize for __Given<'_> {
                fn serialize<__S: ::replug_api::serde::Serializer>(
                    &self,
                    serializer: __S,
                ) -> ::core::result::Result<__S::Ok, __S::Error> {
                    #name::serialize(self.0, serializer)
                }
            }

            struct __Taken(#name);

            impl<'de> ::replug_api::serde::Deserialize<'de> for __Taken {
                fn deserialize<__D: ::replug_api::serde::Deserializer<'de>>(
                    deserializer: __D,
                ) -> ::core::result::Result<Self, __D::Error> {
                    #name::deserialize(deserializer).map(__Taken)
                }
            }

            impl ::replug_api::serde::Serialize for #name {
                fn serialize<__S: ::replug_api::serde::Serializer>(
                    &self,
                    serializer: __S,
                ) -> ::core::result::Result<__S::Ok, __S::Error> {
                    ::replug_api::edge::encoded::serialize(&__Given(self), serializer)
                }
            }

            impl<'de> ::replug_api::serde::Deserialize<'de> for #name {
                fn deserialize<__D: ::replug_api::serde::Deserializer<'de>>(
                    deserializer: __D,
                ) -> ::core::result::Result<Self, __D::Error> {
                    ::replug_api::edge::encoded::deserialize::<__Taken, __D>(deserializer).map(|taken| taken.0)
                }
            }

            // SAFETY: obligation 1 of `Data`: the value is decoded from bytes by code of the library that gets it.
            unsafe impl ::replug_api::Data for #name {
                type Ffi = ::replug_api::abi_stable::std_types::RVec<u8>;

                const SENT_ENCODED: bool = true;

                fn into_ffi(self) -> Self::Ffi {
                    ::replug_api::edge::encoded::into_ffi(&__Given(&self))
                }

                fn from_ffi(ffi: Self::Ffi) -> Self {
                    ::replug_api::edge::encoded::from_ffi::<__Taken>(&ffi).0
                }

                fn describe(types: &mut ::replug_api::describe::Types) -> ::replug_api::describe::Type {
                    types.define::<Self>(#text, ::core::concat!(::core::module_path!(), "::", #text), |_| {
                        ::replug_api::describe::TypeDef::new(#docs, ::replug_api::describe::Shape::Encoded)
                    })
                }
            }
        };
    }
}
