//! The protocol in the memory of a lane, which has room for one message in each direction.
//!
//! Each end writes to its own memory only, and reads the memory of the other end. One store publishes a message: its
//! sequence number together with its lengths. The receiver copies the message before it decodes the message. The ends
//! take turns: an end sends its next message only after it has received the answer to the last one. So no end writes a
//! message while the other end reads the previous one, unless an end breaks the protocol.
//!
//! An end that is about to sleep on the socket of the lane announces this in its memory, and then polls for a message
//! once more. The sender publishes first, and then reads the announcement. Both execute a full fence between the two
//! steps, so at least one of them sees what the other wrote: no message is missed.
//!
//! **Architecture Invariant:** whatever the other end writes, this end reads only inside of the memory, and returns an
//! error or a message of the other end.

use super::sync::{AtomicU64, Ordering, fence};
use std::ops::Deref;

// The layout of the memory that one end writes, in words. Below, "this end" is the end that writes the memory.

/// The state of this end: [`ABSENT`], [`AWAKE`] or [`ASLEEP`].
const STATE: usize = 0;
/// The processor on which this end began to wait, plus 1. 0 if it is unknown, or about to change. Rarely written, like
/// the state.
const PROCESSOR: usize = 1;
/// The sequence number of the last message that this end has received completely.
const TAKEN: usize = 16;
/// The sequence number and the lengths of the last message that this end has sent. The state, [`TAKEN`] and this word
/// are written at different times. They are 128 bytes apart, because processors transfer cache lines in pairs.
const PUBLISHED: usize = 32;
/// The number of the call that the message belongs to.
const ID: usize = 33;
/// The head of the message: the first of its two parts, at most 8 bytes.
const HEAD: usize = 34;
/// The body of the message: the second part.
const BODY: usize = 35;

/// This end does not use the memory yet.
const ABSENT: u64 = 0;
const AWAKE: u64 = 1;
const ASLEEP: u64 = 2;

/// This value instead of the lengths means that the message comes over the socket.
const ELSEWHERE: u32 = u32::MAX;
const HEAD_BITS: u32 = 4;
const WORD: usize = size_of::<u64>();

/// One end of a lane's memory.
#[derive(Debug)]
pub(crate) struct LanePort<M> {
    own: M,
    peer: M,
    /// The sequence number of the last message sent.
    sent: u32,
    /// The sequence number of the last message received.
    received: u32,
    /// What this end has published as its processor.
    processor: u64,
}

/// A message that has been sent to this end, and that this end has not received yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The message is in the memory, with these lengths of its head and its body.
    Here { head: usize, body: usize },
    /// The message comes over the socket.
    Elsewhere,
}

/// The other end has written what the protocol does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

impl<M: Deref<Target = [AtomicU64]>> LanePort<M> {
    /// The end that writes `own`, which is all zero, and reads `peer`.
    ///
    /// # Panics
    ///
    /// If the memory has no room for a message.
    pub(crate) fn new(own: M, peer: M) -> Self {
        assert!(own.len() > BODY && peer.len() > BODY, "the memory of a lane is too small");
        Self { own, peer, sent: 0, received: 0, processor: 0 }
    }

    /// Announces that this end uses the memory.
    pub(crate) fn announce(&self) {
        self.own[STATE].store(AWAKE, Ordering::Release);
    }

    /// Whether the other end uses the memory.
    pub(crate) fn has_peer(&self) -> bool {
        // All loads of the other end's memory are relaxed: it is mapped read-only, and other loads may be
        // implemented by a write.
        self.peer[STATE].load(Ordering::Relaxed) != ABSENT
    }

    /// Publishes the processor on which this end runs; `None` if it is about to change.
    pub(crate) fn runs_on(&mut self, processor: Option<usize>) {
        let processor = processor.map_or(0, |number| number as u64 + 1);
        // The other end reads this word for each message, so a store without a change would cost both ends time.
        if self.processor != processor {
            self.processor = processor;
            self.own[PROCESSOR].store(processor, Ordering::Relaxed);
        }
    }

    /// Whether the other end has last published this processor. A wrong answer costs time only.
    pub(crate) fn peer_runs_on(&self, processor: usize) -> bool {
        self.peer[PROCESSOR].load(Ordering::Relaxed) == processor as u64 + 1
    }

    /// Whether a message of these parts fits in the memory.
    pub(crate) fn fits(&self, parts: [&[u8]; 2]) -> bool {
        parts[0].len() <= WORD && parts[1].len() <= capacity(&self.own)
    }

    /// Sends a message that [fits](Self::fits). Returns whether the other end sleeps, and has to be woken.
    ///
    /// # Panics
    ///
    /// If the message does not fit.
    #[must_use = "an end that sleeps has to be woken"]
    pub(crate) fn send(&mut self, id: u64, [head, body]: [&[u8]; 2]) -> bool {
        assert!(self.fits([head, body]), "the message does not fit");
        let mut first = [0; WORD];
        first[..head.len()].copy_from_slice(head);
        self.own[ID].store(id, Ordering::Relaxed);
        self.own[HEAD].store(u64::from_ne_bytes(first), Ordering::Relaxed);
        let (whole, rest) = body.as_chunks();
        let words = &self.own[BODY..];
        for (word, bytes) in words.iter().zip(whole) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        if !rest.is_empty() {
            let mut last = [0; WORD];
            last[..rest.len()].copy_from_slice(rest);
            words[whole.len()].store(u64::from_ne_bytes(last), Ordering::Relaxed);
        }
        self.publish((body.len() as u32) << HEAD_BITS | head.len() as u32);
        fence(Ordering::SeqCst);
        self.peer[STATE].load(Ordering::Relaxed) == ASLEEP
    }

    /// Announces a message that this end is about to send over the socket, which also wakes the other end.
    pub(crate) fn send_elsewhere(&mut self) {
        self.publish(ELSEWHERE);
    }

    fn publish(&mut self, lengths: u32) {
        self.sent = self.sent.wrapping_add(1);
        self.own[PUBLISHED].store(u64::from(self.sent) << 32 | u64::from(lengths), Ordering::Release);
    }

    /// Looks for the next message.
    ///
    /// # Errors
    ///
    /// * [`Broken`] if what the other end has published is no message
    pub(crate) fn poll(&self) -> Result<Option<Arrival>, Broken> {
        let published = self.peer[PUBLISHED].load(Ordering::Relaxed);
        let number = (published >> 32) as u32;
        if number == self.received {
            return Ok(None);
        }
        // From here on, this thread sees everything that was written before the message was published.
        fence(Ordering::Acquire);
        if number != self.received.wrapping_add(1) {
            return Err(Broken("a message has the wrong number"));
        }
        let lengths = published as u32;
        if lengths == ELSEWHERE {
            return Ok(Some(Arrival::Elsewhere));
        }
        let (head, body) = ((lengths & ((1 << HEAD_BITS) - 1)) as usize, (lengths >> HEAD_BITS) as usize);
        if head > WORD || body > capacity(&self.peer) {
            return Err(Broken("a message is longer than the memory"));
        }
        Ok(Some(Arrival::Here { head, body }))
    }

    /// Copies a message that [`Self::poll`] has found into the beginning of `into`, which grows if necessary. Returns
    /// the number of the message's call, and the length of the message.
    pub(crate) fn receive(&mut self, head: usize, body: usize, into: &mut Vec<u8>) -> (u64, usize) {
        // `poll` has checked the lengths. They are limited again, so that no argument makes this read outside of the
        // memory.
        let (head, body) = (head.min(WORD), body.min(capacity(&self.peer)));
        // Words are copied whole.
        let room = head + body.next_multiple_of(WORD);
        if into.len() < room.max(WORD) {
            into.resize(room.max(WORD), 0);
        }
        let id = self.peer[ID].load(Ordering::Relaxed);
        let first = self.peer[HEAD].load(Ordering::Relaxed);
        into[..WORD].copy_from_slice(&first.to_ne_bytes());
        let (bytes, _) = into[head..room].as_chunks_mut();
        for (bytes, word) in bytes.iter_mut().zip(&self.peer[BODY..]) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        self.taken();
        (id, head + body)
    }

    /// Notes that a message has been received completely, through the memory or over the socket.
    pub(crate) fn taken(&mut self) {
        self.received = self.received.wrapping_add(1);
        self.own[TAKEN].store(self.received.into(), Ordering::Release);
    }

    /// Whether the other end has certainly not received the last message that this end has sent. In that case, if the
    /// other end has terminated, it had not begun to process the message.
    ///
    /// The result is `true` only if the number of the last received message is exactly that of the preceding message.
    /// With any other number, the message may have been received, because a plugin that writes to wrong addresses may
    /// have overwritten the number.
    pub(crate) fn last_is_untaken(&self) -> bool {
        self.peer[TAKEN].load(Ordering::Relaxed) == u64::from(self.sent.wrapping_sub(1))
    }

    /// Announces that this end is about to sleep. The caller must look for a message once more before it sleeps.
    pub(crate) fn fall_asleep(&self) {
        self.own[STATE].store(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Announces that this end does not sleep.
    pub(crate) fn awake(&self) {
        self.own[STATE].store(AWAKE, Ordering::Relaxed);
    }
}

/// The maximum number of bytes of a message's body in a memory of this size.
fn capacity(memory: &[AtomicU64]) -> usize {
    // The field for the length of the body has 28 bits. A length in which all of them are set is excluded, because the
    // lengths could then be [`ELSEWHERE`].
    ((memory.len() - BODY) * WORD).min((1 << (32 - HEAD_BITS)) - 2)
}
