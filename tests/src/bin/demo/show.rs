//! The output of the demo. Colours are omitted if the output does not support them.

use anstream::println;
use anstyle::{AnsiColor, Style};
use replug::event::Stages;

const HEADING: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// Begins a section.
pub(crate) fn heading(text: &str) {
    println!("\n{HEADING}{text}{HEADING:#}");
}

/// A line with a label and a value.
pub(crate) fn line(what: &str, outcome: impl std::fmt::Display) {
    println!("  {what:<24} {outcome}");
}

/// A line about a success.
pub(crate) fn good(what: &str, outcome: impl std::fmt::Display) {
    println!("  {what:<24} {GOOD}{outcome}{GOOD:#}");
}

/// A line about a failure.
pub(crate) fn bad(what: &str, outcome: impl std::fmt::Display) {
    println!("  {what:<24} {BAD}{outcome}{BAD:#}");
}

/// The output of the compiler.
pub(crate) fn diagnostic(rendered: &str) {
    for line in rendered.trim_end().lines() {
        println!("    {line}");
    }
}

/// The durations of a reload's stages.
pub(crate) fn stages(total_ms: f64, stages: &Stages) -> String {
    let Stages { detect, build, store, preflight, load, swap, .. } = stages;
    format!(
        "live in {total_ms:.0} ms (detect {detect:.0}, build {build:.0}, store {store:.1}, preflight {preflight:.1}, load {load:.1}, swap {swap:.2})"
    )
}

/// A number with a comma after each group of thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
