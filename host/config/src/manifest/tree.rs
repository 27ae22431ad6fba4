//! A common tree of values for TOML and JSON. Each value has its line, for messages.

use super::ManifestError;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// A value, and the number of the line on which it begins. The first line is 1.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table, its line, and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) node: Node,
}

impl Value {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// The value as JSON. The error is the line of an infinite number or NaN, which JSON cannot represent.
    pub(crate) fn to_json(&self) -> Result<serde_json::Value, usize> {
        Ok(match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(it) => (*it).into(),
            Value::Integer(it) => (*it).into(),
            Value::Float(it) => serde_json::Number::from_f64(*it).ok_or(self.line)?.into(),
            Value::String(it) => it.as_str().into(),
            Value::Array(items) => items.iter().map(Self::to_json).collect::<Result<Vec<_>, _>>()?.into(),
            Value::Table(entries) => {
                let pairs = entries.iter().map(|it| Ok::<_, usize>((it.key.clone(), it.node.to_json()?)));
                serde_json::Value::Object(pairs.collect::<Result<_, _>>()?)
            }
        })
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

fn column_at(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    1 + String::from_utf8_lossy(&before[start..]).chars().count()
}

/// Reads `text` as TOML.
pub(crate) fn from_toml(file: &Path, text: &str) -> Result<Node, ManifestError> {
    let illegal = |at: usize, reason: &str| ManifestError::Syntax {
        path: file.into(),
        line: line_at(text, at),
        column: column_at(text, at),
        format: "TOML",
        reason: reason.into(),
    };
    let table = DeTable::parse(text).map_err(|error| {
        illegal(error.span().map_or(0, |span| span.start), error.message().trim_end_matches(['\n', ',']))
    })?;
    let at = table.span().start;
    toml_node(text, at, &DeValue::Table(table.into_inner()))
        .map_err(|at| illegal(at, "a number out of range"))
}

fn toml_node(text: &str, at: usize, value: &DeValue<'_>) -> Result<Node, usize> {
    let value = match value {
        DeValue::String(it) => Value::String(it.to_string()),
        DeValue::Boolean(it) => Value::Bool(*it),
        DeValue::Integer(it) => Value::Integer(i64::from_str_radix(it.as_str(), it.radix()).map_err(|_| at)?),
        DeValue::Float(it) => Value::Float(it.as_str().parse().map_err(|_| at)?),
        DeValue::Datetime(it) => Value::String(it.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|it| toml_node(text, it.span().start, it.get_ref()))
                .collect::<Result<_, _>>()?,
        ),
        DeValue::Table(table) => Value::Table(
            table
                .iter()
                .map(|(key, it)| {
                    Ok(Entry {
                        key: key.get_ref().to_string(),
                        line: line_at(text, key.span().start),
                        node: toml_node(text, it.span().start, it.get_ref())?,
                    })
                })
                .collect::<Result<_, usize>>()?,
        ),
    };
    Ok(Node { line: line_at(text, at), value })
}

/// Reads `text` as JSON.
pub(crate) fn from_json(file: &Path, text: &str) -> Result<Node, ManifestError> {
    let error = |error: serde_json::Error| ManifestError::Syntax {
        path: file.into(),
        line: error.line(),
        column: error.column(),
        format: "JSON",
        reason: error.to_string().split(" at line ").next().unwrap_or_default().into(),
    };
    // serde_json validates the text and limits its depth. `JsonWalk` then finds the line of each value.
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(error)?;
    JsonWalk { text, at: 0 }.node().map_err(error)
}

/// A parser for text that is known to be valid JSON.
struct JsonWalk<'t> {
    text: &'t str,
    at: usize,
}

impl JsonWalk<'_> {
    fn node(&mut self) -> Result<Node, serde_json::Error> {
        let first = self.peek();
        let line = line_at(self.text, self.at);
        let value = match first {
            b'{' => Value::Table(self.items(|walk| {
                walk.peek();
                let line = line_at(walk.text, walk.at);
                let key = serde_json::from_str(walk.scalar())?;
                walk.peek();
                walk.at += 1; // the colon
                Ok(Entry { key, line, node: walk.node()? })
            })?),
            b'[' => Value::Array(self.items(Self::node)?),
            _ => match serde_json::from_str(self.scalar())? {
                serde_json::Value::Bool(it) => Value::Bool(it),
                serde_json::Value::String(it) => Value::String(it),
                serde_json::Value::Number(it) => match it.as_i64() {
                    Some(it) => Value::Integer(it),
                    None => Value::Float(it.as_f64().unwrap_or(f64::NAN)),
                },
                _ => Value::Null,
            },
        };
        Ok(Node { line, value })
    }

    /// The items between the brackets, separated by commas.
    fn items<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, serde_json::Error>,
    ) -> Result<Vec<T>, serde_json::Error> {
        let mut items = Vec::new();
        self.at += 1;
        while !matches!(self.peek(), b']' | b'}' | 0) {
            items.push(item(self)?);
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Ok(items)
    }

    /// The next byte that is not white space; 0 at the end.
    fn peek(&mut self) -> u8 {
        let rest = &self.text.as_bytes()[self.at.min(self.text.len())..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn scalar(&mut self) -> &str {
        let rest = &self.text[self.at..];
        let mut escaped = false;
        let length = if rest.starts_with('"') {
            let closing = rest.bytes().skip(1).position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            closing.map_or(rest.len(), |position| position + 2)
        } else {
            rest.bytes().position(|byte| b",]} \t\r\n".contains(&byte)).unwrap_or(rest.len())
        };
        self.at += length;
        &rest[..length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_toml_give_equal_values_with_the_lines_of_their_texts() {
        let toml = "a = 1\n[b]\nc = [\"x\", 2.5]\nd = { e = true }\n";
        let json = "{\"a\": 1,\n\"b\": {\n\"c\": [\"x\", 2.5],\n  \"d\": {\"e\" : true}\n}}";
        let toml = from_toml(Path::new("t"), toml).unwrap();
        let json = from_json(Path::new("j"), json).unwrap();
        assert_eq!(toml.to_json(), json.to_json());
        let Value::Table(entries) = &json.value else { panic!("{json:?}") };
        assert_eq!((entries[0].line, entries[1].line), (1, 2));
        let Value::Table(entries) = &toml.value else { panic!("{toml:?}") };
        let Value::Table(inner) = &entries[1].node.value else { panic!("{toml:?}") };
        assert_eq!((inner[0].line, inner[1].line), (3, 4));
    }

    #[test]
    fn json_strings_may_contain_quotes_and_brackets() {
        let text = r#"{"k\"{": "a\\", "n": [null, -1e3, "]}\",", {}], "e": []}"#;
        let tree = from_json(Path::new("j"), text).unwrap().to_json().unwrap();
        assert_eq!(tree, serde_json::from_str::<serde_json::Value>(text).unwrap());
    }
}
