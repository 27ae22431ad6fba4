//! Rules about content: unsafe code, unfinished work, tests that sleep or have long names.

use super::{Problem, Split, Tree, has_folder, has_word, is_identifier, is_test, numbered};

/// The places where unsafe code is allowed.
const UNSAFE_PLACES: [&str; 8] = [
    "plugin-api/src/",
    "plugin-api/macros/src/",
    "host/runtime/src/load/in_process/",
    "host/runtime/src/load/in_process.rs",
    "host/runtime/src/interface.rs",
    "host/runtime/src/registry/",
    "host/runtime/src/shim/inherited.rs",
    "host/runtime/src/lane/memory.rs",
];

const SAFETY_PAGE: &str = "docs/SAFETY.md";

fn in_unsafe_place(path: &str) -> bool {
    UNSAFE_PLACES.iter().any(|place| path.starts_with(place))
}

/// The number of the first line with unsafe code.
fn first_unsafe(source: &Split) -> Option<usize> {
    numbered(&source.code).find(|(_, line)| has_word(line, "unsafe")).map(|(line, _)| line)
}

pub(super) fn unsafe_stays_in_its_places(tree: &Tree) -> Vec<Problem> {
    tree.rust()
        .filter(|(path, ..)| !in_unsafe_place(path))
        .filter_map(|(path, _, source)| Some((path, source, first_unsafe(source)?)))
        .filter_map(|(path, source, line)| {
            let outside = is_test(path) || has_folder(path, "benches") || has_folder(path, "examples");
            let message = match outside {
                true if source.comments.contains("SAFETY") => return None,
                true => "unsafe code without a `// SAFETY:` comment: say why it is sound".to_owned(),
                false => format!("unsafe code belongs in {}: move it there", UNSAFE_PLACES.join(", ")),
            };
            Some(Problem { path: path.to_owned(), line, message })
        })
        .collect()
}

pub(super) fn unsafe_is_listed(tree: &Tree) -> Vec<Problem> {
    let page = tree.files.get(SAFETY_PAGE).map_or("", |file| file.text.as_str());
    tree.rust()
        .filter(|(path, ..)| in_unsafe_place(path) && !page.contains(path))
        .filter_map(|(path, _, source)| {
            let message = format!(
                "{SAFETY_PAGE} does not list this unsafe code: add the file, and why its code is sound"
            );
            Some(Problem { path: path.to_owned(), line: first_unsafe(source)?, message })
        })
        .collect()
}

pub(super) fn nothing_is_left_undone(tree: &Tree) -> Vec<Problem> {
    const IN_CODE: [&str; 3] = ["#[ignore", "todo!", "unimplemented!"];
    const IN_PROSE: [&str; 2] = ["TODO", "FIXME"];
    let mut problems = Vec::new();
    let mut report = |path: &str, line: usize, found: &str| {
        let message = format!("`{found}`: finish the work, or remove the note");
        problems.push(Problem { path: path.to_owned(), line, message });
    };
    for (path, _, source) in tree.rust() {
        for (line, text) in numbered(&source.code) {
            IN_CODE.iter().filter(|found| text.contains(**found)).for_each(|found| report(path, line, found));
        }
        for (line, text) in numbered(&source.comments) {
            IN_PROSE.iter().filter(|found| has_word(text, found)).for_each(|found| report(path, line, found));
        }
    }
    for (path, file) in &tree.files {
        if [".md", ".toml", ".sh", ".yml"].iter().any(|ending| path.ends_with(ending)) {
            for (line, text) in numbered(&file.text) {
                IN_PROSE
                    .iter()
                    .filter(|found| has_word(text, found))
                    .for_each(|found| report(path, line, found));
            }
        }
    }
    problems
}

/// The files that may sleep: the programs that kill processes at random moments, because no event marks such a moment,
/// and the helper that polls for conditions without an event.
const MAY_SLEEP: [&str; 3] =
    ["tests/src/bin/kill/moments.rs", "tests/src/bin/kill/shims.rs", "tests/src/wait.rs"];

/// A test that sleeps is slow on every machine, and may fail on a busy machine.
pub(super) fn tests_do_not_sleep(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, _, source) in tree.rust().filter(|(path, ..)| !MAY_SLEEP.contains(path)) {
        let tests_begin = if is_test(path) { Some(1) } else { inline_tests(&source.code) };
        let Some(tests_begin) = tests_begin else { continue };
        for (line, text) in numbered(&source.code).filter(|(line, _)| *line >= tests_begin) {
            let calls =
                |name: &str| text.match_indices(name).any(|(at, _)| !text[..at].ends_with(is_identifier));
            let sleeps = calls("sleep(") || calls("park_timeout(");
            if sleeps {
                let message = "a test must not sleep: wait for an event".to_owned();
                problems.push(Problem { path: path.to_owned(), line, message });
            }
        }
    }
    problems
}

/// The number of the line where a `#[cfg(test)] mod tests { .. }` begins.
fn inline_tests(code: &str) -> Option<usize> {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'))
        .map(|index| index + 1)
}

/// The maximum length of a test name: subject, verb and condition. Longer names are hard to read in the output of
/// failed tests.
const MAX_TEST_NAME: usize = 70;

pub(super) fn test_names_are_short(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, _, source) in tree.rust() {
        // In a file of tests, every function counts as a test, because macros may turn functions without the attribute
        // into tests.
        let mut of_a_test = is_test(path);
        for (line, text) in numbered(&source.code) {
            of_a_test |= is_test_attribute(text);
            let Some(name) = function_name(text) else { continue };
            let length = name.chars().count();
            if of_a_test && length > MAX_TEST_NAME {
                let message = format!(
                    "the name of this test has {length} characters, more than {MAX_TEST_NAME}: state subject, verb and condition"
                );
                problems.push(Problem { path: path.to_owned(), line, message });
            }
            of_a_test = is_test(path);
        }
    }
    problems
}

/// Whether the line begins with `#[test]`, or with an attribute such as `#[tokio::test(..)]`.
fn is_test_attribute(line: &str) -> bool {
    let Some(attribute) = line.trim_start().strip_prefix("#[") else { return false };
    let path = attribute.split(|c: char| !is_identifier(c) && c != ':').next().unwrap_or_default();
    path.rsplit("::").next() == Some("test")
}

/// The name of the function whose declaration is on the line.
fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split(|c: char| !is_identifier(c)).filter(|word| !word.is_empty());
    words.find(|word| *word == "fn")?;
    words.next()
}

/// The page shows texts of plugins, which must never become markup or code.
pub(super) fn pages_make_no_markup(tree: &Tree) -> Vec<Problem> {
    const IN_SCRIPTS: [&str; 12] = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "setHTMLUnsafe",
        "createContextualFragment",
        "DOMParser",
        "srcdoc",
        "document.write",
        "eval(",
        "Function(",
        "javascript:",
        "import(",
    ];
    const IN_PAGES: [&str; 6] = ["<style", " style=", " on", "javascript:", "http://", "https://"];
    let mut problems = Vec::new();
    for (path, file) in tree.files.iter().filter(|(path, _)| path.starts_with("host/control/src/http/page/"))
    {
        let (words, remedy): (&[_], _) = match path.rsplit('.').next() {
            Some("js") => (&IN_SCRIPTS, "make elements with `el` of dom.js"),
            Some("html") => (&IN_PAGES, "move it into a file of its own next to this one"),
            _ => continue,
        };
        for (line, text) in numbered(&file.text) {
            // ` on` matches only attributes such as ` onclick=`.
            let found = words.iter().find(|word| match **word {
                " on" => text.split(" on").skip(1).any(|rest| {
                    rest.split_once('=').is_some_and(|(name, _)| name.chars().all(char::is_alphabetic))
                }),
                word => text.contains(word),
            });
            if let Some(found) = found {
                let message = format!("`{}` could run text of a plugin as code: {remedy}", found.trim());
                problems.push(Problem { path: path.clone(), line, message });
            }
        }
    }
    problems
}

/// If `main` returns an error that derives `Debug`, the user sees it in Rust syntax.
pub(super) fn errors_are_shown_in_words(tree: &Tree) -> Vec<Problem> {
    let of_a_library = |path: &str| {
        let of_the_command = path.starts_with("host/src/cli/") || path.starts_with("host/cli/");
        (path.starts_with("host/") && has_folder(path, "src") && !of_the_command)
            || path.starts_with("plugin-api/src/")
    };
    let derives_both = |line: &str| {
        line.trim_start().starts_with("#[derive(")
            && line.contains("thiserror::Error")
            && has_word(line, "Debug")
    };
    let mut problems = Vec::new();
    for (path, _, source) in tree.rust().filter(|(path, ..)| of_a_library(path)) {
        for (line, _) in numbered(&source.code).filter(|(_, line)| derives_both(line)) {
            let message = "`main` prints an error with `Debug`: do not derive it, and write `readable!(..)` of `replug-model` below the type";
            problems.push(Problem { path: path.to_owned(), line, message: message.to_owned() });
        }
    }
    problems
}
