//! An artifact as a part of this process: opened, checked, and held as an `Instance`.
//!
//! `open.rs` maps the library and checks it; an `Instance` runs the author's code through [`replug_api::abi`].
//! `services.rs` has the functions of the host that the plugin calls; `cancel.rs` tells the plugin whether its call was
//! cancelled. `keys.rs` and `static_tls.rs` count resources of which a process has few; `extent.rs` finds the addresses
//! of a library. `offered.rs` has the interfaces that handles call, also those of a plugin in a child process.
//! `retire.rs` ends an instance; `children.rs` makes sure that a plugin does not hide the exit status of child
//! processes; `stack.rs` measures a thread's stack.
//!
//! **Architecture Invariant:** nothing here outlives its library. By default, a library stays mapped for ever. Only
//! `Gone::unload` unmaps it, and it reports whether that succeeded.

#![allow(unsafe_code, reason = "docs/SAFETY.md says why each block holds")]

mod cancel;
mod check;
mod children;
mod extent;
mod handlers;
mod hooks;
mod inside;
mod instance;
mod keys;
mod offered;
mod open;
mod retire;
mod services;
mod stack;
mod static_tls;

pub(crate) use cancel::Cancellation;
pub use check::InterfaceMismatch;
pub use children::heed_children;
pub(crate) use instance::Instance;
pub use instance::LifecycleError;
pub use keys::tls_keys_used;
pub use offered::Offered;
pub(crate) use offered::{Method, interface};
pub use open::LoadError;
pub(crate) use open::{Opened, open};
pub(crate) use services::take_panic_location;
pub(crate) use stack::stack_left;
pub(crate) use static_tls::take_static_tls;
pub use static_tls::{STATIC_TLS_LIMIT, static_tls_limit, static_tls_used};
pub(in crate::load) use static_tls::{TUNABLES, more_static_tls};
