//! Feeds the fuzzer's bytes to the host's end of a lane's memory, as if a shim had written them.
#![no_main]

use slot::{Arrival, LanePort};
use std::{ops::Deref, sync::atomic::AtomicU64};

#[path = "../../../runtime/src/lane/slot.rs"]
#[allow(dead_code, reason = "this target uses only a part of the module")]
mod slot;

mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
}

/// The smallest memory of a lane, in words: the 35 words before the body of a message, and one word of the body.
const WORDS: usize = 36;

struct Region(Vec<AtomicU64>);

impl Deref for Region {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        &self.0
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut words: Vec<_> = bytes.as_chunks().0.iter().map(|word| AtomicU64::new(u64::from_ne_bytes(*word))).collect();
    words.resize_with(words.len().max(WORDS), AtomicU64::default);
    let most = words.len() * 8;
    let own = (0..WORDS).map(|_| AtomicU64::default()).collect();
    let mut port = LanePort::new(Region(own), Region(words));
    let _ = (port.has_peer(), port.send(1, [b"head", b"body"]), port.last_is_untaken());
    let mut received = Vec::new();
    // The memory does not change meanwhile, so the loop receives at most one message.
    while let Ok(Some(arrival)) = port.poll() {
        match arrival {
            Arrival::Here { head, body } => {
                let (_, len) = port.receive(head, body, &mut received);
                assert!(len <= most && received.len() <= most, "{len} of {most} bytes");
            }
            Arrival::Elsewhere => port.taken(),
        }
    }
});
