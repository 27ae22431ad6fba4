//! Functions that shorten texts to a maximum length.

use std::collections::VecDeque;

/// Cuts a text that is longer than `most` bytes at a character boundary, and appends a note with the number of bytes
/// that were cut. With the note, the result may be longer than `most`.
pub fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        // `format!` allocates a new string, because a truncated string would keep its capacity.
        *text = format!("{}... ({} bytes cut)", &text[..end], text.len() - end);
    }
}

/// The last lines of an output.
#[derive(Clone, Debug)]
pub struct Tail {
    lines: VecDeque<String>,
    most: usize,
    most_bytes: usize,
}

impl Tail {
    /// An empty tail for at most `most` lines of at most `most_bytes` bytes each.
    #[must_use]
    pub fn of(most: usize, most_bytes: usize) -> Self {
        Self { lines: VecDeque::new(), most, most_bytes }
    }

    /// Appends a line, which is cut to the maximum length. If there are too many lines, the first line is dropped.
    pub fn push(&mut self, line: &str) {
        let mut line = line.to_owned();
        cut(&mut line, self.most_bytes);
        self.lines.push_back(line);
        if self.lines.len() > self.most {
            self.lines.pop_front();
        }
    }

    /// The lines, joined by line feeds.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_keeps_a_text_that_fits() {
        let mut text = "abc".to_owned();
        cut(&mut text, 3);
        assert_eq!(text, "abc");
    }

    #[test]
    fn cut_splits_no_character_and_appends_the_number_of_bytes_cut() {
        let mut text = "a\u{e4}\u{e4}".to_owned();
        cut(&mut text, 2);
        assert_eq!(text, "a... (4 bytes cut)");
    }

    #[test]
    fn tail_keeps_the_last_lines_and_cuts_each() {
        let mut tail = Tail::of(2, 5);
        assert_eq!(tail.text(), "");
        ["one", "two", "three times"].into_iter().for_each(|line| tail.push(line));
        assert_eq!(tail.text(), "two\nthree... (6 bytes cut)");
    }
}
