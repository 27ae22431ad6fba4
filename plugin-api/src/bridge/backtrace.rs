//! Trims a backtrace to the author's frames, in the form that the standard library prints for a program. Removes the
//! frames of the panic itself, which are above the author's frames, and those of this crate and of the host, which are
//! below them.

/// The function of the last frame of the panic itself.
const PANIC: &str = "__rust_end_short_backtrace";

/// The frames of a plugin end at one of these functions: at `contain` in a call into the plugin, and at the other in a
/// thread that the plugin started.
const CALLED: [&str; 2] = ["replug_api::edge::contain", "__rust_begin_short_backtrace"];

/// Functions between those in `CALLED` and the author's: of this crate, of the code that `interface` and `export`
/// generate, and of `catch_unwind`.
const BETWEEN: [&str; 8] = [
    "replug_api::",
    "::_::",
    "core::panic::unwind_safe::AssertUnwindSafe",
    "core::ops::function::FnOnce",
    "std::panicking::catch_unwind",
    "std::panicking::try",
    "std::panic::catch_unwind",
    "__rust_try",
];

const NOTE: &str = "note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.";

/// The author's frames, numbered from 0; the whole backtrace, if the author's frames cannot be identified.
pub(super) fn trimmed(text: &str) -> String {
    let frames = frames(text);
    let begin = frames.iter().position(|frame| frame.contains(PANIC)).map_or(0, |at| at + 1);
    let is_any = |frame: &str, of: &[&str]| of.iter().any(|part| symbol(frame).contains(part));
    let called = frames[begin..].iter().position(|frame| is_any(frame, &CALLED));
    let mut end = called.map_or(frames.len(), |at| begin + at);
    if called.is_some() {
        while end > begin && is_any(frames[end - 1], &BETWEEN) {
            end -= 1;
        }
    }
    if begin == end || (begin, end) == (0, frames.len()) {
        return text.to_owned();
    }
    let numbered = frames[begin..end].iter().enumerate().map(|(number, frame)| {
        let named = frame.split_once(": ").map_or(*frame, |(_, named)| named);
        format!("{number:>4}: {named}")
    });
    numbered.chain([NOTE.to_owned()]).collect::<Vec<_>>().join("\n")
}

/// The frames. Each frame includes its number and, if there is one, the line with its location.
fn frames(text: &str) -> Vec<&str> {
    let is_first = |line: &str| {
        let number = line.trim_start().split_once(": ").map(|(number, _)| number);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut starts = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if is_first(line) {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| text[*start..end].trim_end()).collect()
}

/// The function of the frame, which is its first line. The second line is a path, which may contain any text.
fn symbol(frame: &str) -> &str {
    frame.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "   0: replug_api::bridge::panics::report
   1: std::panicking::panic_with_hook
             at /rustc/5/library/std/src/panicking.rs:833:13
   2: std::sys::backtrace::__rust_end_short_backtrace::<std::panicking::panic_handler::{closure#0}, !>
             at /rustc/5/library/std/src/sys/backtrace.rs:182:18
   3: core::panicking::panic_fmt
             at /rustc/5/library/core/src/panicking.rs:80:14
   4: shop::total::{{closure}}
             at ./src/lib.rs:7:9
   5: core::ops::function::FnOnce::call_once
             at /rustc/5/library/core/src/ops/function.rs:250:5
   6: <shop::Shop as shop::Till>::sum
             at ./src/replug_api::edge::contain/lib.rs:12:9
   7: shop::_::invoke::{{closure}}
   8: replug_api::edge::invoked::{{closure}}
   9: <core::panic::unwind_safe::AssertUnwindSafe<F> as core::ops::function::FnOnce<()>>::call_once
  10: std::panicking::catch_unwind::do_call
  11: __rust_try
  12: std::panic::catch_unwind
  13: replug_api::edge::contain
  14: replug_api::edge::invoked
  15: replug_runtime::load::in_process::method::Method::invoke
             at ./host/runtime/src/load/in_process/method.rs:46:17
";

    #[test]
    fn the_backtrace_of_a_call_keeps_only_the_authors_frames() {
        let expected = format!(
            "   0: core::panicking::panic_fmt
             at /rustc/5/library/core/src/panicking.rs:80:14
   1: shop::total::{{{{closure}}}}
             at ./src/lib.rs:7:9
   2: core::ops::function::FnOnce::call_once
             at /rustc/5/library/core/src/ops/function.rs:250:5
   3: <shop::Shop as shop::Till>::sum
             at ./src/replug_api::edge::contain/lib.rs:12:9
{NOTE}"
        );
        assert_eq!(trimmed(CALL), expected);
    }

    #[test]
    fn a_backtrace_omits_the_frames_below_a_plugins_thread() {
        let on_a_thread = "   0: std::sys::backtrace::__rust_end_short_backtrace::<x>
   1: shop::work
   2: std::sys::backtrace::__rust_begin_short_backtrace::<x>
   3: std::thread::lifecycle::spawn_unchecked
";
        assert_eq!(trimmed(on_a_thread), format!("   0: shop::work\n{NOTE}"));
    }

    #[test]
    fn a_backtrace_without_known_frames_of_the_author_is_not_emptied() {
        for text in ["   0: a\n   1: b\n", "", "no frames", "   0: a\n   1: replug_api::edge::contain\n"] {
            let left = trimmed(text);
            assert!(left == text || left.starts_with("   0: a\n"), "{left}");
        }
    }
}
