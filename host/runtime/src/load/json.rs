//! Reads the JSON of a plugin's answers. A malicious plugin may nest the JSON to any depth.

use crate::registry::stack_left;
use serde_json::Value;

/// Reads JSON. On a thread with little stack left, the limit of nesting is lower than the usual 128 levels.
pub(crate) fn parsed(json: &[u8]) -> serde_json::Result<Value> {
    let levels = levels_within(stack_left());
    if levels < 128 && nesting(json) > levels {
        return Err(serde::de::Error::custom(
            "it is nested too deeply for the remaining stack of the thread",
        ));
    }
    serde_json::from_slice(json)
}

/// How many levels can be read with `left` bytes of stack. If the size is unknown, as on the stack of a coroutine, the
/// function assumes 64 KiB. The resulting limit is enough for the answers of most plugins.
fn levels_within(left: Option<usize>) -> usize {
    left.unwrap_or(64 << 10) / JSON_LEVEL
}

/// The largest amount of stack, in bytes, that reading and dropping one level of nested JSON takes.
const JSON_LEVEL: usize = 4 << 10;

/// The number of levels to which JSON is nested.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut bytes) = (0_usize, 0, json.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_text(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// Skips the rest of a string, after its opening quote.
fn skip_text(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn nesting_counts_brackets_outside_of_strings() {
        for (json, levels) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[1,{"b":2}],"c":{}}"#, 3),
            (r#"["[[[","\"[[",{"\\":"]"}]"#, 2),
            ("[[", 2),
            ("]]\"", 0),
        ] {
            assert_eq!(nesting(json.as_bytes()), levels, "{json}");
        }
    }

    #[test]
    fn json_may_nest_at_least_8_levels_if_the_stack_is_unknown() {
        assert!((8..=16).contains(&levels_within(None)));
        assert_eq!(levels_within(Some(0)), 0);
    }

    #[test]
    fn json_is_rejected_before_the_stack_of_the_thread_overflows() {
        let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat().into_bytes();
        for kib in [64, 128, 256, 512, 2048] {
            let all_depths = move || {
                assert!(parsed(&nested(8)).is_ok(), "{kib} KiB");
                (1..1024).map(|levels| parsed(&nested(levels)).is_ok()).filter(|is_read| *is_read).count()
            };
            let spawned = thread::Builder::new().stack_size(kib << 10).spawn(all_depths).unwrap();
            assert!(spawned.join().unwrap() < 128);
        }
    }
}
