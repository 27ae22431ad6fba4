//! The lower bound for the time of a call into another process: a message to another process and back without a plugin
//! system, over a Unix socket, and through shared memory. In shared memory, both sides either spin or sleep.

use anyhow::{Context, Result};
use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap},
    process::{Signal, set_parent_process_death_signal},
    thread::futex,
};
use std::{
    env,
    hint::{black_box, spin_loop},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command},
    ptr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// The length of a message in bytes, in each direction: about that of a call of a method with one number.
pub(crate) const MESSAGE: usize = 32;
/// The arguments with which this program becomes the other end of a socket or of shared memory.
const ECHO: &str = "--echo";
const MEMORY: &str = "--memory";
/// The message number that makes the other side end.
const END: u32 = u32::MAX;

/// Acts as the other end, and exits, if this process was started for that.
pub(crate) fn other_end_if_asked() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let (part, with) = (arguments.next(), arguments.next().unwrap_or_default());
    match part.as_deref() {
        Some(ECHO) => echo(with.parse()?),
        Some(MEMORY) => serve(Pages::map(io::stdin().as_fd())?, with == Waiting::Spin.name()),
        _ => return Ok(()),
    }
    std::process::exit(0)
}

/// Echoes messages until the end of the standard input.
fn echo(len: usize) {
    let stream = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    if let Ok(mut stream) = stream {
        let mut message = vec![0; len];
        while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {}
    }
}

/// The other end of a socket, in a process of its own.
pub(crate) struct Echo {
    stream: UnixStream,
    child: Child,
    message: Vec<u8>,
}

impl Echo {
    /// Starts the other end. All messages have this length.
    pub(crate) fn start(len: usize) -> Result<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        let child = Command::new(env::current_exe()?)
            .args([ECHO, &len.to_string()])
            .stdin(OwnedFd::from(theirs))
            .spawn()?;
        Ok(Self { stream, child, message: vec![1; len] })
    }

    /// Sends a message and receives it back.
    pub(crate) fn round_trip(&mut self) -> Result<()> {
        // The other end reads a whole message before it writes.
        self.stream.write_all(&self.message)?;
        Ok(self.stream.read_exact(&mut self.message)?)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// What a side of shared memory does until the other side has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It reads again and again, and keeps a processor busy. After a long time without a message, it sleeps, so that it
    /// does not take a processor from the other contenders.
    Spin,
    /// It sleeps.
    Futex,
}

impl Waiting {
    fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Futex => "futex",
        }
    }
}

/// One direction: the number of the last message, and the message.
#[repr(C, align(128))]
struct Direction {
    turn: AtomicU32,
    /// 1 while the receiver sleeps.
    asleep: AtomicU32,
    words: [AtomicU64; MESSAGE / 8],
}

/// How often a side that spins looks for a message before it sleeps: for about a millisecond.
const LOOKS: u32 = 300_000;

impl Direction {
    fn send(&self, turn: u32, words: [u64; MESSAGE / 8], waiting: Waiting) {
        for (place, word) in self.words.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        // Either the receiver sees the new number before it sleeps, or this side sees that the receiver sleeps.
        self.turn.store(turn, Ordering::SeqCst);
        if waiting == Waiting::Futex || self.asleep.load(Ordering::SeqCst) == 1 {
            // `wake` fails only for invalid arguments.
            let _ = futex::wake(&self.turn, futex::Flags::empty(), 1);
        }
    }

    /// Waits for a message whose number is not `last`, and returns the number.
    fn receive(&self, last: u32, waiting: Waiting) -> (u32, [u64; MESSAGE / 8]) {
        let mut looks = if waiting == Waiting::Spin { LOOKS } else { 0 };
        let turn = loop {
            let turn = self.turn.load(Ordering::Acquire);
            if turn != last {
                break turn;
            }
            if looks > 0 {
                looks -= 1;
                spin_loop();
                continue;
            }
            self.asleep.store(1, Ordering::SeqCst);
            // `wait` also returns if the number has changed, or a signal has arrived.
            let _ = futex::wait(&self.turn, futex::Flags::empty(), last, None);
            self.asleep.store(0, Ordering::SeqCst);
        };
        (turn, std::array::from_fn(|index| self.words[index].load(Ordering::Relaxed)))
    }
}

#[repr(C)]
struct Pages {
    there: Direction,
    back: Direction,
}

impl Pages {
    /// Maps the memory for the life of the process.
    fn map(file: impl AsFd) -> Result<&'static Self> {
        // SAFETY: 1: the mapping is new, and is never unmapped. 2: the file has this length, and zeros are valid values of
        // all fields. 3: both processes access the fields only as atomics.
        unsafe {
            let pages = mmap(
                ptr::null_mut(),
                size_of::<Self>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )?;
            Ok(&*pages.cast::<Self>())
        }
    }
}

fn serve(pages: &Pages, spin: bool) {
    let waiting = if spin { Waiting::Spin } else { Waiting::Futex };
    // If the benchmark is killed, the kernel kills this process, too: it sends the signal when the thread that has
    // started this process ends. That is the first thread of the benchmark, which ends last.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let mut last = 0;
    loop {
        let (turn, words) = pages.there.receive(last, waiting);
        if turn == END {
            break;
        }
        last = turn;
        pages.back.send(turn, words, waiting);
    }
}

/// Shared memory, and the other side in a process of its own.
pub(crate) struct SharedPages {
    pages: &'static Pages,
    waiting: Waiting,
    turn: u32,
    child: Child,
}

impl SharedPages {
    /// Starts the other side.
    pub(crate) fn start(waiting: Waiting) -> Result<Self> {
        let file = memfd_create("replug-bench", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size_of::<Pages>() as u64)?;
        let pages = Pages::map(&file)?;
        let child = Command::new(env::current_exe()?).args([MEMORY, waiting.name()]).stdin(file).spawn();
        Ok(Self { pages, waiting, turn: 0, child: child.context("cannot start the other side")? })
    }

    /// Sends a message and receives it back.
    pub(crate) fn round_trip(&mut self) {
        let last = self.turn;
        self.turn = (last + 1) % END;
        self.pages.there.send(self.turn, black_box([1; MESSAGE / 8]), self.waiting);
        black_box(self.pages.back.receive(last, self.waiting));
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        self.pages.there.send(END, [0; MESSAGE / 8], self.waiting);
        let _ = self.child.wait();
    }
}
