//! The API for plugins: everything that an author imports.
//!
//! A plugin is a `cdylib` that implements an interface, which is a Rust trait. The host loads the plugin, calls it, and
//! replaces it with a newer build while the program runs.
//!
//! ```
//! use replug_api::prelude::*;
//! use std::sync::{Mutex, MutexGuard, PoisonError};
//!
//! /// The interface for callers. Put an interface that hosts and plugins share into a crate of its own.
//! #[replug_api::interface]
//! pub trait Notes {
//!     /// Adds a note and returns the number of notes.
//!     fn add(&self, text: &str) -> Result<usize, NoteError>;
//!     /// All notes, the oldest first.
//!     fn all(&self) -> Vec<Note>;
//! }
//!
//! /// A type of your own in a signature.
//! #[replug_api::data]
//! #[derive(Clone)]
//! pub struct Note {
//!     pub text: String,
//! }
//!
//! #[replug_api::data]
//! pub enum NoteError {
//!     TooLong { limit: usize },
//! }
//!
//! /// `[config]` of the manifest.
//! #[replug_api::config]
//! #[derive(Default)]
//! #[serde(default)]
//! pub struct NotesConfig {
//!     limit: usize,
//! }
//!
//! struct Board {
//!     config: NotesConfig,
//!     notes: Mutex<Vec<Note>>,
//! }
//!
//! impl Board {
//!     fn notes(&self) -> MutexGuard<'_, Vec<Note>> {
//!         self.notes.lock().unwrap_or_else(PoisonError::into_inner)
//!     }
//! }
//!
//! impl Plugin for Board {
//!     type Config = NotesConfig;
//!     /// The data that survives a reload. `()` for a plugin without state.
//!     type State = Vec<Note>;
//!
//!     fn init(context: &Context, config: NotesConfig) -> Result<Self, PluginError> {
//!         info!(generation = context.generation(), "ready");
//!         Ok(Self { config, notes: Mutex::default() })
//!     }
//!
//!     fn save(&self) -> Result<Vec<Note>, PluginError> {
//!         Ok(self.all())
//!     }
//!
//!     fn restore(&self, _from_version: u32, state: SavedState) -> Result<(), PluginError> {
//!         *self.notes() = state.decode()?;
//!         Ok(())
//!     }
//! }
//!
//! impl Notes for Board {
//!     fn add(&self, text: &str) -> Result<usize, NoteError> {
//!         let limit = self.config.limit;
//!         if limit > 0 && text.len() > limit {
//!             return Err(NoteError::TooLong { limit });
//!         }
//!         let mut notes = self.notes();
//!         notes.push(Note { text: text.to_owned() });
//!         Ok(notes.len())
//!     }
//!
//!     fn all(&self) -> Vec<Note> {
//!         self.notes().clone()
//!     }
//! }
//!
//! replug_api::export!(Board: Notes);
//!
//! // A plugin is tested like any other Rust code.
//! let context = Context::new("dev.example.notes", 1, std::env::temp_dir());
//! let board = Board::init(&context, NotesConfig { limit: 5 })?;
//! assert!(matches!(board.add("short"), Ok(1)));
//! assert!(matches!(board.add("much too long"), Err(NoteError::TooLong { limit: 5 })));
//! # Ok::<(), PluginError>(())
//! ```
//!
//! # The types of a signature
//!
//! A method can borrow `&str` and `&[u8]` for the length of the call. All other types are passed by value: numbers,
//! `bool`, `char`, `String`, `()`, `Option`, `Result`, `Box`, `Vec`, arrays of up to 32 elements, tuples of up to 8
//! elements, the maps and sets of the standard library, the types of the table below, and your own types marked
//! [`macro@data`]. See [`Data`].
//!
//! | type | form in JSON |
//! |---|---|
//! | `Duration` | `{"secs": 1, "nanos": 500000000}` |
//! | `SystemTime` | `{"secs_since_epoch": 1, "nanos_since_epoch": 0}`; for a time before 1970, the seconds are negative, and the nanoseconds are added to them |
//! | `u128`, `i128` | a number, or a string if it does not fit 64 bits: most readers of JSON round such a number. A string is always accepted |
//! | `NonZeroU8`, `NonZero<i64>` and the others | a number other than 0. A 0 is an error that names the parameter |
//! | `PathBuf` | a string, or the list of its bytes if it is not UTF-8. Such a path cannot be the key of a map in JSON |
//! | `IpAddr`, `Ipv4Addr`, `Ipv6Addr`, `SocketAddr`, `SocketAddrV4`, `SocketAddrV6` | a string, such as `"[::1]:80"`. An address with IPv6 flow information is an error, because the text has no place for it |
//! | `serde_json::Value` | itself. The type is also `replug_api::serde_json::Value`, so the plugin needs no dependency |
//! | `uuid::Uuid`, with the feature `uuid` of this crate | a string, such as `"67e55044-10b1-426f-9247-bb680e5fe0c8"` |
//! | `bytes::Bytes`, with the feature `bytes` of this crate | as for `Vec<u8>`, or a string, which stands for its UTF-8 bytes. One side may use `Vec<u8>` in its place. Calls in process do not copy the bytes if nothing else refers to them |
//! | `Arc<str>`, `Box<str>` | as for `String`. One side may use `String` in its place |
//! | `Box<[T]>` | as for `Vec<T>`. One side may use `Vec<T>` in its place |
//!
//! Calls through typed handles pass each of these values unchanged, in every mode, unless it is inside a type that is marked
//! `#[data(serde)]`.
//!
//! ```
//! use replug_api::serde_json::Value;
//! use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc, time::SystemTime};
//!
//! #[replug_api::interface]
//! pub trait Files {
//!     fn find(&self, below: PathBuf, most: NonZeroU32) -> Vec<File>;
//!     fn label(&self, path: PathBuf, text: Arc<str>, extra: Value) -> Result<(), String>;
//!     fn peers(&self) -> Box<[SocketAddr]>;
//! }
//!
//! #[replug_api::data]
//! pub struct File {
//!     pub path: PathBuf,
//!     pub size: u128,
//!     pub changed: Option<SystemTime>,
//! }
//! ```
//!
//! In a field of a [`macro@data`] type, write these types by their own names: the macro does not see through an alias
//! (`type Place = PathBuf`), and the compiler rejects it.
//!
//! ```compile_fail
//! type Place = std::path::PathBuf;
//!
//! #[replug_api::data]
//! struct File {
//!     place: Place,
//! }
//!
//! #[replug_api::interface]
//! trait Files {
//!     fn all(&self) -> Vec<File>;
//! }
//! ```
//!
//! # Types of other crates
//!
//! `#[data(serde)]` puts any type with serde's traits into a signature, such as a type of another crate: it marks a type of
//! your own that contains the other type. The mark also permits the attributes of serde that [`macro@data`] rejects.
//!
//! ```
//! # mod chrono { #[replug_api::state] pub struct DateTime<T>(T); #[replug_api::state] pub struct Utc; }
//! use replug_api::serde_json::Value;
//! use std::collections::BTreeMap;
//!
//! #[replug_api::data(serde)]
//! pub struct Time(pub chrono::DateTime<chrono::Utc>);
//!
//! #[replug_api::data(serde)]
//! pub struct Order {
//!     pub id: u64,
//!     #[serde(skip_serializing_if = "Option::is_none")]
//!     pub due: Option<Time>,
//!     #[serde(flatten)]
//!     pub rest: BTreeMap<String, Value>,
//! }
//!
//! #[replug_api::interface]
//! pub trait Orders {
//!     fn add(&self, order: Order) -> Result<Time, String>;
//!     fn due(&self) -> Vec<Order>;
//! }
//! ```
//!
//! A call of such a method passes encoded arguments and an encoded result, also in process: it takes longer than other
//! calls. JSON has the form that serde's implementations give the type. The binary encoding contains MessagePack, up to
//! 128 arrays and maps deep. A value that needs too much of the stack is rejected earlier, except where serde buffers it
//! (`untagged`, tagged enums and `flatten`). The host compares only the
//! names of such types, and not their fields: the rules of serde say which values a changed type can read. If a value
//! cannot be encoded or decoded, the call returns [`CallError::BadArguments`] or [`CallError::BadResult`]. serde itself
//! encodes the content: it cannot encode a path that is not UTF-8 or a time before 1970, and it loses the flow information
//! of an IPv6 socket address. Neither MessagePack nor JSON can distinguish `Some(None)`, `Some(())` and `Some(Value::Null)`
//! from `None`: each of them arrives as `None`. If this matters, use an enum of your own.
//!
//! # Changing an interface
//!
//! Methods may be added at the end. If the plugin was built before a method was added, a call of that method fails with
//! [`CallError::NotImplemented`]. After any other change, the host rejects the plugin until the host and the plugin are
//! built with the same version of the interface. The error names the method or type that differs.
//!
//! # The modules
//!
//! | module | content |
//! |---|---|
//! | [`abi`] | the binary contract with the host |
//! | [`call`] | the trait that a host implements for generated clients, and the errors of a call |
//! | [`describe`] | the description of an interface as data |
//! | `data`, `shape`, `edge` | values that cross the boundary, their FFI-safe shapes, the functions that pass them |
//! | `plugin`, `context`, `config`, `error` | a plugin's lifecycle |
//! | [`remote`] | the edges through which a generated client calls a plugin in another process |
//! | `hooks` | the symbol that `export!` defines in the plugin's crate, and what it contains |
//! | `root` | the root module, through which a host reaches the plugin; compiled in this crate |
//! | `bridge` | passes the plugin's `tracing` events and panics to the host |

// The macros refer to this crate by its name, also in expansions inside this crate.
extern crate self as replug_api;

pub mod abi;
pub mod call;
pub mod describe;
#[doc(hidden)]
pub mod edge;
#[doc(hidden)]
pub mod hooks;
pub mod remote;

mod bridge;
mod config;
mod context;
mod data;
mod error;
mod plugin;
mod root;
mod shape;

pub use call::{CallError, Caller, Interface};
pub use context::{Context, is_cancelled};
pub use data::Data;
pub use error::PluginError;
pub use plugin::{Configuration, Health, Plugin, SavedState, Snapshot};
pub use replug_macros::{config, data, export, interface, state};

// Generated code refers to these crates through this one, so that an author needs no dependency except this crate.
#[doc(hidden)]
pub use abi_stable;
#[cfg(feature = "bytes")]
pub use bytes;
pub use serde;
pub use serde_json;
pub use tracing;
#[cfg(feature = "uuid")]
pub use uuid;

/// The names that a plugin needs: `use replug_api::prelude::*;`.
pub mod prelude {
    pub use crate::{
        CallError, Context, Health, Plugin, PluginError, SavedState,
        tracing::{self, debug, error, info, trace, warn},
    };
}
