//! Feeds the fuzzer's bytes to the host's end of a lane's memory, as if a shim had written them.
#![no_main]

#[path = "../../../runtime/src/lane/damage.rs"]
mod damage;
#[path = "../../../runtime/src/lane/slot.rs"]
#[allow(dead_code, reason = "the target uses a part of what the lane uses")]
mod slot;

mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    damage::run(bytes);
});
