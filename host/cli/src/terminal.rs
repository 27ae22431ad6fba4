//! Output for people: colours by meaning, lines on the standard output, error messages, and a spinner.

use super::{
    error::CliError,
    output::{Stderr, Stdout},
};
use anstyle::{AnsiColor, Style};
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use replug::event::Diagnostic;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use serde::Serialize;
use std::{
    borrow::Cow,
    env,
    fmt::Display,
    fs::{self, File},
    future::pending,
    io::Write,
    path::Path,
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// The colour for success, such as a serving generation.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// The colour for failures.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// The colour for warnings.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
/// The colour for details.
pub(super) const DIM: Style = Style::new().dimmed();
/// The colour for names of plugins.
pub(super) const NAME: Style = Style::new().bold();
/// The colour for the result of a call.
pub(super) const ANSWER: Style = AnsiColor::Cyan.on_default();

/// Prints a line to the standard output. Removes colours if the target does not support them.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    Stdout.line(text).map_err(CliError::Output)
}

/// Prints a value as one line of JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let line = serde_json::to_string(value).map_err(|error| CliError::Output(error.into()))?;
    Stdout
        .write_all(format!("{}\n", escaped(&line)).as_bytes())
        .and_then(|()| Stdout.flush())
        .map_err(CliError::Output)
}

/// Waits until the reader of the standard output has closed it. Never returns if the output is a file.
pub(super) async fn unread() {
    let (sender, closed) = oneshot::channel();
    // A thread polls the output, because async runtimes cannot poll files and would make a terminal nonblocking. The
    // thread runs until the process exits.
    thread::spawn(move || {
        let Ok(out) = Stdout.file() else { return };
        let mut out = [PollFd::new(&out, PollFlags::empty())];
        let polled = loop {
            match poll(&mut out, None) {
                Err(Errno::INTR) => {}
                polled => break polled,
            }
        };
        if polled.is_ok() {
            // An error means that the command no longer waits in this function.
            let _ = sender.send(());
        }
    });
    if closed.await.is_err() {
        pending().await
    }
}

/// The text without control characters, so that text from a plugin cannot control the terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars().filter(|c| !controls_terminal(*c)).collect()
}

/// The compiler's output with its colours, but without other control sequences, because macros can add arbitrary text
/// to the output.
fn coloured(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut kept = harmless(parts.next().unwrap_or_default());
    for part in parts {
        let (colour, rest) = part.split_at(length_of_colour(part).unwrap_or(0));
        if !colour.is_empty() {
            kept.push('\u{1b}');
            kept.push_str(colour);
        }
        kept.push_str(&harmless(rest));
    }
    kept
}

/// The number of bytes after an ESC that form a colour sequence: `[`, numbers and `m`. Such a sequence changes only the
/// style of text.
fn length_of_colour(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix('[')?;
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    numbers[end..].starts_with('m').then_some(1 + end + 1)
}

/// The JSON text with all control characters escaped, so that it cannot control the terminal. The value is the same.
pub(super) fn escaped(json: &str) -> Cow<'_, str> {
    if !json.contains(controls_terminal) {
        return json.into();
    }
    let escape =
        |c: char| if controls_terminal(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    json.chars().map(escape).collect::<String>().into()
}

fn controls_terminal(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

/// Prints a note to the standard error.
pub(super) fn note(text: &str) {
    // An error means that the standard error is closed, so no one reads notes.
    let _ = Stderr.line(text);
}

/// Prints an error. The message may quote a file, so control characters are removed.
pub(super) fn error(error: &impl Display) {
    note(&format!("{BAD}error:{BAD:#} {}", harmless(&error.to_string())));
}

/// Prints a warning, for a problem that does not stop the command.
pub(super) fn warn(warning: &impl Display) {
    note(&format!("{WARN}warning:{WARN:#} {}", harmless(&warning.to_string())));
}

/// Moves the cursor to the beginning of the line, so that the next line overwrites the `^C` that the terminal has
/// printed.
pub(super) fn back_to_line_start() {
    if Stderr.is_terminal() {
        let _ = Stderr.write_all(b"\r");
    }
}

/// Prints the error of a command, after the compiler's messages if a source did not compile.
pub(super) fn print_error(error: &CliError) {
    let diagnostics = rendered(error.diagnostics());
    if !diagnostics.is_empty() {
        note(&diagnostics);
    }
    if !error.is_printed() {
        match error {
            // The text may contain colours. Other control characters were removed from it.
            CliError::Refused(text) => note(&format!("{BAD}error:{BAD:#} {text}")),
            other => self::error(other),
        }
    }
}

/// The compiler's messages as rustc prints them: the errors, or the warnings if there are no errors.
pub(super) fn rendered(diagnostics: &[Diagnostic]) -> String {
    let is_error = |diagnostic: &&Diagnostic| diagnostic.level.is_error();
    let failed = diagnostics.iter().any(|diagnostic| is_error(&diagnostic));
    let shown = diagnostics.iter().filter(|diagnostic| !failed || is_error(diagnostic));
    shown.map(|diagnostic| coloured(diagnostic.rendered.trim_end())).collect::<Vec<_>>().join("\n\n")
}

/// Whether output on the standard error may have colours.
pub(super) fn stderr_has_colour() -> bool {
    Stderr.has_colour()
}

/// The path. A path below the working directory becomes a relative path.
pub(super) fn relative(path: &Path) -> String {
    let here = env::current_dir().and_then(fs::canonicalize).unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(below) if below.as_os_str().is_empty() => ".".into(),
        Ok(below) => below.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

/// A duration in milliseconds with two or three significant digits, such as `0.02`, `1.4` or `112`.
pub(super) fn brief_ms(ms: f64) -> String {
    match ms {
        ms if ms >= 9.95 => format!("{ms:.0}"),
        ms if ms >= 0.995 => format!("{ms:.1}").trim_end_matches(".0").to_owned(),
        ms => format!("{ms:.2}"),
    }
}

/// A duration, given in milliseconds, with its unit, such as `131 ms` or `1.87 s`.
pub(super) fn brief(ms: f64) -> String {
    match ms {
        ms if ms >= 9_995.0 => format!("{:.1} s", ms / 1e3),
        ms if ms >= 999.5 => format!("{:.2} s", ms / 1e3),
        ms => format!("{} ms", brief_ms(ms)),
    }
}

/// A spinner for long builds. It is visible only on a terminal.
pub(super) struct Spinner {
    bar: ProgressBar,
}

impl Spinner {
    /// Whether a spinner is visible.
    pub(super) fn is_visible() -> bool {
        Stderr.is_terminal()
    }

    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        // By default, the library would write to descriptor 2, which may be a pipe.
        if let (Ok(input), Ok(output)) = (File::open("/dev/null"), Stderr.file()) {
            bar.set_draw_target(ProgressDrawTarget::term(Term::read_write_pair(input, output), 20));
        }
        // The `\r` at the end moves the cursor to column 0, so that a terminal prints `^C` there. The space at the
        // beginning overwrites the `^C`. The template is a constant, so parsing it cannot fail.
        if let Ok(style) = ProgressStyle::with_template(" {spinner:.cyan} {elapsed:.dim} {wide_msg}\r") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(80));
        Self { bar }
    }

    pub(super) fn show(&self, what: String) {
        self.bar.set_message(what);
    }

    /// Hides the spinner while `print` runs.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_to_significant_digits() {
        let shown = [0.0213, 0.4, 1.0, 1.44, 9.9, 10.2, 131.4].map(brief_ms);
        assert_eq!(shown, ["0.02", "0.40", "1", "1.4", "9.9", "10", "131"]);
        assert_eq!([131.4, 1874.0, 61_240.0].map(brief), ["131 ms", "1.87 s", "61.2 s"]);
    }

    #[test]
    fn control_characters_are_removed_from_text_and_escaped_in_json() {
        assert_eq!(harmless("a\u{1b}[2J\u{9b}2J\r\nb\tc"), "a[2J2J\nb\tc");
        let value = serde_json::json!({ "a\u{7f}": ["\u{9b}2J", "\u{1b}", "é\n"] });
        for json in [format!("{value}"), format!("{value:#}")] {
            let escaped = escaped(&json);
            assert!(!escaped.contains(controls_terminal), "{escaped}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }

    #[test]
    fn compiler_output_keeps_only_colour_sequences() {
        let text =
            "\u{1b}[1;31merror\u{1b}[0m: \u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[3\u{1b}\u{9b}2Jé\n\u{1b}[m";
        assert_eq!(coloured(text), "\u{1b}[1;31merror\u{1b}[0m: ]0;title[2J[32Jé\n\u{1b}[m");
    }
}
