//! Reports the output of a child. The host always reads the child's standard output and standard error, and makes each
//! line a log event. So the child never blocks on a full pipe. The host also forwards the reports of the plugin. It
//! reads all three streams until the child has exited, even if another process keeps them open.

use crate::load::reporter::{HostReporter, LimitedReports, ReportSink};
use parking_lot::Mutex;
use replug_model::text;
use replug_wire::Reports;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::ioctl_fionread,
};
use std::{
    io::{self, BufRead, BufReader, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    thread,
};

/// How many bytes of a line are reported.
const LINE_BYTES: usize = 4096;
/// How many lines of the standard error are kept for the report of the child's death.
const TAIL_LINES: usize = 20;

/// The last lines of a child's standard error.
#[derive(Clone, Debug)]
pub(super) struct Tail(Arc<Mutex<text::Tail>>);

impl Default for Tail {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(text::Tail::of(TAIL_LINES, LINE_BYTES))))
    }
}

impl Tail {
    pub(super) fn push(&self, line: &str) {
        self.0.lock().push(line);
    }

    pub(super) fn text(&self) -> String {
        self.0.lock().text()
    }
}

/// A stream that a process writes. The stream ends when the process exits, even if others keep the writing end open.
pub(super) struct ProcessStream<S> {
    stream: S,
    /// A pidfd, readable after the process has exited.
    end: Arc<OwnedFd>,
    /// Set after the process has exited: how many of the bytes that were in the stream at that time are still unread.
    left: Option<u64>,
}

impl<S: Read + AsFd> ProcessStream<S> {
    pub(super) fn until(end: &Arc<OwnedFd>, stream: S) -> Self {
        Self { stream, end: end.clone(), left: None }
    }

    /// Waits until there is data to read or the process has exited. Returns whether the process has exited.
    fn has_ended(&self) -> io::Result<bool> {
        let mut watched = [PollFd::new(&*self.end, PollFlags::IN), PollFd::new(&self.stream, PollFlags::IN)];
        poll(&mut watched, None)?;
        Ok(!watched[0].revents().is_empty())
    }
}

impl<S: Read + AsFd> Read for ProcessStream<S> {
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
/// An error of the operating system if no thread can be started.
pub(super) fn drain(
    stream: ProcessStream<impl Read + AsFd + Send + 'static>,
    name: &'static str,
    to: (&Arc<HostReporter>, Option<Tail>),
) -> io::Result<thread::JoinHandle<()>> {
    let (reporter, tail) = (to.0.clone(), to.1);
    let read = move || {
        let mut stream = BufReader::new(stream);
        let limited = LimitedReports::of_lines(name);
        while let Some(line) = next_line(&mut stream) {
            if let Some(tail) = &tail {
                tail.push(&line);
            }
            reporter.emit_limited(&limited, limited.plain(line));
        }
        reporter.settle(&limited);
    };
    thread::Builder::new().name(format!("replug-{name}")).spawn(read)
}

/// The next line, cut to [`LINE_BYTES`], so that a plugin that writes no line breaks cannot use up the memory.
fn next_line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let read = stream.by_ref().take(LINE_BYTES as u64).read_until(b'\n', &mut line).ok()?;
    if read == 0 {
        return None;
    }
    if line.pop_if(|byte| *byte == b'\n').is_none() {
        stream.skip_until(b'\n').ok()?;
    }
    Some(String::from_utf8_lossy(&line).into_owned())
}

/// Forwards the reports of the plugin, on a thread of its own, until the process exits.
///
/// # Errors
///
/// An error of the operating system if no thread can be started.
pub(super) fn listen(
    events: ProcessStream<UnixStream>,
    reporter: Arc<HostReporter>,
) -> io::Result<thread::JoinHandle<()>> {
    let forward = move || {
        let mut reports = Reports::new(events);
        // An error only ends the reports. The process is not killed, because its calls may still work.
        while let Ok(Some(report)) = reports.next_blocking() {
            reporter.report(report);
        }
        reporter.settle_log();
    };
    thread::Builder::new().name("replug-reports".into()).spawn(forward)
}
