//! Finds the paths that the messages of a failed build name. The cause of a failure is often a file that no build has
//! read yet, or that does not exist.

use super::BuildError;
use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

/// The maximum number of files. The messages of a linker may name thousands of files.
const MOST: usize = 100;

/// Parts of the paths of installed files, which authors do not edit.
const INSTALLED: [&str; 5] = ["/rustc/", "/lib/rustlib/", "/registry/src/", "/git/checkouts/", "/usr/"];

/// Parts of the paths of files that builds write.
const MADE: [&str; 2] = ["/target/", "/.replug/"];

/// The files that the error names, whether they exist or not. Relative paths are resolved against each of `bases`.
/// Files below `made`, the folder that builds write to, are left out.
pub(super) fn files(error: &BuildError, bases: &[&Path], made: &Path) -> BTreeSet<PathBuf> {
    let mut text = plain(&error.to_string());
    for diagnostic in error.diagnostics() {
        text.push('\n');
        text.push_str(&plain(&diagnostic.rendered));
    }
    let mut files = BTreeSet::new();
    for word in words(&text) {
        let Some(path) = as_path(word) else { continue };
        for base in bases {
            let path = cleaned(&base.join(path));
            let is_installed =
                INSTALLED.iter().chain(&MADE).any(|part| path.to_string_lossy().contains(part));
            if files.len() >= MOST || is_installed || path.starts_with(made) || bases.contains(&&*path) {
                continue;
            }
            if path.is_dir() || path.extension().is_none() {
                files.insert(path.join("Cargo.toml"));
            }
            if !path.is_dir() {
                files.insert(path);
            }
        }
    }
    files
}

/// The text without escape sequences for colours.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split("\x1b[");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push_str(part.split_once(|end: char| end.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
    }
    plain
}

/// The parts of the text that may be paths: the text between quotation marks, and the words.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| {
        let quoted = ['`', '"', '\''].into_iter().flat_map(|quote| line.split(quote).skip(1).step_by(2));
        quoted.chain(line.split(|c: char| c.is_whitespace() || "`\"'()[]<>,;=".contains(c)))
    })
}

fn as_path(word: &str) -> Option<&str> {
    let word = word.strip_prefix("file://").unwrap_or(word);
    let word = without_position(word.trim_end_matches(['.', ':', ',']));
    let word = word.split_once('#').map_or(word, |(path, _)| path);
    let is_file = [".toml", ".rs", ".lock"].iter().any(|it| word.ends_with(it));
    let is_url = word.contains("://") || word.contains("//");
    let names_something = word.chars().any(char::is_alphanumeric) && !word.contains('(');
    ((word.contains('/') || is_file) && !is_url && names_something && word.len() < 1000).then_some(word)
}

/// The path without `:line:column`.
fn without_position(word: &str) -> &str {
    let mut word = word;
    while let Some((rest, number)) = word.rsplit_once(':')
        && !number.is_empty()
        && number.bytes().all(|it| it.is_ascii_digit())
    {
        word = rest;
    }
    word
}

/// The path without `.` and `..`. A `..` after a symbolic link stays, because it leads to the parent of the link's
/// target.
fn cleaned(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if !cleaned.is_symlink() => drop(cleaned.pop()),
            part => cleaned.push(part),
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;
    use replug_model::event::Diagnostic;

    fn named(stderr: &str) -> Vec<String> {
        let (file, status) = ("/w/plugin/Cargo.toml".into(), "exit status: 101".into());
        let error = BuildError::Cargo { file, status, stderr: stderr.into() };
        let files = files(&error, &[Path::new("/w/plugin"), Path::new("/w")], Path::new("/w/made"));
        let own = ["/w/plugin/Cargo.toml"];
        files.iter().map(|it| it.display().to_string()).filter(|it| !own.contains(&it.as_str())).collect()
    }

    #[test]
    fn the_manifest_of_a_missing_dependency_is_an_input() {
        let files = named(
            "error: failed to get `dep` as a dependency of package `plugin v0.1.0 (/w/plugin)`\n\nCaused by:\n  \
             failed to load source for dependency `dep`\n\nCaused by:\n  unable to update /w/vendor/dep\n\nCaused by:\n  \
             failed to read `/w/vendor/dep/Cargo.toml`\n\nCaused by:\n  No such file or directory (os error 2)",
        );
        assert_eq!(files, ["/w/vendor/dep", "/w/vendor/dep/Cargo.toml"]);
    }

    #[test]
    fn an_invalid_manifest_of_another_package_is_an_input() {
        let files = named("error: expected `=`\n --> ../sibling/Cargo.toml:3:7\n  |\n3 | name \"x\"\n");
        assert_eq!(files, ["/sibling/Cargo.toml", "/w/sibling/Cargo.toml"]);
        let files = named("error: failed to load manifest for workspace member `/w/my sibling`\n");
        assert!(files.contains(&"/w/my sibling/Cargo.toml".to_owned()), "{files:?}");
    }

    #[test]
    fn a_file_that_the_compiler_cannot_read_is_an_input() {
        let diagnostic = Diagnostic {
            level: replug_model::event::DiagnosticLevel::Error,
            message: "couldn't read `plugin/src/../data.txt`: No such file or directory (os error 2)".into(),
            file: None,
            line: None,
            rendered: "\x1b[1m\x1b[91merror\x1b[0m: couldn't read `plugin/src/../data.txt`: No such file\n"
                .into(),
        };
        let error = BuildError::Compile { summary: "the build failed".into(), diagnostics: vec![diagnostic] };
        let files = files(&error, &[Path::new("/w")], Path::new("/w/made"));
        assert!(files.contains(Path::new("/w/plugin/data.txt")), "{files:?}");
    }

    #[test]
    fn build_outputs_and_installed_files_are_not_inputs() {
        let text = "see https://doc.rust-lang.org/x /usr/bin/ld: /w/made/debug/deps/x.o /home/me/.cargo/registry/src/a/b.rs - / ..";
        assert_eq!(named(text), [""; 0]);
    }
}
