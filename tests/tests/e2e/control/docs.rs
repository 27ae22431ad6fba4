//! Runs the examples in `docs/HTTP.md` and in the pages in `docs/http` unchanged.

use super::{listen, unix, with_calculator};
use replug_tests::{skipped, workspace};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
};

/// The texts of the entry page and of the pages to which it links, in the order of the links. Fails if the entry page
/// does not link to a page in the folder.
fn pages() -> Vec<String> {
    let docs = workspace().join("docs");
    let read = |path: &str| fs::read_to_string(docs.join(path)).unwrap();
    let entry = read("HTTP.md");
    let mut names: Vec<&str> = Vec::new();
    for link in entry.split("](http/").skip(1) {
        let name = link.split([')', '#']).next().unwrap();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let files = fs::read_dir(docs.join("http")).unwrap().map(|file| file.unwrap().file_name().into_string());
    let files: BTreeSet<String> = files.map(Result::unwrap).collect();
    assert_eq!(names.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), files, "the links of HTTP.md");
    let linked: Vec<_> = names.iter().map(|name| read(&format!("http/{name}"))).collect();
    [entry].into_iter().chain(linked).collect()
}

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

    let pages = pages();
    let document = unix(&lab).get("/openapi.json").json();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(pages[0].contains(&format!("[{path}]")), "docs/HTTP.md does not list {path}");
    }
    // The examples run in the order of the links, because some of them change the plugin.
    let examples: Vec<_> = pages.iter().flat_map(|page| examples(page)).collect();
    assert!(examples.len() >= 24, "only {} examples", examples.len());
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
