//! Formats tables and text that fit into the terminal.

use super::{
    output::Stdout,
    terminal::{BAD, DIM, GOOD, WARN},
};
use anstyle::Style;
use replug::Status;
use std::mem;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The maximum width of a line, in columns, if the standard output is not a terminal.
const LINE: usize = 80;
/// The smallest value of [`line_width`], in columns. A narrower terminal folds the lines.
const NARROWEST: usize = 60;
const GAP: usize = 2;

/// The maximum width of a line, in columns.
pub(super) fn line_width() -> usize {
    Stdout.columns().map_or(LINE, |columns| columns.max(NARROWEST))
}

/// Aligns the rows in columns. If a line would be longer than `line` columns, the columns in `giving_way` are
/// shortened, one after another, down to the given minimum width.
pub(super) fn aligned<const N: usize>(
    rows: Vec<[String; N]>,
    line: usize,
    giving_way: &[(usize, usize)],
    style: impl Fn(usize, &str) -> Style,
) -> String {
    let mut widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0));
    for &(column, least) in giving_way {
        let excess = (widths.iter().sum::<usize>() + GAP * (N - 1)).saturating_sub(line);
        widths[column] = widths[column].saturating_sub(excess).max(least.min(widths[column]));
    }
    let format_row = |(at, row): (usize, &[String; N])| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let cell = shortened(cell, widths[column]);
            let padding = " ".repeat(widths[column].saturating_sub(cell.width()));
            let style = if at == 0 { DIM } else { style(column, &cell) };
            format!("{style}{cell}{style:#}{padding}")
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().enumerate().map(format_row).collect::<Vec<_>>().join("\n")
}

/// The text, truncated to `width` columns. A character may take two columns or none.
pub(super) fn shortened(text: &str, width: usize) -> String {
    // Text from a plugin may contain control characters, which must not move the cursor.
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if plain.width() <= width {
        return plain;
    }
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or(0);
        taken < width
    };
    plain.chars().take_while(fits).chain(['…']).collect()
}

/// Wraps the text into lines of at most `width` columns. A word that is longer than a line is split.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    for word in words.filter(|word| !word.is_empty()) {
        match line.width() + 1 + word.width() <= width {
            _ if line.is_empty() => {}
            true => line.push(' '),
            false => lines.push(mem::take(&mut line)),
        }
        for c in word.chars() {
            if line.width() + c.width().unwrap_or(0) > width {
                lines.push(mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// The colour of a cell in the column of the status.
pub(super) fn of_status(cell: &str) -> Style {
    match Status::ALL.iter().find(|status| status.name() == cell) {
        Some(Status::Available | Status::Ready | Status::Running) => GOOD,
        Some(Status::Incomplete | Status::Stopped) => WARN,
        Some(Status::Error) => BAD,
        Some(Status::SourceOnly) | None => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_fits_eighty_columns() {
        let row = |id: &str, path: &str| {
            [id, "A rather long name for it", "1.22.333-beta.4", "provider", "source_only", path]
                .map(str::to_owned)
        };
        let rows = vec![
            row("dev.replug.calculator", "calculator"),
            row("com.example.deep.down.below", "a-b-c-d-e-f"),
        ];
        let text = aligned(rows, LINE, &[(1, 8), (2, 6), (5, 10), (0, 16)], |_, _| Style::new());
        let text = anstream::adapter::strip_str(&text).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= LINE), "{text}");
        assert_eq!(lines[0].find("source_only"), lines[1].find("source_only"), "{text}");
        assert!(text.contains('…'));
    }

    #[test]
    fn wide_characters_count_as_two_columns() {
        assert_eq!(shortened("計算機です", 10), "計算機です");
        for (width, shown) in [(9, "計算機で…"), (8, "計算機…"), (1, "…")] {
            assert_eq!(shortened("計算機です", width), shown);
        }
        let rows = vec![["名前", "x"].map(str::to_owned), ["abcd", "y"].map(str::to_owned)];
        let text = aligned(rows, LINE, &[], |_, _| Style::new());
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "名前  x\nabcd  y");
    }

    #[test]
    fn wrapped_text_is_complete_and_no_line_is_too_long() {
        let text = "it is quarantined until\nits artifact is another, or until you `start` it";
        assert_eq!(
            wrapped(text, 24),
            ["it is quarantined until", "its artifact is another,", "or until you `start` it"]
        );
        assert_eq!(wrapped("a 計算機です\u{1b}", 6), ["a", "計算機", "です"]);
    }

    #[test]
    fn shortened_text_has_no_control_characters() {
        assert_eq!(shortened("a\u{1b}[2Jb\nc", 20), "a [2Jb c");
    }
}
