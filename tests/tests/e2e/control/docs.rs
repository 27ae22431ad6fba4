//! Runs the examples in `docs/HTTP.md` unchanged.

use super::{listen, unix, with_calculator};
use replug_tests::{skipped, workspace};
use serde_json::Value;
use std::{
    fs,
    process::{Command, Stdio},
};

/// The shell examples of the page. If a block of JSON directly follows an example, it is the example's answer.
fn examples(page: &str) -> Vec<(String, Option<Value>)> {
    let mut found: Vec<(String, Option<Value>)> = Vec::new();
    let mut parts = page.split("```");
    let mut between = parts.next().unwrap_or_default();
    while let (Some(block), Some(after)) = (parts.next(), parts.next()) {
        let (language, text) = block.split_once('\n').expect("a block has lines");
        match (language, found.last_mut()) {
            ("sh", _) => found.push((text.to_owned(), None)),
            ("json", Some((_, answer @ None))) if between.trim().is_empty() => {
                *answer = Some(serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")));
            }
            _ => {}
        }
        between = after;
    }
    found
}

/// Asserts that an answer has the form of the documented answer: the same keys, with values of the same type.
fn resembles(shown: &Value, answer: &Value, at: &str) {
    match (shown, answer) {
        (Value::Object(shown), Value::Object(answer)) => {
            let keys = |of: &serde_json::Map<String, Value>| of.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(shown), keys(answer), "the keys at {at}");
            shown.iter().for_each(|(key, value)| resembles(value, &answer[key], &format!("{at}.{key}")));
        }
        (Value::Array(shown), Value::Array(answer)) => {
            assert_eq!(shown.is_empty(), answer.is_empty(), "the list at {at}: {answer:?}");
            shown.iter().zip(answer).for_each(|(shown, answer)| resembles(shown, answer, at));
        }
        (shown, answer) => {
            let kind = |value: &Value| std::mem::discriminant(value);
            assert!(
                kind(shown) == kind(answer),
                "{at} is {shown} in the documentation, but {answer} in the answer"
            );
        }
    }
}

#[test]
fn every_example_of_the_http_documentation_works() {
    let has_curl = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has_curl {
        skipped("the examples need curl");
        return;
    }
    let mut lab = with_calculator();
    listen(&mut lab);
    let listening = lab.listening();
    let token = fs::read_to_string(&listening.token().unwrap().path).unwrap();

    let page = fs::read_to_string(workspace().join("docs/HTTP.md")).unwrap();
    let document = unix(&lab).get("/openapi.json").json();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(page.contains(path), "docs/HTTP.md does not mention {path}");
    }
    let examples = examples(&page);
    assert!(examples.len() >= 18, "only {} examples", examples.len());
    for (script, shown) in examples {
        let mut shell = Command::new("sh");
        shell.args(["-euc", &script]).env("URL", listening.http().unwrap()).env("TOKEN", token.trim());
        let output = shell.env("SOCKET", listening.socket().unwrap()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{script}\n{text}{}", String::from_utf8_lossy(&output.stderr));
        if let Some(shown) = shown {
            let answer =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {script}\n{text}"));
            resembles(&shown, &answer, &script);
        }
    }
}
