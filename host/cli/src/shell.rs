//! Text that a user can type into a shell: the command that runs this program, and quoted words.

use std::{env, fs, path::Path};

/// The command in messages that the user can type to run this program: `replug` if the shell finds it, otherwise its
/// path.
pub(super) fn invocation() -> String {
    let Ok(me) = env::current_exe() else { return "replug".into() };
    let path = env::var_os("PATH").unwrap_or_default();
    let first = env::split_paths(&path).map(|dir| dir.join("replug")).find(|file| file.is_file());
    let same = |file: &Path| fs::canonicalize(file).ok() == fs::canonicalize(&me).ok();
    match first {
        Some(found) if same(&found) => "replug".into(),
        _ => quoted(&me.to_string_lossy()),
    }
}

/// A word, quoted for a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_quotes_words_that_a_shell_would_split() {
        assert_eq!(quoted("target/debug/replug"), "target/debug/replug");
        assert_eq!(quoted("my plugins"), "'my plugins'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
