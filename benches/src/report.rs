//! The results, as a page for people and as JSON for programs.

use crate::Chart;
use serde::Serialize;
use std::{
    fmt::{self, Write as _},
    fs, io,
    path::Path,
};

/// All results.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What was measured, and on which machine: names and values.
    pub head: Vec<(&'static str, String)>,
    /// One section for each benchmark.
    pub sections: Vec<Section>,
}

/// The results of one benchmark.
#[derive(Debug, Default, Serialize)]
pub struct Section {
    /// The title of the section.
    pub title: &'static str,
    /// The figures.
    pub tables: Vec<Table>,
    /// The targets.
    pub targets: Vec<Target>,
    /// The charts.
    pub charts: Vec<Chart>,
}

/// Rows of text.
#[derive(Debug, Serialize)]
pub struct Table {
    /// The headings.
    pub columns: Vec<&'static str>,
    /// Each row has as many cells as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// A figure, what it is compared with, and its target.
#[derive(Debug, Default, Serialize)]
pub struct Target {
    /// What the figure measures.
    pub what: &'static str,
    /// The bound in words.
    pub bound: &'static str,
    /// The figure in words.
    pub measured: String,
    /// Whether the figure meets the target.
    pub met: bool,
    /// replug's own figure, if it is compared with others.
    pub ours: Option<String>,
    /// The best figure of another system, and its name.
    pub peer: Option<String>,
    /// The figure of the same task without a plugin system, and what it is.
    pub floor: Option<String>,
}

impl Report {
    /// Writes `report.md` and `report.json` into a folder, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// An error of the operating system if the folder or a file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("report.md"), self.to_string())?;
        fs::write(folder.join("report.json"), serde_json::to_vec_pretty(self)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.head.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]);
        writeln!(f, "{}", Table { columns: vec!["run", ""], rows: head.collect() })?;
        for section in &self.sections {
            writeln!(f, "{section}\n")?;
        }
        writeln!(f, "## All targets\n")?;
        write!(f, "{}", self.summary())
    }
}

impl Report {
    /// All targets of all sections, with what they are compared with.
    fn summary(&self) -> Table {
        let columns = vec!["figure", "replug", "best other system", "floor", "measured", "target", ""];
        let row = |target: &Target| {
            let cell = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "-".to_owned());
            vec![
                target.what.to_owned(),
                cell(&target.ours),
                cell(&target.peer),
                cell(&target.floor),
                target.measured.clone(),
                target.bound.to_owned(),
                target.verdict().to_owned(),
            ]
        };
        Table { columns, rows: self.sections.iter().flat_map(|section| &section.targets).map(row).collect() }
    }
}

impl Target {
    fn verdict(&self) -> &'static str {
        if self.met { "met" } else { "MISSED" }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.title)?;
        for table in &self.tables {
            writeln!(f, "{table}")?;
        }
        let row = |target: &Target| {
            let verdict = target.verdict().to_owned();
            vec![target.what.to_owned(), target.bound.to_owned(), target.measured.clone(), verdict]
        };
        let columns = vec!["target", "bound", "measured", ""];
        write!(f, "{}", Table { columns, rows: self.targets.iter().map(row).collect() })
    }
}

impl fmt::Display for Table {
    /// A markdown table whose columns are aligned in plain text, too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads: Vec<String> = self.columns.iter().map(|head| (*head).to_owned()).collect();
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&heads]).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |row: &[String]| {
            let mut line = String::from("|");
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a string cannot fail.
                let _ = write!(line, " {cell:width$} |");
            }
            line
        };
        writeln!(f, "{}", line(&heads))?;
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat((*width).max(1))).collect();
        writeln!(f, "{}", line(&rule))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", line(row)))
    }
}
