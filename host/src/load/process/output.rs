//! What a child writes to its standard output and error: told as log events, so that it never blocks on a full pipe.

use crate::{
    load::speaker::{Listener, Speaker},
    wire::{Level, Report},
};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    os::fd::AsFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// How many lines a second are told of one stream; the others are counted.
const LINES_PER_SECOND: u32 = 100;
/// How much of a line is told, in bytes.
const LINE_BYTES: u64 = 4096;
/// How many lines of the standard error are kept for the report of a death.
const TAIL_LINES: usize = 20;

/// The last lines of a child's standard error.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Tail {
    pub(super) fn push(&self, line: &str) {
        let mut lines = self.lines.lock();
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    pub(super) fn text(&self) -> String {
        let lines = self.lines.lock();
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Reads a stream to its end, on a thread of its own.
pub(super) fn drain(
    stream: impl Read + AsFd + Send + 'static,
    name: &'static str,
    to: (Arc<Speaker>, Option<Tail>),
) -> thread::JoinHandle<()> {
    let (speaker, tail) = to;
    thread::Builder::new()
        .name(format!("replug-{name}"))
        .spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut told = Told { speaker, target: name, window: Instant::now(), lines: 0, dropped: 0 };
            loop {
                // What was left out is told when the stream falls silent, and not only with its next line.
                if told.dropped > 0 && stream.buffer().is_empty() && is_silent(stream.get_ref()) {
                    told.settle();
                }
                let Some(line) = next_line(&mut stream) else { break };
                if let Some(tail) = &tail {
                    tail.push(&line);
                }
                told.line(line);
            }
            told.settle();
        })
        .expect("a thread can be started where a process could")
}

/// Whether nothing comes for as long as lines are counted together.
fn is_silent(stream: &impl AsFd) -> bool {
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    // An error means that there is something to be read, if only its end.
    matches!(poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&patience)), Ok(0))
}

/// The next line, cut to [`LINE_BYTES`]: a plugin that writes no line ends must not fill the memory.
fn next_line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let read = stream.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line).ok()?;
    if read == 0 {
        return None;
    }
    if line.pop_if(|byte| *byte == b'\n').is_none() {
        stream.skip_until(b'\n').ok()?;
    }
    Some(String::from_utf8_lossy(&line).into_owned())
}

struct Told {
    speaker: Arc<Speaker>,
    target: &'static str,
    window: Instant,
    lines: u32,
    dropped: u64,
}

impl Told {
    fn line(&mut self, line: String) {
        if self.window.elapsed() >= Duration::from_secs(1) {
            self.settle();
        }
        self.lines += 1;
        if self.lines > LINES_PER_SECOND {
            self.dropped += 1;
        } else {
            self.tell(line);
        }
    }

    /// Says how many lines were left out, and begins anew.
    fn settle(&mut self) {
        if self.dropped > 0 {
            self.tell(format!("({} lines left out)", self.dropped));
        }
        (self.window, self.lines, self.dropped) = (Instant::now(), 0, 0);
    }

    fn tell(&self, message: String) {
        let (fields, spans) = ("{}".into(), "[]".into());
        self.speaker.hear(Report::Log {
            level: Level(3),
            target: self.target.into(),
            message,
            fields,
            spans,
        });
    }
}
