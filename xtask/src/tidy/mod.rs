//! `cargo xtask tidy`: checks the project's own rules, which the compiler does not check. A test of this crate runs the
//! same checks, so every run of the tests includes them.
//!
//! A rule is a function from the [`Tree`] to problems. The tree is in memory, so tests can check each rule with files
//! that break it.

mod cycles;
mod language;
mod layout;
mod lex;
mod paths;
#[cfg(test)]
mod tests;

use anyhow::{Context, bail};
use lex::Split;
use std::{collections::BTreeMap, fmt, fs, path::Path};

/// The files of the workspace, by their paths relative to its root, separated by `/`.
#[derive(Default)]
struct Tree {
    files: BTreeMap<String, File>,
}

/// One file.
struct File {
    text: String,
    /// The code and comments of a Rust file.
    rust: Option<Split>,
}

/// A place that breaks a rule.
#[derive(Debug)]
struct Problem {
    path: String,
    /// The line number, from 1.
    line: usize,
    /// What is wrong, and what to do.
    message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

type Rule = fn(&Tree) -> Vec<Problem>;

const RULES: &[Rule] = &[
    layout::files_say_what_they_are_for,
    layout::files_are_short,
    layout::fixtures_are_used,
    layout::links_lead_somewhere,
    cycles::no_cycle_spans_top_level_modules,
    language::unsafe_stays_in_its_places,
    language::unsafe_is_listed,
    language::errors_are_shown_in_words,
    language::nothing_is_left_undone,
    language::tests_do_not_sleep,
    language::test_names_are_short,
    language::pages_make_no_markup,
];

/// Checks the workspace at `root`.
///
/// # Errors
///
/// If a file breaks a rule. Prints each problem first.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::read(root)?;
    let problems: Vec<Problem> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        bail!("tidy found {} problem(s): fix the lines named above", problems.len());
    }
    println!("tidy: {} files follow {} rules", tree.files.len(), RULES.len());
    Ok(())
}

impl Tree {
    fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> anyhow::Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // These folders contain no sources.
            if matches!(name.as_str(), "target" | ".git" | ".replug") {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).with_context(|| format!("cannot read {path}"))?;
                self.add(&path, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &str, text: String) {
        let rust = path.ends_with(".rs").then(|| Split::of(&text));
        self.files.insert(path.to_owned(), File { text, rust });
    }

    /// The Rust files of the project's own code. They do not include the fixtures, which misbehave on purpose, nor the
    /// inputs and outputs of the compile tests.
    fn rust(&self) -> impl Iterator<Item = (&str, &File, &Split)> {
        self.files
            .iter()
            .filter(|(path, _)| !path.starts_with("tests/fixtures/") && !has_folder(path, "ui"))
            .filter_map(|(path, file)| Some((path.as_str(), file, file.rust.as_ref()?)))
    }

    fn exists(&self, path: &str) -> bool {
        let inside = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path) || self.files.keys().any(|file| file.starts_with(&inside))
    }
}

fn has_folder(path: &str, name: &str) -> bool {
    path.split('/').rev().skip(1).any(|folder| folder == name)
}

/// Whether the whole file contains tests.
fn is_test(path: &str) -> bool {
    has_folder(path, "tests") || path.ends_with("/tests.rs")
}

/// The lines of a text, numbered from 1.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !is_identifier(c)).any(|found| found == word)
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
