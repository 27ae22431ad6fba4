//! Descriptors 1 and 2: what the program itself writes, and what plugins in its process do, told apart.
//!
//! A plugin that prints writes to the same two descriptors as the program, so that what it prints would stand amid a program's
//! JSON. So the program keeps both for itself, under other numbers, before it loads a plugin: all that the command writes goes
//! there. In the place of 1 and 2, `dev` and `run` put pipes, whose lines they log; a command with one answer puts the standard
//! error in the place of 1.

use super::error::CliError;
use anstream::{AutoStream, ColorChoice};
use replug::{Digest, Generation, Host, PluginId, crash::pass_on, manifest::Mode};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, IsTerminal, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

static OUT: OnceLock<File> = OnceLock::new();
static ERR: OnceLock<File> = OnceLock::new();

/// The standard output, wherever descriptor 1 leads by now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stdout;

/// The standard error, wherever descriptor 2 leads by now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stderr;

macro_rules! stream {
    ($stream:ident, $kept:ident, $standard:expr) => {
        impl Write for $stream {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                match $kept.get() {
                    Some(mut kept) => kept.write(bytes),
                    None => $standard.write(bytes),
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                match $kept.get() {
                    Some(_) => Ok(()),
                    None => $standard.flush(),
                }
            }
        }

        impl $stream {
            pub(super) fn is_terminal(self) -> bool {
                $kept.get().map_or_else(|| $standard.is_terminal(), File::is_terminal)
            }

            /// Whether what goes there may be coloured.
            pub(super) fn has_colour(self) -> bool {
                let choice = match $kept.get() {
                    Some(kept) => {
                        kept.try_clone().map_or(ColorChoice::Never, |kept| AutoStream::choice(&kept))
                    }
                    None => AutoStream::choice(&$standard),
                };
                choice != ColorChoice::Never
            }

            /// The line, without colours where they do not belong, in one piece.
            pub(super) fn line(mut self, text: &str) -> io::Result<()> {
                let line = match self.has_colour() {
                    true => format!("{text}\n"),
                    false => format!("{}\n", anstream::adapter::strip_str(text)),
                };
                self.write_all(line.as_bytes()).and_then(|()| self.flush())
            }

            /// A file of its own that leads there.
            pub(super) fn file(self) -> io::Result<File> {
                match $kept.get() {
                    Some(kept) => kept.try_clone(),
                    None => Ok(File::from($standard.as_fd().try_clone_to_owned()?)),
                }
            }
        }
    };
}

stream!(Stdout, OUT, io::stdout());
stream!(Stderr, ERR, io::stderr());

fn kept<'a>(cell: &'a OnceLock<File>, standard: BorrowedFd<'_>) -> io::Result<&'a File> {
    if let Some(kept) = cell.get() {
        return Ok(kept);
    }
    let file = File::from(standard.try_clone_to_owned()?);
    Ok(cell.get_or_init(|| file))
}

/// From now on, what plugins in this process print goes to the standard error, and the standard output is the command's alone.
pub(super) fn divert() -> Result<(), CliError> {
    let done = || {
        kept(&OUT, io::stdout().as_fd())?;
        Ok(rustix::stdio::dup2_stdout(kept(&ERR, io::stderr().as_fd())?)?)
    };
    done().map_err(CliError::Output)
}

/// A line that someone in this process has written.
#[derive(Debug)]
pub(super) struct Line {
    /// `stdout` or `stderr`.
    pub(super) stream: &'static str,
    pub(super) text: String,
}

/// What is written to descriptors 1 and 2 of this process by others than the command.
pub(super) struct Captured {
    lines: mpsc::Receiver<Line>,
    writers: Writers,
}

/// How many lines may wait to be logged.
const WAITING: usize = 256;
/// How many lines of a stream are logged in a second.
const A_SECOND: u32 = 100;
/// How much of a line is logged, in bytes.
const LINE_BYTES: usize = 4096;

impl Captured {
    /// From now on, all that this process writes to the two is captured. What goes to the standard error is written there
    /// besides, at once, so that the last words of a crash are there.
    pub(super) fn begin() -> Result<Self, CliError> {
        let begin = || {
            kept(&OUT, io::stdout().as_fd())?;
            let original = kept(&ERR, io::stderr().as_fd())?.try_clone()?;
            let (out, out_end) = io::pipe()?;
            let (err, err_end) = io::pipe()?;
            let (tell, lines) = mpsc::channel(WAITING);
            let mut out_lines = Lines::new("stdout", tell.clone());
            let mut err_lines = Lines::new("stderr", tell);
            let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
                thread::Builder::new().name(format!("replug-{name}")).spawn(work).map(drop)
            };
            spawn("stdout", Box::new(move || out_lines.read(out)))?;
            // What cannot be read any more is not logged, and blocks no one for long: it has no other reader.
            spawn("stderr", Box::new(move || drop(pass_on(err, original, |bytes| err_lines.push(bytes)))))?;
            rustix::stdio::dup2_stdout(out_end)?;
            rustix::stdio::dup2_stderr(err_end)?;
            Ok(lines)
        };
        let lines = begin().map_err(CliError::Output)?;
        Ok(Self { lines, writers: Writers::default() })
    }

    /// The next lines, and whose they are, if that can be told. Pending for ever once nothing can come any more.
    pub(super) async fn next(&mut self, host: &Host) -> (Vec<Line>, Option<Writer>) {
        let mut lines = Vec::new();
        if self.lines.recv_many(&mut lines, WAITING).await == 0 {
            std::future::pending::<()>().await;
        }
        (lines, self.writers.only(host))
    }

    /// Gives the two back, and what was written until then.
    pub(super) async fn end(mut self, host: &Host) -> (Vec<Line>, Option<Writer>) {
        /// What a plugin has started may hold the other ends for longer.
        const PATIENCE: Duration = Duration::from_millis(200);
        give_back();
        let mut lines = Vec::new();
        let rest = async { while self.lines.recv_many(&mut lines, WAITING).await > 0 {} };
        // What has come by then is there either way.
        let _ = tokio::time::timeout(PATIENCE, rest).await;
        (lines, self.writers.only(host))
    }
}

/// Has the two descriptors lead where they did.
fn give_back() {
    // An error means that the process has no more descriptors; what is written then is lost.
    let _ = OUT.get().map(rustix::stdio::dup2_stdout);
    let _ = ERR.get().map(rustix::stdio::dup2_stderr);
}

/// Makes lines of what is written to a stream, and passes on as many as are logged.
struct Lines {
    stream: &'static str,
    tell: mpsc::Sender<Line>,
    line: Vec<u8>,
    /// When the present second began, and how many lines have come in it.
    second: (Instant, u32),
    left_out: u64,
}

impl Lines {
    fn new(stream: &'static str, tell: mpsc::Sender<Line>) -> Self {
        Self { stream, tell, line: Vec::new(), second: (Instant::now(), 0), left_out: 0 }
    }

    /// Reads a pipe to its end.
    fn read(&mut self, mut pipe: io::PipeReader) {
        let mut buffer = [0; LINE_BYTES];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => self.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES.saturating_sub(self.line.len());
            let (text, ended) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            self.line.extend(text.iter().take(room));
            if ended {
                self.tell_line();
            }
        }
    }

    fn tell_line(&mut self) {
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if self.second.0.elapsed() >= Duration::from_secs(1) {
            self.second = (Instant::now(), 0);
        }
        self.second.1 += 1;
        // Never waited for: whoever writes to a full pipe waits for this thread.
        let is_told = self.second.1 <= A_SECOND && self.send(text);
        self.left_out += u64::from(!is_told);
    }

    fn send(&mut self, text: String) -> bool {
        if self.left_out > 0 {
            self.tell_left_out();
        }
        self.tell.try_send(Line { stream: self.stream, text }).is_ok()
    }

    fn tell_left_out(&mut self) {
        let text = format!("({} lines left out)", self.left_out);
        if self.tell.try_send(Line { stream: self.stream, text }).is_ok() {
            self.left_out = 0;
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.tell_line();
        }
        if self.left_out > 0 {
            self.tell_left_out();
        }
    }
}

/// A generation that has written something.
pub(super) type Writer = (PluginId, Generation, Digest);

/// What was last known of the plugins that may write here: how many calls have ended, and which generation served.
#[derive(Default)]
struct Writers {
    seen: BTreeMap<PluginId, (u64, Option<Generation>)>,
    last: Option<Writer>,
}

impl Writers {
    /// Who has written what has come just now, if only one plugin can have: the only one that may run in this process, or the only
    /// one that was called, or came up, since that was last asked.
    fn only(&mut self, host: &Host) -> Option<Writer> {
        let plugins = host.plugins().into_iter();
        let may_write: Vec<_> = plugins
            .filter(|it| it.mode != Mode::Process && it.runs_in != Some(Mode::Process))
            .map(|it| {
                let now = (it.calls, it.generation);
                let before = self.seen.insert(it.id.clone(), now);
                let at_work = it.in_flight > 0 || it.generation.is_none() || before != Some(now);
                (
                    at_work,
                    it.generation.zip(it.digest).map(|(generation, digest)| (it.id, generation, digest)),
                )
            })
            .collect();
        match may_write.as_slice() {
            [(_, only)] => only.clone(),
            _ => self.one_of(may_write.into_iter().filter(|(at_work, _)| *at_work).map(|(_, it)| it)),
        }
    }

    /// Of those that were at work since the last time, the only one. If none was, what has come was written before, and is
    /// whose the last was: the two streams come apart.
    fn one_of(&mut self, mut at_work: impl Iterator<Item = Option<Writer>>) -> Option<Writer> {
        if let Some(first) = at_work.next() {
            self.last = first.filter(|_| at_work.next().is_none());
        }
        self.last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[&[u8]]) -> Vec<String> {
        let (tell, mut lines) = mpsc::channel(WAITING);
        let mut of = Lines::new("stdout", tell);
        bytes.iter().for_each(|bytes| of.push(bytes));
        drop(of);
        std::iter::from_fn(|| lines.try_recv().ok()).map(|line| line.text).collect()
    }

    #[test]
    fn what_is_written_becomes_lines_whatever_the_pieces_it_comes_in() {
        assert_eq!(told(&[b"one\ntw", b"o\n", b"\nthree"]), ["one", "two", "", "three"]);
        assert_eq!(told(&[&[b'x'; 2 * LINE_BYTES], b"\nshort\n"]), ["x".repeat(LINE_BYTES), "short".into()]);
    }

    #[test]
    fn of_a_flood_a_hundred_lines_are_told_and_the_rest_counted() {
        let flood: Vec<&[u8]> = vec![b"line\n"; 1000];
        let told = told(&flood);
        assert!(told.len() > 100 && told.len() < 1000, "{}", told.len());
        let counted =
            told.iter().filter_map(|line| line.strip_prefix('(')?.split(' ').next()?.parse::<usize>().ok());
        let lines = told.iter().filter(|line| *line == "line").count();
        assert_eq!(lines + counted.sum::<usize>(), 1000);
    }

    #[test]
    fn the_only_one_at_work_has_written_and_what_comes_late_is_of_the_last() {
        let writer = |id: &str| Some((id.parse().unwrap(), Generation(1), Digest([1; 32])));
        let (one, two) = (writer("dev.test.one"), writer("dev.test.two"));
        let mut writers = Writers::default();
        let mut at_work =
            |at_work: &[&Option<Writer>]| writers.one_of(at_work.iter().map(|it| (*it).clone()));
        assert_eq!(at_work(&[]), None);
        assert_eq!(at_work(&[&one]), one);
        assert_eq!(at_work(&[]), one, "the other stream came later");
        assert_eq!(at_work(&[&one, &two]), None);
        assert_eq!(at_work(&[]), None);
        assert_eq!(at_work(&[&two]), two);
        assert_eq!(at_work(&[&None]), None, "it has no generation yet");
    }
}
