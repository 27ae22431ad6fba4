//! What a child says: what it writes to its standard output and error is told as log events, so that it never blocks on a
//! full pipe, and what its plugin reports is passed on. All of it to the end of the process, and not of the connection.

use crate::load::speaker::{Listener, Portions, Speaker};
use parking_lot::Mutex;
use replug_wire::Reports;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::ioctl_fionread,
};
use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    thread,
};

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

/// What a process writes, up to its end: what it has started may hold the other end for longer.
pub(super) struct Said<S> {
    stream: S,
    /// Readable once the process has ended.
    end: Arc<OwnedFd>,
    /// How many bytes are left of what was there at its end.
    left: Option<u64>,
}

impl<S: Read + AsFd> Said<S> {
    pub(super) fn until(end: &Arc<OwnedFd>, stream: S) -> Self {
        Self { stream, end: end.clone(), left: None }
    }

    /// Waits until there is something to be read or the process has ended; whether it has.
    fn has_ended(&self) -> io::Result<bool> {
        let mut watched = [PollFd::new(&*self.end, PollFlags::IN), PollFd::new(&self.stream, PollFlags::IN)];
        poll(&mut watched, None)?;
        Ok(!watched[0].revents().is_empty())
    }
}

impl<S: Read + AsFd> Read for Said<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_none() && self.has_ended()? {
            self.left = Some(ioctl_fionread(&self.stream)?);
        }
        let Some(left) = self.left else { return self.stream.read(buffer) };
        let read = self.stream.by_ref().take(left).read(buffer)?;
        self.left = Some(left - read as u64);
        Ok(read)
    }
}

/// Reads a stream to its end, on a thread of its own.
///
/// # Errors
///
/// If no thread can be started.
pub(super) fn drain(
    stream: Said<impl Read + AsFd + Send + 'static>,
    name: &'static str,
    to: (&Arc<Speaker>, Option<Tail>),
) -> io::Result<thread::JoinHandle<()>> {
    let (speaker, tail) = (to.0.clone(), to.1);
    let read = move || {
        let mut stream = BufReader::new(stream);
        let portions = Portions::of_lines(name);
        while let Some(line) = next_line(&mut stream) {
            if let Some(tail) = &tail {
                tail.push(&line);
            }
            speaker.tell_in_part(&portions, portions.plain(line));
        }
        speaker.settle(&portions);
    };
    thread::Builder::new().name(format!("replug-{name}")).spawn(read)
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

/// Passes on what the plugin reports, on a thread of its own, until the process ends.
///
/// # Errors
///
/// If no thread can be started.
pub(super) fn listen(events: Said<UnixStream>, speaker: Arc<Speaker>) -> io::Result<thread::JoinHandle<()>> {
    let hear = move || {
        let mut reports = Reports::new(events);
        // Whatever ends the reports, the process is not ended by it: its calls may be fine.
        while let Ok(Some(report)) = reports.next_blocking() {
            speaker.hear(report);
        }
        speaker.settle_log();
    };
    thread::Builder::new().name("replug-reports".into()).spawn(hear)
}
