//! The macros of `replug-api`. Their expansions refer only to `::replug_api`.
//!
//! | file | content |
//! |---|---|
//! | `contract.rs` | parses a trait, and rejects at the token what cannot be part of an interface |
//! | `interface.rs` | the whole expansion of `#[interface]` |
//! | `edges.rs` | the `extern "C"` functions, the encoded entry and the description |
//! | `remote.rs` | the edges to a plugin in another process |
//! | `client.rs` | the typed client |
//! | `data.rs` | `#[data]`: the FFI-safe mirror of a type |
//! | `places.rs` | the places of the author's types, each named once |
//! | `names.rs` | the names of fields and variants in encodings |
//! | `export.rs` | `export!` |
//! | `types.rs` | the types that a signature may have, and the errors for others |

mod client;
mod contract;
mod data;
mod docs;
mod edges;
mod export;
mod interface;
mod names;
mod places;
mod remote;
mod types;

use proc_macro::TokenStream;

/// Makes a trait an interface between host and plugins.
///
/// The trait itself only gets the supertraits `Send + Sync + 'static`. Beside it, a trait `Name` gets a
/// `NameClient`, with which a host calls it. Its methods take `&self` and data; see the crate's page for the types.
///
/// ```text
/// #[replug_api::interface]
/// pub trait Greeter {
///     fn greet(&self, name: &str) -> Result<String, GreetError>;
/// }
/// ```
#[proc_macro_attribute]
pub fn interface(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expanded(interface::expand(attribute.into(), item.into()))
}

/// Makes a struct or an enum able to cross the boundary between host and plugin.
///
/// The type stays an ordinary Rust type. It gets serde's `Serialize` and `Deserialize`, and `replug_api::Data`. It may
/// be recursive, through a `Box` or a `Vec`, but has no parameters and borrows nothing. serde's attributes go on its
/// fields and variants as usual, except those that need an encoding with field names (`flatten`, `untagged`, ...).
///
/// ```text
/// #[replug_api::data]
/// #[derive(Clone, Debug)]
/// pub struct Entry {
///     pub operation: String,
///     pub operands: Vec<f64>,
/// }
/// ```
#[proc_macro_attribute]
pub fn data(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expanded(data::expand(attribute.into(), item.into()))
}

/// Makes a crate a plugin: `export!(Type: Interface, OtherInterface);`.
///
/// The type implements `replug_api::Plugin` and every named interface. Use it once per library.
#[proc_macro]
pub fn export(input: TokenStream) -> TokenStream {
    expanded(export::expand(input.into()))
}

fn expanded(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(|error| error.into_compile_error()).into()
}
