//! Writes arbitrary bytes to the memory of a lane, as a malicious shim could, while the host's end uses the memory. The fuzz
//! target `lane` in `host/wire/fuzz` and a unit test use this module.

use super::slot::{Arrival, Broken, LanePort};
use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The size of the memory in words: those before the body, and some of the body.
const WORDS: usize = 40;
/// The word that publishes a message. Its upper half is the message's number.
const PUBLISHED: usize = 32;
/// This bit in the byte of a step means that the word publishes a message with the number that the host expects.
const EXPECTED: u8 = 1 << 7;

#[derive(Clone)]
struct Words(Arc<[AtomicU64; WORDS]>);

impl Words {
    fn new() -> Self {
        Self(Arc::new([const { AtomicU64::new(0) }; WORDS]))
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        &*self.0
    }
}

/// Runs the steps in `bytes`. Each step is a byte and a word: the host makes a call, the shim writes the word to the place
/// that the byte names, and the host looks for the answer. Returns the number of messages that the host has received.
///
/// # Panics
///
/// If the host's end reads outside of the memory, or accepts something that is not a message.
pub(crate) fn run(bytes: &[u8]) -> u32 {
    let (calls, answers) = (Words::new(), Words::new());
    let mut port = LanePort::new(calls, answers.clone());
    port.announce();
    let (mut received, mut count) = (Vec::new(), 0);
    for step in bytes.as_chunks::<9>().0 {
        let [first, word @ ..] = *step;
        let word = u64::from_ne_bytes(word);
        let (place, word) = if first & EXPECTED == 0 {
            (usize::from(first) % WORDS, word)
        } else {
            (PUBLISHED, u64::from(count + 1) << 32 | word & u64::from(u32::MAX))
        };
        port.runs_on(Some(place));
        if port.has_peer() {
            let _must_wake = port.send(word, [b"head", b"body"]);
        } else {
            port.send_elsewhere();
        }
        answers[place].store(word, Ordering::Relaxed);
        match port.poll() {
            Ok(None) => {
                port.fall_asleep();
                port.awake();
            }
            Ok(Some(Arrival::Here { head, body })) => {
                let (_, len) = port.receive(head, body, &mut received);
                assert_eq!(len, head + body);
                assert!(len <= WORDS * 8 && received.len() <= WORDS * 8, "{len} bytes in {}", received.len());
                count += 1;
            }
            Ok(Some(Arrival::Elsewhere)) => {
                port.taken();
                count += 1;
            }
            // The host closes the lane.
            Err(Broken(reason)) => {
                assert!(!reason.is_empty());
                return count;
            }
        }
        let _ = (port.last_is_untaken(), port.peer_runs_on(place));
    }
    count
}
