//! What a child writes to its standard output and error: told as log events, so that it never blocks on a full pipe.

use crate::load::speaker::{Portions, Speaker};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
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

/// Reads a stream to its end, on a thread of its own.
pub(super) fn drain(
    stream: impl Read + Send + 'static,
    name: &'static str,
    to: (Arc<Speaker>, Option<Tail>),
) -> thread::JoinHandle<()> {
    let (speaker, tail) = to;
    thread::Builder::new()
        .name(format!("replug-{name}"))
        .spawn(move || {
            let mut stream = BufReader::new(stream);
            let portions = Portions::of_lines(name);
            while let Some(line) = next_line(&mut stream) {
                if let Some(tail) = &tail {
                    tail.push(&line);
                }
                speaker.tell_in_part(&portions, portions.plain(line));
            }
            speaker.settle(&portions);
        })
        .expect("a thread can be started where a process could")
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
