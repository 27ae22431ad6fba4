//! End-to-end tests of a host and its plugins: invalid input, failures, and the functions that must keep working
//! despite them.
//!
//! Each test runs in a process of its own: see `replug_tests::own_process`.

#![cfg(test)]

// The attribute `test` of `replug_tests_macros` replaces the standard `test` in all modules of this crate.
#[macro_use]
extern crate replug_tests_macros;

mod allocators;
mod artifact;
mod backtrace;
mod bench;
mod builds;
mod calls;
mod command;
mod config;
mod conformance;
mod containers;
mod control;
mod crash;
mod crash_line;
mod deadlines;
mod deaths;
mod ending_threads;
mod endings;
mod file_systems;
mod folders;
mod inherits;
mod interruptions;
mod lanes;
mod leftovers;
mod life;
mod limits;
mod methods;
mod metrics;
mod misbehave;
mod orphans;
mod own_libraries;
mod own_process;
mod parent;
mod place;
mod places;
mod printed;
mod progress;
mod removed;
mod reported;
mod restarts;
mod shim;
mod signals;
mod source;
mod spares;
mod stop_first;
mod stuck;
mod supervision;
mod swap;
mod toolchains;
mod trace;
mod unload;
mod verdicts;
mod world;
