//! The data that the library of the peers passes to the benchmark that loads it. The library and the benchmark both
//! compile this file.

use std::ffi::{c_char, c_void};

/// A loop that calls one method.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeated {
    /// What [`run`](Self::run) needs.
    pub(crate) state: *const c_void,
    /// Repeats the call the given number of times, and returns the nanoseconds that this has taken.
    // SAFETY: a caller passes the `state` of the same `Repeated`, and the library that has made this value is still
    // open. The library never frees the state.
    pub(crate) run: unsafe extern "C" fn(state: *const c_void, repetitions: u64) -> u64,
}

/// A way to call a plugin.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The name and the version of the peer, and what is called.
    pub(crate) name: *const c_char,
    /// Which version of the plugin a call after a reload reaches.
    pub(crate) reaches: *const c_char,
    /// Why the peer cannot be measured; null if it can.
    pub(crate) failed: *const c_char,
    /// `increment(by: u64) -> u64`. Not valid if the peer has failed.
    pub(crate) number: Repeated,
    /// `greet(name: &str) -> String`, with the name `World`. Not valid if the peer has failed.
    pub(crate) text: Repeated,
}

/// All peers. They are valid for the life of the process.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peers {
    /// The first peer.
    pub(crate) first: *const Peer,
    /// The number of peers.
    pub(crate) count: usize,
}

/// The function `replug_peers` of the library, which loads the plugin from this folder with each of the peers.
pub(crate) type Open = unsafe extern "C" fn(folder: *const c_char) -> Peers;
