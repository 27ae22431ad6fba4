//! Rules about files: their first line, their length, whether tests mention the fixtures, and whether the targets of
//! links exist.

use super::{Problem, Tree, has_folder, is_test, numbered};

const MAX_LINES: usize = 400;

pub(super) fn files_say_what_they_are_for(tree: &Tree) -> Vec<Problem> {
    tree.rust()
        .filter(|(_, file, _)| !file.text.starts_with("//!"))
        .map(|(path, ..)| Problem {
            path: path.to_owned(),
            line: 1,
            message: "begin the file with `//!` and say what this module is for".to_owned(),
        })
        .collect()
}

pub(super) fn files_are_short(tree: &Tree) -> Vec<Problem> {
    tree.rust()
        .filter(|(path, ..)| !is_test(path) && !has_folder(path, "benches"))
        .map(|(path, file, _)| (path, file.text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| Problem {
            path: path.to_owned(),
            line: MAX_LINES + 1,
            message: format!("{lines} lines are more than {MAX_LINES}: split the module"),
        })
        .collect()
}

/// Every fixture must be mentioned in a test.
pub(super) fn fixtures_are_used(tree: &Tree) -> Vec<Problem> {
    const FIXTURES: &str = "tests/fixtures/";
    let mut names: Vec<&str> = tree
        .files
        .keys()
        .filter_map(|path| path.strip_prefix(FIXTURES)?.split_once('/').map(|(name, _)| name))
        .collect();
    names.dedup();
    names
        .into_iter()
        .filter(|name| !tree.rust().any(|(path, file, _)| is_test(path) && mentions(&file.text, name)))
        .map(|name| Problem {
            path: format!("{FIXTURES}{name}"),
            line: 1,
            message: "no test mentions this fixture: write a test, or remove the fixture".to_owned(),
        })
        .collect()
}

/// Whether the text contains the name as a whole word.
fn mentions(text: &str, name: &str) -> bool {
    let part = |c: char| super::is_identifier(c) || c == '-';
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + name.len()..].starts_with(part))
}

/// The targets of links in docs/ and in each README.md must exist, and so must the Rust files and pages that these
/// pages name in backquotes by their path from the root.
pub(super) fn links_lead_somewhere(tree: &Tree) -> Vec<Problem> {
    let pages = tree.files.iter().filter(|(path, _)| {
        path.ends_with(".md") && (path.starts_with("docs/") || path.rsplit('/').next() == Some("README.md"))
    });
    let mut problems = Vec::new();
    for (page, file) in pages {
        let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (line, text) in numbered(&file.text) {
            let links = links(text).into_iter().map(|target| (target, resolve(folder, target)));
            let named = sources(text).into_iter().map(|target| (target, Some(target.to_owned())));
            for (written, target) in links.chain(named) {
                let message = match target {
                    Some(target) if target.is_empty() || tree.exists(&target) => continue,
                    Some(target) => {
                        format!(
                            "`{target}` does not exist: name a file of the workspace, or remove the reference"
                        )
                    }
                    None => format!(
                        "`{written}` leads out of the workspace: link to a file of the workspace, or remove the link"
                    ),
                };
                problems.push(Problem { path: page.clone(), line, message });
            }
        }
    }
    problems
}

/// The targets of markdown links to files.
fn links(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains(':'))
        .collect()
}

/// The paths of Rust files and pages in backquotes that begin with one of `FOLDERS`. Such a path begins at the root of
/// the workspace.
fn sources(line: &str) -> Vec<&str> {
    const FOLDERS: [&str; 7] = ["plugin-api/", "host/", "plugins/", "tests/", "benches/", "xtask/", "docs/"];
    line.split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| FOLDERS.iter().any(|folder| text.starts_with(folder)))
        .filter(|text| text.ends_with(".rs") || text.ends_with(".md"))
        .filter(|text| text.chars().all(|c| super::is_identifier(c) || "./-".contains(c)))
        .collect()
}

/// The path from the root of the workspace, or `None` if it leaves the workspace.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
