//! Cuts long texts in reports of a plugin. A plugin may report texts of any length, but the host keeps the reports in
//! memory for later readers.

use replug_model::text;
use replug_wire::Report;
use serde_json::{Map, Value};

/// The maximum length of a text that is kept, in bytes.
pub(super) const MOST_BYTES: usize = 16 << 10;
/// How many bytes each JSON value counts in addition to its text, so that the number of small values is limited, too.
const VALUE_BYTES: usize = 16;

/// Cuts each text of the report to [`MOST_BYTES`].
pub(super) fn cut(mut report: Report) -> Report {
    match &mut report {
        Report::Log { level: _, target, message, fields, spans } => {
            [target, message].into_iter().for_each(|it| text::cut(it, MOST_BYTES));
            [fields, spans].into_iter().for_each(cut_json);
        }
        Report::Panic { message, location, thread, backtrace } => {
            [message, location, thread, backtrace].into_iter().for_each(|it| text::cut(it, MOST_BYTES));
        }
    }
    report
}

fn cut_json(text: &mut String) {
    if text.len() > MOST_BYTES {
        let mut left = MOST_BYTES;
        let value = serde_json::from_str(text).unwrap_or(Value::Null);
        *text = cut_value(value, &mut left).to_string();
    }
}

/// Cuts a value to at most `left` bytes, and subtracts its size from `left`. A string gets at most half of the
/// remaining bytes, so that a long string leaves room for the values after it.
fn cut_value(value: Value, left: &mut usize) -> Value {
    *left = left.saturating_sub(VALUE_BYTES);
    match value {
        Value::String(mut text) => {
            text::cut(&mut text, *left / 2);
            *left = left.saturating_sub(text.len());
            Value::String(text)
        }
        Value::Array(items) => {
            let count = items.len();
            let mut kept = Vec::new();
            for item in items {
                if *left == 0 {
                    kept.push(Value::String(format!("... ({} more cut)", count - kept.len())));
                    break;
                }
                kept.push(cut_value(item, left));
            }
            Value::Array(kept)
        }
        Value::Object(items) => {
            let count = items.len();
            let mut kept = Map::new();
            for (key, item) in items {
                if key.len() >= *left {
                    kept.insert("...".into(), Value::String(format!("({} more cut)", count - kept.len())));
                    break;
                }
                *left -= key.len();
                kept.insert(key, cut_value(item, left));
            }
            Value::Object(kept)
        }
        small => small,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replug_wire::Level;
    use serde_json::json;

    /// A length in bytes, far above [`MOST_BYTES`].
    const LONG: usize = 1 << 20;

    fn log(message: String, fields: &Value) -> (String, Value) {
        let (target, spans) = ("t".repeat(LONG), json!([{ "name": "s".repeat(LONG) }]).to_string());
        let report = Report::Log { level: Level(3), target, message, fields: fields.to_string(), spans };
        let Report::Log { target, message, fields, spans, .. } = cut(report) else { panic!("not a log") };
        for text in [&target, &message, &fields, &spans] {
            assert!(text.capacity() < 4 * MOST_BYTES, "{} bytes", text.capacity());
        }
        assert!(spans.starts_with("[{\"name\":\"sss") && spans.ends_with(" bytes cut)\"}]"), "{spans}");
        (message, serde_json::from_str(&fields).unwrap())
    }

    #[test]
    fn a_short_log_is_not_truncated() {
        let fields = json!({ "a": 1, "b": ["x".repeat(MOST_BYTES / 2), null, { "c": 1.5 }] });
        assert_eq!(log("hello".into(), &fields), ("hello".into(), fields));
    }

    #[test]
    fn a_long_log_is_cut_between_characters_and_states_the_bytes_cut() {
        let text = format!("a{}", "\u{e4}".repeat(MOST_BYTES));
        let (message, _) = log(text.clone(), &json!({}));
        let (kept, note) = message.split_once("...").unwrap();
        assert!(text.starts_with(kept) && kept.len() > MOST_BYTES - 2, "{} bytes", kept.len());
        assert_eq!(note, format!(" ({} bytes cut)", text.len() - kept.len()));
    }

    #[test]
    fn cutting_a_long_field_keeps_valid_json_and_the_short_fields() {
        let (_, fields) = log(String::new(), &json!({ "body": "b".repeat(LONG), "id": 5, "who": "me" }));
        assert_eq!((&fields["id"], &fields["who"]), (&json!(5), &json!("me")));
        assert!(fields["body"].as_str().unwrap().ends_with(" bytes cut)"));
    }

    #[test]
    fn many_small_fields_and_long_lists_are_cut() {
        let many: Map<_, _> = (0..LONG / 16).map(|number| (format!("key {number}"), json!(number))).collect();
        let (_, fields) = log(String::new(), &Value::Object(many));
        assert!(fields["..."].as_str().unwrap().ends_with("more cut)"), "{fields}");
        let (_, fields) = log(String::new(), &json!({ "list": vec![0; LONG] }));
        let list = fields["list"].as_array().unwrap();
        assert_eq!(list.last().unwrap(), &json!(format!("... ({} more cut)", LONG - (list.len() - 1))));
    }

    #[test]
    fn every_text_of_a_panic_is_cut() {
        let long = || "p".repeat(LONG);
        let panic = Report::Panic { message: long(), location: long(), thread: long(), backtrace: long() };
        let Report::Panic { message, location, thread, backtrace } = cut(panic) else {
            panic!("not a panic")
        };
        for text in [message, location, thread, backtrace] {
            assert!(text.len() < MOST_BYTES + 100 && text.ends_with(" bytes cut)"));
        }
    }
}
