//! Reads a table key by key. Each error names the key, the line and the remedy.

use super::{
    ManifestError,
    tree::{Entry, Node, Value},
};
use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

/// The longest allowed duration: a year. The host adds durations to the current time, and the sum must not overflow.
const LONGEST: Duration = Duration::from_secs(31_557_600);

/// A table of a manifest or of a configuration. All keys in the table are known.
pub(crate) struct Fields<'a> {
    file: &'a Path,
    prefix: &'static str,
    entries: &'a [Entry],
}

impl<'a> Fields<'a> {
    /// Checks that `node` is a table that has only `known` keys. In messages, `prefix`, such as `reload.`, is prepended
    /// to the keys.
    pub(crate) fn open(
        file: &'a Path,
        prefix: &'static str,
        node: &'a Node,
        known: &[&str],
    ) -> Result<Self, ManifestError> {
        let Value::Table(entries) = &node.value else {
            return Err(ManifestError::WrongType {
                path: file.into(),
                line: node.line,
                key: prefix.trim_end_matches('.').into(),
                expected: "a table",
                found: node.value.type_name(),
            });
        };
        let fields = Self { file, prefix, entries };
        for (index, entry) in entries.iter().enumerate() {
            let (path, line, key) = (file.into(), entry.line, format!("{prefix}{}", entry.key));
            if !known.contains(&entry.key.as_str()) {
                return Err(ManifestError::UnknownKey { path, line, key, hint: hint(&entry.key, known) });
            }
            if entries[..index].iter().any(|earlier| earlier.key == entry.key) {
                return Err(ManifestError::TwiceTheKey { path, line, key });
            }
        }
        Ok(fields)
    }

    pub(crate) fn node(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The error for a value of the right type that `key` does not accept.
    pub(crate) fn illegal(&self, key: &str, reason: impl Into<String>) -> ManifestError {
        ManifestError::IllegalValue {
            path: self.file.into(),
            line: self.node(key).map_or(1, |node| node.line),
            key: format!("{}{key}", self.prefix),
            reason: reason.into(),
        }
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<&'a str>, ManifestError> {
        self.get(key, "a string", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, ManifestError> {
        self.get(key, "true or false", |value| match value {
            Value::Bool(it) => Some(*it),
            _ => None,
        })
    }

    pub(crate) fn count(&self, key: &str) -> Result<Option<u64>, ManifestError> {
        self.get(key, "a whole number that is not negative", |value| match value {
            Value::Integer(it) => u64::try_from(*it).ok(),
            _ => None,
        })
    }

    /// A number from 0 to 1.
    pub(crate) fn rate(&self, key: &str) -> Result<Option<f64>, ManifestError> {
        let rate = self.get(key, "a number from 0 to 1", |value| match value {
            Value::Integer(it) => Some(*it as f64),
            Value::Float(it) => Some(*it),
            _ => None,
        })?;
        match rate {
            Some(rate) if !(0.0..=1.0).contains(&rate) => {
                Err(self.illegal(key, format!("{rate} is not between 0 and 1")))
            }
            rate => Ok(rate),
        }
    }

    pub(crate) fn strings(&self, key: &str) -> Result<Vec<String>, ManifestError> {
        let list = self.get(key, "a list of strings", |value| match value {
            Value::Array(items) => items
                .iter()
                .map(|item| match &item.value {
                    Value::String(text) => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        })?;
        Ok(list.unwrap_or_default())
    }

    /// The line numbers of the items of a list. The first line of the file is 1.
    pub(super) fn lines(&self, key: &str) -> impl Iterator<Item = usize> {
        let items = self.node(key).map(|node| match &node.value {
            Value::Array(items) => items.as_slice(),
            _ => &[],
        });
        items.unwrap_or_default().iter().map(|item| item.line)
    }

    pub(crate) fn duration(&self, key: &str) -> Result<Option<Duration>, ManifestError> {
        match self.duration_or_zero(key)? {
            Some(Duration::ZERO) => {
                Err(self.illegal(key, "a duration of zero; write \"500ms\", \"5s\" or \"2m\""))
            }
            duration => Ok(duration),
        }
    }

    /// A duration that may be zero.
    pub(crate) fn duration_or_zero(&self, key: &str) -> Result<Option<Duration>, ManifestError> {
        let Some(text) = self.get(key, "a duration in quotes, such as \"5s\"", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })?
        else {
            return Ok(None);
        };
        let duration = humantime::parse_duration(text).map_err(|error| {
            self.illegal(
                key,
                format!("{text:?} is not a duration: {error}; write \"500ms\", \"5s\" or \"2m\""),
            )
        })?;
        if duration > LONGEST {
            let longest = humantime::format_duration(LONGEST);
            return Err(self.illegal(key, format!("{text:?} is too long; write at most \"{longest}\"")));
        }
        Ok(Some(duration))
    }

    /// A path inside the plugin's folder, relative to that folder.
    pub(crate) fn path(&self, key: &str) -> Result<Option<PathBuf>, ManifestError> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        let path = Path::new(text);
        let mut named = false;
        for component in path.components() {
            match component {
                Component::Normal(_) => named = true,
                Component::CurDir => {}
                Component::ParentDir => {
                    return Err(
                        self.illegal(key, format!("{text:?} leaves the plugin's folder; remove the `..`"))
                    );
                }
                Component::RootDir | Component::Prefix(_) => {
                    return Err(self.illegal(
                        key,
                        format!("{text:?} is absolute; write it relative to the plugin's folder"),
                    ));
                }
            }
        }
        if !named || text.contains('\0') {
            return Err(
                self.illegal(key, format!("{text:?} is not a file; write a path in the plugin's folder"))
            );
        }
        Ok(Some(path.components().filter(|it| *it != Component::CurDir).collect()))
    }

    /// Looks up the key's string in `words`, a list of strings with their values, and returns the string's value. A
    /// string that is not in the list is an error.
    pub(crate) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, ManifestError> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, it)) => Ok(Some(*it)),
            None => {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                Err(self.illegal(key, format!("{text:?} is unknown; {}", hint(text, &known))))
            }
        }
    }

    /// The value of a key, if `read` accepts its type.
    pub(super) fn get<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ManifestError> {
        let Some(node) = self.node(key) else { return Ok(None) };
        read(&node.value).map(Some).ok_or_else(|| ManifestError::WrongType {
            path: self.file.into(),
            line: node.line,
            key: format!("{}{key}", self.prefix),
            expected,
            found: match &node.value {
                Value::Array(_) if expected.starts_with("a list") => {
                    "a list with a value of a different type"
                }
                Value::Integer(it) if *it < 0 => "a negative integer",
                other => other.type_name(),
            },
        })
    }
}

fn hint(word: &str, known: &[&str]) -> String {
    let all = known.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
    match nearest(word, known) {
        Some(near) => format!("did you mean `{near}`? (known: {all})"),
        None => format!("known: {all}"),
    }
}

/// The candidate that is most similar to `word`, if any is similar enough to suggest it.
fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let word = word.replace('-', "_").to_lowercase();
    candidates
        .iter()
        .map(|it| (strsim::damerau_levenshtein(&word, &it.replace('-', "_")), *it))
        .filter(|(distance, it)| *distance <= 1 + it.len() / 3)
        .min()
        .map(|(_, it)| it)
}
