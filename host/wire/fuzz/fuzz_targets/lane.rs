//! Tests the host's end of a lane, a connection through memory that host and shim share. The fuzzer's bytes choose what
//! the shim writes, and where. Between the writes, the host's end sends calls and looks for answers.
#![no_main]

#[path = "../../../runtime/src/lane/damage.rs"]
mod damage;
#[path = "../../../runtime/src/lane/slot.rs"]
#[allow(dead_code, reason = "this target does not use every function of the module")]
mod slot;

mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    damage::run(bytes);
});
