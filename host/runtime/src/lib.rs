//! What runs the plugins of a replug host: loads their libraries, here or in processes of their own, swaps one generation
//! for the next under its callers, and keeps the processes that this takes.
//!
//! What this crate promises:
//!
//! * A call takes no lock, makes no system call, allocates nothing and writes no memory that another thread writes, as long
//!   as a generation serves: handle, registry and edge are all that it passes.
//! * No panic leaves a plugin, and none of the host's enters one.
//! * A library stays mapped, unless it was proven that nothing needs it any more.
//! * No process of a plugin outlives its host, and a crash of the host names who caused it.
//! * Unsafe code is in [`load::in_process`], `registry` and `shim/inherited.rs` only; `docs/SAFETY.md` says why it holds.
//!
//! It imports `replug-wire` and `replug-model` of the host's crates: it knows neither how it is configured nor how plugins
//! are built. What it needs of a manifest comes as plain data of `replug-model`, and an artifact as the path of a file. The
//! crate `replug` hands on what embedding programs need.
//!
//! | module | what is in it |
//! |---|---|
//! | [`load`] | opens an artifact in this process, or starts the process that does, and makes the instance |
//! | [`registry`] | the generation that serves, the swap, the end of the old one, and the crash record |
//! | [`handle`] | what a caller holds; the hot path goes through here and the registry only |
//! | [`shim`] | the child process that runs one plugin |
//! | [`parent`] | a small process that starts the program again when a crash has ended it |
//! | [`recorder`] | a small process that writes down the crash record of a host that was killed |
//! | [`sweeper`] | a small process that removes the socket of a host that was killed |
//! | [`lineage`] | the mark of the processes that come from a plugin |
//! | [`process_stat`] | what the kernel says of a process |
//! | [`crash`] | what a process that crashed has left |

#![deny(unsafe_code)]

pub mod crash;
pub mod handle;
pub mod lineage;
pub mod load;
pub mod parent;
pub mod process_stat;
pub mod recorder;
pub mod registry;
pub mod shim;
pub mod sweeper;
