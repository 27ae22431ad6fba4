//! The macros of `replug-api`. Their expansions refer only to `::replug_api`.
//!
//! | file in `plugin-api/macros/src` | content |
//! |---|---|
//! | `contract.rs` | parses a trait, and rejects a part that an interface cannot have, with an error at its token |
//! | `interface.rs` | the whole expansion of `#[interface]` |
//! | `edges.rs` | the `extern "C"` functions: one for each method, `invoke` for encoded calls, and one that describes the interface |
//! | `remote.rs` | the edges to a plugin in another process |
//! | `client.rs` | the typed client |
//! | `by_serde.rs` | `#[data(serde)]`: a type that crosses the boundary encoded |
//! | `data.rs` | `#[data]`: the FFI-safe mirror of a type |
//! | `fields.rs` | the fields of `#[data]` types that serde's derive encodes with the help of `replug_api` |
//! | `places.rs` | finds where the plugin author's types occur in signatures and in `#[data]` types |
//! | `quoted.rs` | `quote!` for expansions, whose local names cannot collide with those of the author |
//! | `names.rs` | the names of fields and variants in encodings |
//! | `export.rs` | `export!` |
//! | `settings.rs` | `#[config]` and `#[state]` |
//! | `types.rs` | the types that a signature may have, and the errors for others |

mod by_serde;
mod client;
mod contract;
mod data;
mod docs;
mod edges;
mod export;
mod fields;
mod interface;
mod names;
mod places;
mod quoted;
mod remote;
mod settings;
mod types;

use proc_macro::TokenStream;

/// Makes a trait an interface between host and plugins.
///
/// The macro adds the supertraits `Send + Sync + 'static` to the trait. For a trait `Name`, it also generates a type
/// `NameClient`, with which a host calls plugins. The methods of the trait take `&self` and data. The documentation of
/// the crate `replug_api` lists the allowed types.
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
/// The type stays an ordinary Rust type. The macro implements serde's `Serialize` and `Deserialize`, and
/// `replug_api::Data`, for it. The type may be recursive, through a `Box` or a `Vec`. It cannot be generic or contain
/// references. serde's attributes on its fields and variants have their usual effect. Attributes that need an encoding
/// with field names (`flatten`, `untagged`, ...) are rejected.
///
/// `#[data(serde)]` is for types that `#[data]` rejects, and for types with fields that are not `replug_api::Data`: a type
/// of another crate, such as `chrono::DateTime`, or one with `#[serde(flatten)]`. The fields only need serde's traits. A
/// call whose signature contains such a type passes encoded arguments and results, also in process. Such a call takes
/// longer. A type with a field of such a type is marked `#[data(serde)]`, too. Do not give it the name of a common type of
/// the standard library, such as `HashSet` or `String`: a signature with such a type is a compile error.
///
/// serde encodes such a value as MessagePack or JSON. Neither of them can distinguish `Some(None)`, `Some(())` and
/// `Some(Value::Null)` from `None`: each of them arrives as `None`.
///
/// If the type is also a part of a plugin's state, its mark decides the form in which it is saved. A state that was saved
/// before the mark was changed to `#[data(serde)]` is rejected, unless the plugin's `restore` reads the older form; so may
/// be one that was saved before the mark was changed to `#[data]`. See `replug_api::Snapshot`.
///
/// ```text
/// #[replug_api::data(serde)]
/// pub struct Time(pub chrono::DateTime<chrono::Utc>);
/// ```
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

/// Makes a struct or an enum readable as a plugin's configuration.
///
/// The macro implements serde's `Deserialize`. The type also needs `Default`, such as `#[derive(Default)]`. serde's
/// attributes have their usual effect, also those that `#[data]` rejects, such as `#[serde(flatten)]`. A type that is
/// also part of a signature needs `#[data]` instead.
///
/// ```text
/// #[replug_api::config]
/// #[derive(Default)]
/// #[serde(default, deny_unknown_fields)]
/// struct Settings {
///     limit: usize,
/// }
/// ```
#[proc_macro_attribute]
pub fn config(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expanded(settings::expand(settings::Kind::Config, attribute.into(), item.into()))
}

/// Makes a struct or an enum the state of a plugin, or a part of it.
///
/// The macro implements serde's `Serialize` and `Deserialize`. serde's attributes have their usual effect, also those
/// that `#[data]` rejects, such as `#[serde(flatten)]`. A type that is also part of a signature needs `#[data]` instead.
/// A change of this mark may change the form in which the type is saved: see `replug_api::Snapshot`.
///
/// ```text
/// #[replug_api::state]
/// struct Saved {
///     value: u64,
///     #[serde(default)]
///     name: String,
/// }
/// ```
#[proc_macro_attribute]
pub fn state(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expanded(settings::expand(settings::Kind::State, attribute.into(), item.into()))
}

/// Makes a crate a plugin: `export!(Type: Interface, OtherInterface);`.
///
/// The type must implement `replug_api::Plugin` and every named interface. Use the macro once in each library.
#[proc_macro]
pub fn export(input: TokenStream) -> TokenStream {
    expanded(export::expand(input.into()))
}

fn expanded(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(|error| error.into_compile_error()).into()
}
