//! `replug list`: the plugins that are there, without building or loading any.

use super::{
    args::{Place, State},
    error::CliError,
    terminal::{self, BAD, DIM, GOOD, NAME, WARN, relative},
};
use clap::Args;
use replug::{PluginInfo, Status, manifest::Discovery};
use serde_json::json;
use std::path::{Path, PathBuf};

/// List the plugins that are there, without building or loading any
#[derive(Debug, Args)]
#[command(
    after_help = "Status: available (built, or ready-made), source_only (to be built), incomplete (neither).
Exit status 1 if a manifest cannot be used.

Examples:
  replug list
  replug list --json | jq -r '.plugins[].id'"
)]
pub(super) struct List {
    /// The folder whose sub-folders are the plugins, or one plugin's own [default: plugins, else this folder]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: State,
}

impl List {
    pub(super) fn run(self) -> Result<(), CliError> {
        let Place { config, dir, state_dir } = self.state.place(self.dir.as_deref())?;
        let Discovery { manifests, problems } = config.defaults.discover(&dir)?;
        let plugins: Vec<_> =
            manifests.iter().map(|manifest| PluginInfo::at_rest(manifest, &state_dir)).collect();
        if self.json {
            let problems: Vec<_> = problems
                .iter()
                .map(|problem| json!({ "path": problem.path(), "error": problem.to_string() }))
                .collect();
            let plugins: Vec<_> = plugins.iter().map(as_json).collect();
            terminal::print_json(&json!({ "plugins": plugins, "problems": problems }))?;
        } else {
            terminal::print(&described(&plugins, &dir))?;
            for problem in &problems {
                terminal::note(&format!("{BAD}error:{BAD:#} {problem}"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(CliError::Told) }
    }
}

/// What can be known of a plugin at rest.
fn as_json(plugin: &PluginInfo) -> serde_json::Value {
    json!({
        "id": plugin.id,
        "name": plugin.name,
        "version": plugin.version,
        "description": plugin.description,
        "type": plugin.kind,
        "status": plugin.status,
        "path": plugin.path,
    })
}

fn described(plugins: &[PluginInfo], dir: &Path) -> String {
    if plugins.is_empty() {
        let new = terminal::invocation();
        let dir = terminal::quoted(&dir.to_string_lossy());
        return format!("no plugins in {dir}: `{new} new my-plugin --dir {dir}` makes one");
    }
    let root = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let rows = plugins.iter().map(|plugin| {
        let below = plugin.path.strip_prefix(&root).ok().filter(|below| !below.as_os_str().is_empty());
        let path = below.map_or_else(|| relative(&plugin.path), |below| below.display().to_string());
        let (id, version) = (plugin.id.to_string(), plugin.version.clone());
        [id, plugin.name.clone(), version, plugin.kind.name().into(), status(plugin.status).into(), path]
    });
    let head = ["ID", "NAME", "VERSION", "TYPE", "STATUS", "PATH"].map(str::to_owned);
    table([head].into_iter().chain(rows).collect())
}

/// The word that JSON has for it.
fn status(status: Status) -> &'static str {
    match status {
        Status::Available => "available",
        Status::SourceOnly => "source_only",
        Status::Incomplete => "incomplete",
        Status::Ready => "ready",
        Status::Running => "running",
        Status::Stopped => "stopped",
        Status::Error => "error",
    }
}

const COLUMNS: usize = 6;
const LINE: usize = 80;
const GAP: usize = 2;
/// Which columns give way when a line is too long, and how narrow each may become.
const GIVING_WAY: [(usize, usize); 4] = [(1, 8), (2, 6), (5, 10), (0, 16)];

/// Aligns the rows under the first, within the width of an old terminal.
fn table(mut rows: Vec<[String; COLUMNS]>) -> String {
    let mut widths: [usize; COLUMNS] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for (column, least) in GIVING_WAY {
        let excess = (widths.iter().sum::<usize>() + GAP * (COLUMNS - 1)).saturating_sub(LINE);
        widths[column] = widths[column].saturating_sub(excess).max(least.min(widths[column]));
    }
    let line = |at: usize, row: &mut [String; COLUMNS]| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let cell = shortened(cell, widths[column]);
            let padding = " ".repeat(widths[column] - cell.chars().count());
            let style = match (at, column, cell.as_str()) {
                (0, ..) => DIM,
                (_, 0, _) => NAME,
                (_, 4, "available") => GOOD,
                (_, 4, "incomplete") => WARN,
                _ => anstyle::Style::new(),
            };
            format!("{style}{cell}{style:#}{padding}")
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter_mut().enumerate().map(|(at, row)| line(at, row)).collect::<Vec<_>>().join("\n")
}

fn shortened(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
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
        let text = anstream::adapter::strip_str(&table(rows)).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= LINE), "{text}");
        assert_eq!(lines[0].find("source_only"), lines[1].find("source_only"), "{text}");
        assert!(text.contains('…'));
    }
}
