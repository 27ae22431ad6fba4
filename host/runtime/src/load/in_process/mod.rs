//! An artifact as a part of this process: opened, checked, and held as an [`Instance`].
//!
//! `open.rs` maps the library and checks it; an [`Instance`] runs the author's code through [`replug_api::abi`].
//! `services.rs` is what the plugin calls back, `cancel.rs` what it learns of those who wait for it. `keys.rs` and
//! `static_tls.rs` count what a process can only bear so much of; `extent.rs` finds where a library lies; `method.rs` is what
//! dynamic handles call; `children.rs` sees to it that a plugin does not hide how processes end; `stack.rs` measures a
//! thread's stack.
//!
//! **Architecture Invariant:** nothing here outlives its library. By default a library stays mapped for ever; only
//! `Gone::unload` gives it up, and it says whether that came true.

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
mod method;
mod open;
mod services;
mod stack;
mod static_tls;

pub(crate) use cancel::Cancellation;
pub use check::InterfaceMismatch;
pub(super) use check::{fit, missing};
pub use children::heed_children;
pub(crate) use instance::{Gone, Unloaded};
pub use instance::{Instance, LifecycleError};
pub use keys::tls_keys_used;
pub(crate) use method::Method;
pub use open::LoadError;
pub use open::{Opened, open};
pub(crate) use services::take_panic_location;
pub(crate) use stack::stack_left;
pub use static_tls::{STATIC_TLS_LIMIT, static_tls_limit, static_tls_used, take_static_tls};
pub(in crate::load) use static_tls::{TUNABLES, more_static_tls};
