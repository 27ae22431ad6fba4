//! Loads an artifact into this process: opens it, checks it, and makes an `Instance`.
//!
//! * `open.rs` maps the library and checks it. An `Instance` runs the author's code through [`replug_api::abi`].
//! * `services.rs` has the functions of the host that the plugin calls; `cancel.rs` has the function that returns
//!   whether the current call was cancelled; `hooks.rs` keeps the program's panic hook.
//! * `retire.rs` stops and drops an instance, whose library stays mapped.
//! * For `unload = "verified"`, `threaded.rs` runs an instance on the threads of `call_threads.rs`; `call_context.rs`
//!   has what a call takes along to such a thread. `unload.rs` unmaps its library. Before that, `inside.rs` checks that
//!   no thread runs the library's code, and `handlers.rs` checks that the library handles no signal.
//! * `keys.rs` and `static_tls.rs` count resources of which a process has few; `extent.rs` finds the addresses of a
//!   library.
//! * `allocations.rs` counts allocations, for benchmarks.
//! * `children.rs` makes sure that a plugin does not hide the exit status of child processes.
//!
//! **Architecture Invariant:** no value of this module outlives its library. By default, a library stays mapped until
//! the process exits. Only `Gone::unload` unmaps it, and reports whether that succeeded.

#![allow(unsafe_code, reason = "docs/SAFETY.md says why each block holds")]

mod allocations;
mod call_context;
mod call_threads;
mod cancel;
mod children;
mod extent;
mod handlers;
mod hooks;
mod inside;
mod instance;
mod keys;
mod open;
mod retire;
mod services;
mod static_tls;
mod threaded;
mod unload;

pub use allocations::{allocations_of_thread, count_allocations};
pub(crate) use call_threads::CallThreads;
pub(crate) use cancel::Cancellation;
pub use children::restore_sigchld;
pub(crate) use instance::Instance;
pub use keys::tls_keys_used;
pub use open::LoadError;
pub(crate) use open::{Opened, open};
pub use static_tls::{STATIC_TLS_LIMIT, static_tls_limit, static_tls_used};
pub(in crate::load) use static_tls::{TUNABLES, more_static_tls};
pub(crate) use static_tls::{static_tls_order, take_static_tls};
pub(crate) use threaded::ThreadedInstance;
pub use unload::Unloading;
