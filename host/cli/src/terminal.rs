//! The terminal: colours with a meaning, the standard output, errors, and a spinner while someone waits.

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

/// What serves, or is as it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What failed.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What deserves a look.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
/// What is there for those who look closely.
pub(super) const DIM: Style = Style::new().dimmed();
/// Names of plugins.
pub(super) const NAME: Style = Style::new().bold();
/// What a call gave.
pub(super) const ANSWER: Style = AnsiColor::Cyan.on_default();

/// Prints a line to the standard output; colours are left out where they do not belong.
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

/// Waits until no one reads the standard output any more; for ever, where it is a file.
pub(super) async fn unread() {
    let (tell, told) = oneshot::channel();
    // No runtime takes files, nor a terminal that it must leave as it is. The thread goes with the process.
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
            // An error means that nobody waits any more.
            let _ = tell.send(());
        }
    });
    if told.await.is_err() {
        pending().await
    }
}

/// What a plugin has said, without what would steer the terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars().filter(|c| !steers(*c)).collect()
}

/// What the compiler says, with its colours, and without all else that would steer the terminal: a macro can have it say
/// anything.
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

/// How many bytes of what follows an ESC are `[`, numbers and `m`, which change nothing but how text looks.
fn length_of_colour(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix('[')?;
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    numbers[end..].starts_with('m').then_some(1 + end + 1)
}

/// The same JSON, without what would steer the terminal: JSON itself has an escape for each character.
pub(super) fn escaped(json: &str) -> Cow<'_, str> {
    if !json.contains(steers) {
        return json.into();
    }
    let escape = |c: char| if steers(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    json.chars().map(escape).collect::<String>().into()
}

fn steers(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

/// Prints a note to the standard error.
pub(super) fn note(text: &str) {
    // Whoever closed it does not want to know.
    let _ = Stderr.line(text);
}

/// Says that something is wrong. It may quote a file, which may hold anything.
pub(super) fn complain(error: &impl Display) {
    note(&format!("{BAD}error:{BAD:#} {}", harmless(&error.to_string())));
}

/// Says that something is wrong which is no reason to do nothing.
pub(super) fn warn(warning: &impl Display) {
    note(&format!("{WARN}warning:{WARN:#} {}", harmless(&warning.to_string())));
}

/// Lets the next line overwrite what a terminal shows of a key that was pressed.
pub(super) fn back_to_line_start() {
    if Stderr.is_terminal() {
        // Whoever closed it does not want to know.
        let _ = Stderr.write_all(b"\r");
    }
}

/// Says why the command failed; after the compiler's messages, if they are why.
pub(super) fn print_error(error: &CliError) {
    let diagnostics = rendered(error.diagnostics());
    if !diagnostics.is_empty() {
        note(&diagnostics);
    }
    if !error.is_told() {
        match error {
            // It has colours of its own, and is made of harmless parts.
            CliError::Refused(text) => note(&format!("{BAD}error:{BAD:#} {text}")),
            other => complain(other),
        }
    }
}

/// The compiler's messages as rustc prints them: the errors, or the warnings if that is all there is.
pub(super) fn rendered(diagnostics: &[Diagnostic]) -> String {
    let is_error = |diagnostic: &&Diagnostic| diagnostic.level.starts_with("error");
    let failed = diagnostics.iter().any(|diagnostic| is_error(&diagnostic));
    let shown = diagnostics.iter().filter(|diagnostic| !failed || is_error(diagnostic));
    shown.map(|diagnostic| coloured(diagnostic.rendered.trim_end())).collect::<Vec<_>>().join("\n\n")
}

/// Whether what goes to the standard error may be coloured.
pub(super) fn stderr_has_colour() -> bool {
    Stderr.has_colour()
}

/// How this program is called, so that what is printed can be typed: `replug`, if that finds it, else its path.
pub(super) fn invocation() -> String {
    let Ok(me) = env::current_exe() else { return "replug".into() };
    let path = env::var_os("PATH").unwrap_or_default();
    let first = env::split_paths(&path).map(|dir| dir.join("replug")).find(|file| file.is_file());
    let same = |file: &Path| fs::canonicalize(file).ok() == fs::canonicalize(&me).ok();
    match first {
        Some(found) if same(&found) => "replug".into(),
        _ => quoted(&me.to_string_lossy()),
    }
}

/// A word as a shell reads it back.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A path as seen from the working directory, if it lies below it.
pub(super) fn relative(path: &Path) -> String {
    let here = env::current_dir().and_then(fs::canonicalize).unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(below) if below.as_os_str().is_empty() => ".".into(),
        Ok(below) => below.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

/// A duration in milliseconds with as many digits as matter: `0.02`, `1.4`, `112`.
pub(super) fn brief_ms(ms: f64) -> String {
    match ms {
        ms if ms >= 9.95 => format!("{ms:.0}"),
        ms if ms >= 0.995 => format!("{ms:.1}").trim_end_matches(".0").to_owned(),
        ms => format!("{ms:.2}"),
    }
}

/// A duration with its unit: `131 ms`, `1.87 s`.
pub(super) fn brief(ms: f64) -> String {
    match ms {
        ms if ms >= 9_995.0 => format!("{:.1} s", ms / 1e3),
        ms if ms >= 999.5 => format!("{:.2} s", ms / 1e3),
        ms => format!("{} ms", brief_ms(ms)),
    }
}

/// What turns while a build takes its time; only on a terminal.
pub(super) struct Spinner {
    bar: ProgressBar,
}

impl Spinner {
    /// Whether anyone would see it.
    pub(super) fn is_visible() -> bool {
        Stderr.is_terminal()
    }

    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        // The library's own place for it is descriptor 2.
        if let (Ok(input), Ok(output)) = (File::open("/dev/null"), Stderr.file()) {
            bar.set_draw_target(ProgressDrawTarget::term(Term::read_write_pair(input, output), 20));
        }
        // A constant that is tried by every run with a spinner. It fills the line and leaves the cursor at its beginning, so
        // that the `^C` of a terminal goes there and not to a line of its own, from which nothing leads back. What
        // comes first is overwritten by a blank.
        if let Ok(style) = ProgressStyle::with_template(" {spinner:.cyan} {elapsed:.dim} {wide_msg}\r") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(80));
        Self { bar }
    }

    pub(super) fn say(&self, what: String) {
        self.bar.set_message(what);
    }

    /// Takes it off the screen while something else is printed.
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
    fn durations_have_as_many_digits_as_matter() {
        let shown = [0.0213, 0.4, 1.0, 1.44, 9.9, 10.2, 131.4].map(brief_ms);
        assert_eq!(shown, ["0.02", "0.40", "1", "1.4", "9.9", "10", "131"]);
        assert_eq!([131.4, 1874.0, 61_240.0].map(brief), ["131 ms", "1.87 s", "61.2 s"]);
    }

    #[test]
    fn what_would_steer_the_terminal_is_left_out_of_text_and_escaped_in_json() {
        assert_eq!(harmless("a\u{1b}[2J\u{9b}2J\r\nb\tc"), "a[2J2J\nb\tc");
        let value = serde_json::json!({ "a\u{7f}": ["\u{9b}2J", "\u{1b}", "é\n"] });
        for json in [format!("{value}"), format!("{value:#}")] {
            let escaped = escaped(&json);
            assert!(!escaped.contains(steers), "{escaped}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }

    #[test]
    fn of_what_the_compiler_says_nothing_but_its_colours_steers_the_terminal() {
        let said =
            "\u{1b}[1;31merror\u{1b}[0m: \u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[3\u{1b}\u{9b}2Jé\n\u{1b}[m";
        assert_eq!(coloured(said), "\u{1b}[1;31merror\u{1b}[0m: ]0;title[2J[32Jé\n\u{1b}[m");
    }

    #[test]
    fn words_that_a_shell_would_split_are_quoted() {
        assert_eq!(quoted("target/debug/replug"), "target/debug/replug");
        assert_eq!(quoted("my plugins"), "'my plugins'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
