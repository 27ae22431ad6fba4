//! Finds the paths in Rust source that lead to other modules: the paths of `use`, and all paths that begin with
//! `crate`, `super` or `self`.

use std::collections::BTreeSet;

/// A path in a source file.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub(super) line: usize,
    /// The inline modules around the path, from the outside.
    pub(super) inside: Vec<String>,
    /// The segments as they are written, without a `self` at the end.
    pub(super) segments: Vec<String>,
    /// The name under which a `use` imports the item; `None` for a path outside of `use`.
    pub(super) name: Option<String>,
}

/// What a source file contains, without the contents of items that only tests or rustdoc compile.
#[derive(Default)]
pub(super) struct Paths {
    pub(super) found: Vec<Found>,
    /// The modules that only tests or rustdoc compile, each with the inline modules around it.
    pub(super) uncompiled: Vec<Vec<String>>,
    /// The modules in the file that have a body in braces, each with the inline modules around it.
    pub(super) inline: Vec<Vec<String>>,
    /// The names of the items that the file declares.
    pub(super) declared: BTreeSet<String>,
}

#[derive(Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

struct Reader<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    paths: Paths,
    /// The open inline modules, each with the number of open braces outside it.
    modules: Vec<(&'a str, usize)>,
    braces: usize,
}

impl Paths {
    /// Reads code from which comments and the content of literals are removed.
    pub(super) fn of(code: &str) -> Self {
        let mut reader =
            Reader { tokens: tokens(code), at: 0, paths: Self::default(), modules: Vec::new(), braces: 0 };
        while reader.at < reader.tokens.len() {
            reader.step();
        }
        reader.paths
    }
}

impl<'a> Reader<'a> {
    /// The text of the token that is `ahead` of the current one.
    fn peek(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text)
    }

    fn inside(&self) -> Vec<String> {
        self.modules.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn step(&mut self) {
        let before = self.at.checked_sub(1).map_or("", |index| self.tokens[index].text);
        match self.peek(0) {
            "#" if self.is_uncompiled() => return self.skip_item(),
            "use" => {
                self.at += 1;
                if self.peek(0) == "::" {
                    self.at += 1;
                }
                return self.tree(&[], true);
            }
            "crate" | "super" | "self" if self.peek(1) == "::" && before != "::" => {
                return self.tree(&[], false);
            }
            "mod" if self.peek(2) == "{" => {
                self.modules.push((self.peek(1), self.braces));
                self.paths.inline.push(self.inside());
                self.at += 1;
            }
            "struct" | "enum" | "union" | "trait" | "type" | "fn" | "const" | "static" => {
                self.paths.declared.insert(self.peek(1).to_owned());
            }
            "{" => self.braces += 1,
            "}" => {
                self.braces = self.braces.saturating_sub(1);
                self.modules.pop_if(|(_, outside)| *outside == self.braces);
            }
            _ => {}
        }
        self.at += 1;
    }

    /// Reads a path, or a tree of paths in braces, below `prefix`.
    fn tree(&mut self, prefix: &[&'a str], of_use: bool) {
        let mut segments = prefix.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        loop {
            match self.peek(0) {
                "{" => {
                    self.at += 1;
                    while !matches!(self.peek(0), "}" | "") {
                        let start = self.at;
                        self.tree(&segments, of_use);
                        // Skips anything that is not a path, such as the comma between two paths.
                        self.at = self.at.max(start + usize::from(self.at == start));
                    }
                    self.at += 1;
                    return;
                }
                text if text == "*" || text.starts_with(super::is_identifier) => segments.push(text),
                _ => break,
            }
            self.at += 1;
            // A path outside of `use` may go on with `<` or with a `{` that begins a block.
            if self.peek(0) != "::" || !(of_use || self.peek(1).starts_with(super::is_identifier)) {
                break;
            }
            self.at += 1;
        }
        self.record(line, segments, prefix.len(), of_use);
    }

    fn record(&mut self, line: usize, mut segments: Vec<&'a str>, above: usize, of_use: bool) {
        if segments.len() == above {
            return;
        }
        if segments.len() > 1 && segments.last() == Some(&"self") {
            segments.pop();
        }
        let mut name = segments.last().copied();
        if of_use && self.peek(0) == "as" {
            name = Some(self.peek(1));
            self.at += 2;
        }
        self.paths.found.push(Found {
            line,
            inside: self.inside(),
            segments: segments.into_iter().map(str::to_owned).collect(),
            name: name.filter(|_| of_use).map(str::to_owned),
        });
    }

    /// Whether the current token begins an attribute that excludes the next item from all builds except tests and
    /// rustdoc.
    fn is_uncompiled(&self) -> bool {
        if self.peek(1) != "[" || self.peek(2) != "cfg" {
            return false;
        }
        let attribute = self.tokens[self.at..].iter().map(|token| token.text).take_while(|text| *text != "]");
        let words: Vec<&str> = attribute.collect();
        let has = |word| words.contains(&word);
        (has("test") || has("doc")) && !has("not") && !has("any")
    }

    /// Skips the attributes, and the item, field or statement below them.
    fn skip_item(&mut self) {
        while self.peek(0) == "#" {
            self.at += 2;
            self.skip_brackets();
        }
        let kind = self.tokens[self.at..].iter().map(|token| token.text).find(|text| !is_modifier(text));
        match kind.unwrap_or_default() {
            "use" | "static" | "type" | "let" => self.skip_until(|text| text == ";"),
            kind @ ("mod" | "fn" | "struct" | "enum" | "union" | "trait" | "impl" | "macro_rules") => {
                let start = self.at;
                self.skip_until(|text| matches!(text, ";" | "{"));
                if kind == "mod" {
                    let name = self.tokens[start..self.at].last().map(|token| token.text.to_owned());
                    self.paths.uncompiled.push(self.inside().into_iter().chain(name).collect());
                }
            }
            "{" => {}
            _ => self.skip_until(|text| matches!(text, ";" | ",")),
        }
        match self.peek(0) {
            "{" => {
                self.at += 1;
                self.skip_brackets();
            }
            "}" => {}
            _ => self.at += 1,
        }
    }

    /// Goes to the next token that `ends` matches and that is not in nested brackets. Stops earlier at a bracket that
    /// closes around the current token.
    fn skip_until(&mut self, ends: impl Fn(&str) -> bool) {
        while !matches!(self.peek(0), ")" | "]" | "}" | "") && !ends(self.peek(0)) {
            let opens = matches!(self.peek(0), "(" | "[" | "{");
            self.at += 1;
            if opens {
                self.skip_brackets();
            }
        }
    }

    /// Goes behind the bracket that closes around the current token.
    fn skip_brackets(&mut self) {
        self.skip_until(|_| false);
        self.at += 1;
    }
}

/// Whether the token may stand before the keyword of an item. `const` counts as such a token, because of `const fn`. So a
/// constant is skipped like a field, up to its `;`.
fn is_modifier(text: &str) -> bool {
    matches!(text, "pub" | "(" | "crate" | "super" | ")" | "async" | "unsafe" | "const" | "extern")
}

/// The identifiers, the `::`, and every other character that is not a space.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (line, text) in super::numbered(code) {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                _ if super::is_identifier(first) => {
                    rest.find(|c| !super::is_identifier(c)).unwrap_or(rest.len())
                }
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            tokens.push(Token { text: &rest[..length], line });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}
