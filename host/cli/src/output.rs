//! Separates the output of the command on descriptors 1 and 2 from the output of plugins in its process.
//!
//! A plugin that prints would write into the command's own output, such as its JSON. So before the command loads a
//! plugin, it duplicates both descriptors to other numbers, and then writes only to the duplicates. `dev` and `run`
//! replace descriptors 1 and 2 with pipes, and log the lines that arrive. A command with a single answer replaces
//! descriptor 1 with the standard error.

use super::error::CliError;
use anstream::{AutoStream, ColorChoice};
use replug::{Digest, Generation, Host, PluginId, manifest::Mode};
use replug_runtime::crash::pass_on;
use rustix::termios::tcgetwinsize;
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

/// The original standard output, even after descriptor 1 was replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stdout;

/// The original standard error, even after descriptor 2 was replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stderr;

impl Stdout {
    /// The width of the terminal in columns. `None` if the output is not a terminal, or if its width is unknown.
    pub(super) fn columns(self) -> Option<usize> {
        let size = self.file().ok().and_then(|file| tcgetwinsize(file).ok());
        size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }
}

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

            /// Whether the output may have colours.
            pub(super) fn has_colour(self) -> bool {
                let choice = match $kept.get() {
                    Some(kept) => {
                        kept.try_clone().map_or(ColorChoice::Never, |kept| AutoStream::choice(&kept))
                    }
                    None => AutoStream::choice(&$standard),
                };
                choice != ColorChoice::Never
            }

            /// Writes the line in one piece. Removes colours if the target does not support them.
            pub(super) fn line(mut self, text: &str) -> io::Result<()> {
                let line = match self.has_colour() {
                    true => format!("{text}\n"),
                    false => format!("{}\n", anstream::adapter::strip_str(text)),
                };
                self.write_all(line.as_bytes()).and_then(|()| self.flush())
            }

            /// A duplicate of the descriptor, as a file.
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

/// Redirects the output of plugins in this process to the standard error. From then on, only the command writes to the
/// standard output.
pub(super) fn divert() -> Result<(), CliError> {
    let done = || {
        kept(&OUT, io::stdout().as_fd())?;
        Ok(rustix::stdio::dup2_stdout(kept(&ERR, io::stderr().as_fd())?)?)
    };
    done().map_err(CliError::Output)
}

/// A captured line, which was not written by the command itself.
#[derive(Debug)]
pub(super) struct Line {
    /// `stdout` or `stderr`.
    pub(super) stream: &'static str,
    pub(super) text: String,
}

/// The captured output of plugins and libraries on descriptors 1 and 2 of this process.
pub(super) struct Captured {
    lines: mpsc::Receiver<Line>,
    writers: Writers,
}

/// The maximum number of lines that wait to be logged.
const WAITING: usize = 256;
/// The maximum number of lines of a stream that are logged in a second.
const A_SECOND: u32 = 100;
/// The maximum number of bytes of a line that are logged.
const LINE_BYTES: usize = 4096;

impl Captured {
    /// Captures everything that this process writes to descriptors 1 and 2 from now on. The standard error is also
    /// written to its original target immediately, so that the last output before a crash is not lost.
    pub(super) fn begin() -> Result<Self, CliError> {
        let begin = || {
            kept(&OUT, io::stdout().as_fd())?;
            let original = kept(&ERR, io::stderr().as_fd())?.try_clone()?;
            let (out, out_end) = io::pipe()?;
            let (err, err_end) = io::pipe()?;
            let (sender, lines) = mpsc::channel(WAITING);
            let mut out_lines = Lines::new("stdout", sender.clone());
            let mut err_lines = Lines::new("stderr", sender);
            let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
                thread::Builder::new().name(format!("replug-{name}")).spawn(work).map(drop)
            };
            spawn("stdout", Box::new(move || out_lines.read(out)))?;
            // If reading the pipe fails, further lines are not logged. The pipe is then closed, so writers get an error
            // instead of blocking.
            spawn("stderr", Box::new(move || drop(pass_on(err, original, |bytes| err_lines.push(bytes)))))?;
            rustix::stdio::dup2_stdout(out_end)?;
            rustix::stdio::dup2_stderr(err_end)?;
            Ok(lines)
        };
        let lines = begin().map_err(CliError::Output)?;
        Ok(Self { lines, writers: Writers::default() })
    }

    /// Waits for the next lines. Returns them with the generation that wrote them, if that generation is known. Never
    /// returns if no more lines can arrive.
    pub(super) async fn next(&mut self, host: &Host) -> (Vec<Line>, Option<Writer>) {
        let mut lines = Vec::new();
        if self.lines.recv_many(&mut lines, WAITING).await == 0 {
            std::future::pending::<()>().await;
        }
        (lines, self.writers.only(host))
    }

    /// Restores the two descriptors, and returns the remaining lines.
    pub(super) async fn end(mut self, host: &Host) -> (Vec<Line>, Option<Writer>) {
        /// How long to wait for the end of the pipes. A process that a plugin has started may keep them open for
        /// longer.
        const PATIENCE: Duration = Duration::from_millis(200);
        give_back();
        let mut lines = Vec::new();
        let rest = async { while self.lines.recv_many(&mut lines, WAITING).await > 0 {} };
        // An error is a timeout. In that case, only the lines that have arrived are returned.
        let _ = tokio::time::timeout(PATIENCE, rest).await;
        (lines, self.writers.only(host))
    }
}

/// Restores the original targets of the two descriptors.
fn give_back() {
    // If this fails, later output is lost.
    let _ = OUT.get().map(rustix::stdio::dup2_stdout);
    let _ = ERR.get().map(rustix::stdio::dup2_stderr);
}

/// Splits a stream into lines, and sends the lines to log.
struct Lines {
    stream: &'static str,
    sender: mpsc::Sender<Line>,
    line: Vec<u8>,
    /// The beginning of the current second, and the number of lines in it.
    second: (Instant, u32),
    left_out: u64,
}

impl Lines {
    fn new(stream: &'static str, sender: mpsc::Sender<Line>) -> Self {
        Self { stream, sender, line: Vec::new(), second: (Instant::now(), 0), left_out: 0 }
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
                self.emit_line();
            }
        }
    }

    fn emit_line(&mut self) {
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if self.second.0.elapsed() >= Duration::from_secs(1) {
            self.second = (Instant::now(), 0);
        }
        self.second.1 += 1;
        // The line is sent without waiting, because writers of a full pipe wait for this thread.
        let is_sent = self.second.1 <= A_SECOND && self.send(text);
        self.left_out += u64::from(!is_sent);
    }

    fn send(&mut self, text: String) -> bool {
        if self.left_out > 0 {
            self.emit_left_out();
        }
        self.sender.try_send(Line { stream: self.stream, text }).is_ok()
    }

    fn emit_left_out(&mut self) {
        let text = format!("({} lines left out)", self.left_out);
        if self.sender.try_send(Line { stream: self.stream, text }).is_ok() {
            self.left_out = 0;
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.emit_line();
        }
        if self.left_out > 0 {
            self.emit_left_out();
        }
    }
}

/// A generation that has written captured lines.
pub(super) type Writer = (PluginId, Generation, Digest);

/// Determines which plugin has written captured lines.
#[derive(Default)]
struct Writers {
    /// The last known state of each plugin in this process: the number of calls that have ended, and the serving
    /// generation.
    seen: BTreeMap<PluginId, (u64, Option<Generation>)>,
    last: Option<Writer>,
}

impl Writers {
    /// The generation that wrote the latest lines, if only one can have written them: the generation of the only plugin
    /// in this process, or of the only plugin that was called or started since the previous lines.
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

    /// The only plugin that was active since the previous lines. If none was active, the lines belong to the previous
    /// writer: they were written earlier and arrived later, because two threads read the two streams.
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

    fn lines_of(bytes: &[&[u8]]) -> Vec<String> {
        let (sender, mut lines) = mpsc::channel(WAITING);
        let mut of = Lines::new("stdout", sender);
        bytes.iter().for_each(|bytes| of.push(bytes));
        drop(of);
        std::iter::from_fn(|| lines.try_recv().ok()).map(|line| line.text).collect()
    }

    #[test]
    fn output_is_split_into_lines_regardless_of_its_chunks() {
        assert_eq!(lines_of(&[b"one\ntw", b"o\n", b"\nthree"]), ["one", "two", "", "three"]);
        assert_eq!(
            lines_of(&[&[b'x'; 2 * LINE_BYTES], b"\nshort\n"]),
            ["x".repeat(LINE_BYTES), "short".into()]
        );
    }

    #[test]
    fn excess_lines_are_counted_instead_of_logged() {
        let flood: Vec<&[u8]> = vec![b"line\n"; 1000];
        let sent = lines_of(&flood);
        assert!(sent.len() > 100 && sent.len() < 1000, "{}", sent.len());
        let counted =
            sent.iter().filter_map(|line| line.strip_prefix('(')?.split(' ').next()?.parse::<usize>().ok());
        let lines = sent.iter().filter(|line| *line == "line").count();
        assert_eq!(lines + counted.sum::<usize>(), 1000);
    }

    #[test]
    fn lines_belong_to_the_only_active_plugin_or_the_previous_writer() {
        let writer = |id: &str| Some((id.parse().unwrap(), Generation(1), Digest([1; 32])));
        let (one, two) = (writer("dev.test.one"), writer("dev.test.two"));
        let mut writers = Writers::default();
        let mut at_work =
            |at_work: &[&Option<Writer>]| writers.one_of(at_work.iter().map(|it| (*it).clone()));
        assert_eq!(at_work(&[]), None);
        assert_eq!(at_work(&[&one]), one);
        assert_eq!(at_work(&[]), one, "the other stream arrived later");
        assert_eq!(at_work(&[&one, &two]), None);
        assert_eq!(at_work(&[]), None);
        assert_eq!(at_work(&[&two]), two);
        assert_eq!(at_work(&[&None]), None, "the active plugin has no generation yet");
    }
}
