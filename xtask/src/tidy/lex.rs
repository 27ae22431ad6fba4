//! Separates Rust source into code and comments, so that a rule about code ignores comments and string literals, and a
//! rule about comments ignores code.

/// A source as two texts with the same lines and columns. In each text, all other characters are replaced by spaces.
pub(super) struct Split {
    /// Everything except comments and the content of literals.
    pub(super) code: String,
    /// Only comments.
    pub(super) comments: String,
}

#[derive(Clone, Copy)]
enum In {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

impl Split {
    pub(super) fn of(source: &str) -> Self {
        let chars: Vec<char> = source.chars().collect();
        let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
        let mut split = Self { code: String::new(), comments: String::new() };
        let mut state = In::Code;
        let mut index = 0;
        while index < chars.len() {
            let (next, length) = match state {
                In::Code if at(index) == '/' && at(index + 1) == '/' => (In::LineComment, 2),
                In::Code if at(index) == '/' && at(index + 1) == '*' => (In::BlockComment { depth: 1 }, 2),
                In::Code if at(index) == '"' => (opening(&chars, index), 1),
                In::Code if at(index) == '\'' => (In::Code, char_literal(&chars, index)),
                In::LineComment if at(index) == '\n' => (In::Code, 1),
                In::BlockComment { depth } if at(index) == '/' && at(index + 1) == '*' => {
                    (In::BlockComment { depth: depth + 1 }, 2)
                }
                In::BlockComment { depth } if at(index) == '*' && at(index + 1) == '/' => {
                    (if depth == 1 { In::Code } else { In::BlockComment { depth: depth - 1 } }, 2)
                }
                In::Text if at(index) == '\\' => (In::Text, 2),
                In::Text if at(index) == '"' => (In::Code, 1),
                In::RawText { hashes }
                    if at(index) == '"' && (1..=hashes).all(|next| at(index + next) == '#') =>
                {
                    (In::Code, 1 + hashes)
                }
                other => (other, 1),
            };
            let comment = |state| matches!(state, In::LineComment | In::BlockComment { .. });
            let is_comment = comment(state) || comment(next);
            let is_code = matches!((state, next), (In::Code, In::Code)) && length == 1;
            for &c in &chars[index..(index + length).min(chars.len())] {
                let blank = if c == '\n' { '\n' } else { ' ' };
                split.code.push(if is_code { c } else { blank });
                split.comments.push(if is_comment { c } else { blank });
            }
            state = next;
            index += length;
        }
        split
    }
}

/// The state after a `"` in code, which begins a raw string if `r` and hashes precede it.
fn opening(chars: &[char], quote: usize) -> In {
    let hashes = chars[..quote].iter().rev().take_while(|c| **c == '#').count();
    let before = |back: usize| quote.checked_sub(hashes + back).map(|index| chars[index]);
    let prefix_ends = |c: Option<char>| !c.is_some_and(super::is_identifier);
    let raw = before(1) == Some('r')
        && (prefix_ends(before(2)) || (matches!(before(2), Some('b' | 'c')) && prefix_ends(before(3))));
    if raw { In::RawText { hashes } } else { In::Text }
}

/// The length of the character literal that begins with a `'`, or 1 if the `'` begins a lifetime.
fn char_literal(chars: &[char], quote: usize) -> usize {
    if chars.get(quote + 1) == Some(&'\\') {
        let rest = chars.iter().skip(quote + 3);
        return 4 + rest.take_while(|c| **c != '\'' && **c != '\n').count();
    }
    if chars.get(quote + 2) == Some(&'\'') { 3 } else { 1 }
}
