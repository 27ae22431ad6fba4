//! A model of a lane in shared memory: the runtime's source is compiled with loom's atomics. Loom runs it with every
//! interleaving of at most three preemptions, and with every value that a load may return in C11 if each thread
//! executes its operations in program order.
//!
//! Covered: two calls and their answers between a host and a shim that sleep whenever they find no message; a message
//! that is sent over the socket, and announced in the memory so that it keeps its place among the other messages; an
//! answer that is found before its *bell* arrives, which is the frame on the socket that wakes a sleeping host or shim.
//! Not covered: the spin, which only polls more often; and the socket, which is a list of bells and messages here.

#![cfg(test)]

use loom::{
    sync::{Arc, Condvar, Mutex, atomic::AtomicU64},
    thread,
};
use slot::{Arrival, LanePort};
use std::ops::Deref;

#[path = "../../host/runtime/src/lane/slot.rs"]
#[expect(dead_code, reason = "the model uses a part of what the lane uses")]
mod slot;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

/// The length of a region: the words before the body, and one word of body.
const WORDS: usize = 36;

/// The shared memory of one direction.
#[derive(Clone)]
struct Region(Arc<[AtomicU64; WORDS]>);

impl Region {
    fn new() -> Self {
        Self(Arc::new(std::array::from_fn(|_| AtomicU64::new(0))))
    }
}

impl Deref for Region {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        &*self.0
    }
}

/// The frames that one end of the socket has not read yet: `None` is a bell, a number is a message.
#[derive(Clone, Default)]
struct Socket(Arc<(Mutex<Vec<Option<u64>>>, Condvar)>);

impl Socket {
    fn put(&self, frame: Option<u64>) {
        let (frames, arrived) = &*self.0;
        frames.lock().unwrap().push(frame);
        arrived.notify_one();
    }

    /// Waits for a frame. If none ever arrives, loom reports a deadlock.
    fn take(&self) -> Option<u64> {
        let (frames, arrived) = &*self.0;
        let mut frames = frames.lock().unwrap();
        while frames.is_empty() {
            frames = arrived.wait(frames).unwrap();
        }
        frames.remove(0)
    }
}

/// The host's or the shim's end of the lane. Works like the runtime's type `Line`.
struct End {
    port: LanePort<Region>,
    ours: Socket,
    theirs: Socket,
}

impl End {
    fn pair() -> (Self, Self) {
        let (calls, answers) = (Region::new(), Region::new());
        let (one, other) = (Socket::default(), Socket::default());
        let host = Self {
            port: LanePort::new(calls.clone(), answers.clone()),
            ours: one.clone(),
            theirs: other.clone(),
        };
        let shim = Self { port: LanePort::new(answers, calls), ours: other, theirs: one };
        host.port.announce();
        shim.port.announce();
        (host, shim)
    }

    fn send(&mut self, message: u64) {
        if self.port.send(message, [&[7], &message.to_le_bytes()]) {
            self.theirs.put(None);
        }
    }

    fn send_elsewhere(&mut self, message: u64) {
        self.port.send_elsewhere();
        self.theirs.put(Some(message));
    }

    fn receive(&mut self) -> u64 {
        let mut frame = None;
        let mut arrival = self.port.poll().unwrap();
        if arrival.is_none() {
            self.port.fall_asleep();
            loop {
                arrival = self.port.poll().unwrap();
                if arrival.is_some() {
                    break;
                }
                frame = self.ours.take();
                if frame.is_some() {
                    arrival = Some(Arrival::Elsewhere);
                    break;
                }
            }
            self.port.awake();
        }
        match arrival {
            Some(Arrival::Here { head, body }) => {
                let mut bytes = Vec::new();
                let (id, len) = self.port.receive(head, body, &mut bytes);
                assert_eq!((bytes[0], len), (7, 9));
                assert_eq!(bytes[1..9], id.to_le_bytes(), "the message was copied before it was complete");
                id
            }
            _ => {
                while frame.is_none() {
                    frame = self.ours.take();
                }
                assert_eq!(self.port.poll(), Ok(Some(Arrival::Elsewhere)), "the message was announced");
                self.port.taken();
                frame.unwrap()
            }
        }
    }
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A host that makes calls, and a shim that returns each number plus 10.
fn calls(host: impl Fn(&mut End) + Sync + Send + 'static, send: fn(&mut End, u64), count: usize) {
    explore(move || {
        let (mut here, mut there) = End::pair();
        let shim = thread::spawn(move || {
            for _ in 0..count {
                let number = there.receive();
                send(&mut there, number + 10);
            }
            there
        });
        host(&mut here);
        let there = shim.join().unwrap();
        assert!(!here.port.last_is_untaken() && !there.port.last_is_untaken());
    });
}

#[test]
fn no_call_and_no_answer_is_lost_or_torn() {
    let host = |end: &mut End| {
        for number in [1, 2] {
            end.send(number);
            assert_eq!(end.receive(), number + 10);
        }
    };
    calls(host, End::send, 2);
}

#[test]
fn messages_over_socket_and_memory_arrive_in_order() {
    let host = |end: &mut End| {
        end.send_elsewhere(1);
        assert_eq!(end.receive(), 11);
        end.send(2);
        assert_eq!(end.receive(), 12);
    };
    calls(host, End::send_elsewhere, 2);
}
