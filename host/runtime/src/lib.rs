//! Runs the plugins of a replug host. It loads their libraries into this process or into child processes, swaps one
//! generation for the next while callers use it, and supervises the child processes.
//!
//! This crate guarantees:
//!
//! * While a generation serves in this process on the threads of its callers, a call takes no lock, makes no system call,
//!   allocates nothing and writes no memory that another thread writes. The call passes only through the handle, the
//!   registry and the edge.
//! * No panic leaves a plugin, and no panic of the host enters one.
//! * A library stays mapped, unless the crate has verified that nothing uses it any more.
//! * No child process that runs a plugin outlives its host. A crash of the host is attributed to the plugin that caused
//!   it.
//! * Only [`load::in_process`], [`interface`], [`registry`], `shim/inherited.rs` and `lane/memory.rs` have unsafe code;
//!   `docs/SAFETY.md` says why it is sound.
//!
//! Of the host's crates, this crate imports only `replug-wire` and `replug-model`. This crate does not know how the
//! host is configured or how plugins are built. Settings of a manifest arrive as plain data of `replug-model`, and an
//! artifact as the path of a file. The crate `replug` re-exports what embedding programs need.
//!
//! | module | content |
//! |---|---|
//! | [`handle`] | the handles of callers; the hot path goes through here and the registry only |
//! | [`load`] | opens an artifact in this process, or starts the child process that opens it, and makes the generation |
//! | [`registry`] | the serving generation, the swap, the retirement of the old generation, and the crash record |
//! | [`registry::body`] | the trait through which the registry and the engine use a generation, wherever it runs |
//! | [`interface`] | the interfaces that a generation offers, and their comparison with those of the host |
//! | `deadline.rs`, `panic_location.rs` | thread-locals of a call: its deadline, and the location of its panic |
//! | [`shim`] | the child process that runs one plugin |
//! | [`lane`] | passes calls to a child process, and their answers back |
//! | [`parent`] | a small process that restarts the program after a crash |
//! | [`recorder`] | a small process that writes the crash record of a host that was killed |
//! | [`sweeper`] | a small process that removes the socket of a host that was killed |
//! | [`lineage`] | recognizes the processes that come from a plugin |
//! | [`program`] | the program that is started again as a child process |
//! | [`process_stat`], [`process_usage`] | the state and the resources of a process, as the kernel reports them |
//! | `signal.rs` | the names of signals |
//! | [`crash`] | reads the crash record of a crashed process |

#![deny(unsafe_code)]

pub mod crash;
mod deadline;
pub mod handle;
pub mod interface;
pub mod lane;
pub mod lineage;
pub mod load;
mod panic_location;
pub mod parent;
pub mod process_stat;
pub mod process_usage;
pub mod program;
pub mod recorder;
pub mod registry;
pub mod shim;
mod signal;
pub mod sweeper;
