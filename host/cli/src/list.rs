//! `replug list`: lists the plugins of a folder without building or loading them. If a host runs, the list shows the
//! state of the plugins in it.

use super::{
    args::{Place, Plugins},
    client::Client,
    error::CliError,
    host_plugins::listed,
    shell, table,
    terminal::{self, NAME, relative},
};
use clap::Args;
use replug::{
    BuildDir, PluginInfo, Status,
    control::answer::Plugin,
    manifest::{Defaults, Discovery, Manifest},
};
use serde::Serialize;
use serde_json::json;
use std::path::Path;

/// List the plugins without building or loading them
#[derive(Debug, Args)]
#[command(
    after_help = "Status: available (there is a library), source_only (the plugin must be built), incomplete (there is \
neither library nor source). If a host runs, also: ready (the plugin serves, and no call runs), running (it serves, and \
calls run), stopped, error.
Exit status 1 if a manifest cannot be used.

Examples:
  replug list
  replug list --json | jq -r '.plugins[].id'"
)]
pub(super) struct List {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plugins: Plugins,
}

impl List {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let (folder, state) = (self.plugins.folder(), &self.plugins.state);
        let place = state.place(folder);
        let host = state.host_of(folder, &place)?;
        let dir = host.plugins.clone();
        let running = listed(&Client::at(host)).await.map(|listed| listed.plugins);
        let (defaults, build_dir) = match (place, &running) {
            (Ok(place), _) => (place.config.defaults.clone(), place.build_dir()),
            (Err(error), Err(CliError::NoHost { .. } | CliError::OthersHost { .. })) => return Err(error),
            (wrong, _) => {
                Place::note_wrong(&wrong);
                (Defaults::default(), BuildDir::with(None, &replug::default_state_dir(&dir)))
            }
        };
        let Discovery { manifests, problems } = defaults.discover(&dir)?;
        let plugins: Vec<_> = match running {
            Ok(plugins) => plugins.into_iter().map(Listed::from).collect(),
            Err(ref error @ (CliError::NoHost { .. } | CliError::OthersHost { .. })) => {
                if let CliError::OthersHost { .. } = error {
                    terminal::warn(error);
                }
                manifests.iter().map(|manifest| at_rest(manifest, &build_dir)).collect()
            }
            Err(error) => return Err(error),
        };
        if self.json {
            let problems: Vec<_> = problems
                .iter()
                .map(|problem| json!({ "path": problem.path(), "error": problem.to_string() }))
                .collect();
            terminal::print_json(&json!({ "plugins": plugins, "problems": problems }))?;
        } else {
            terminal::print(&described(&plugins, &dir, problems.len()))?;
            for problem in &problems {
                terminal::error(problem);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(CliError::Printed) }
    }
}

/// A plugin, with the fields of the list.
#[derive(Serialize)]
struct Listed {
    id: String,
    name: String,
    version: String,
    description: String,
    #[serde(rename = "type")]
    kind: String,
    status: Status,
    path: String,
}

impl From<Plugin> for Listed {
    fn from(plugin: Plugin) -> Self {
        let Plugin { id, name, version, description, kind, status, path, .. } = plugin;
        Self { id, name, version, description, kind, status, path }
    }
}

/// The list entry of a plugin without a running host.
fn at_rest(manifest: &Manifest, build_dir: &BuildDir) -> Listed {
    Plugin::from(PluginInfo::at_rest(manifest, build_dir)).into()
}

fn described(plugins: &[Listed], dir: &Path, unusable: usize) -> String {
    if plugins.is_empty() {
        let new = shell::invocation();
        let dir = shell::quoted(&dir.to_string_lossy());
        if unusable > 0 {
            return format!("no usable plugins in {dir} ({unusable} cannot be used)");
        }
        return format!("no plugins in {dir}: create one with `{new} new my-plugin --dir {dir}`");
    }
    let root = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let rows = plugins.iter().map(|plugin| {
        let path = Path::new(&plugin.path);
        let below = path.strip_prefix(&root).ok().filter(|below| !below.as_os_str().is_empty());
        let path = below.map_or_else(|| relative(path), |below| below.display().to_string());
        let Listed { id, name, version, kind, status, .. } = plugin;
        [id, name, version, kind, status.name(), &path].map(str::to_owned)
    });
    let head = ["ID", "NAME", "VERSION", "TYPE", "STATUS", "PATH"].map(str::to_owned);
    let rows = [head].into_iter().chain(rows).collect();
    table::aligned(rows, table::line_width(), &GIVING_WAY, |column, cell| match column {
        0 => NAME,
        4 => table::of_status(cell),
        _ => anstyle::Style::new(),
    })
}

/// The columns that are shortened if a line is too long, in this order, and their minimum widths.
const GIVING_WAY: [(usize, usize); 4] = [(1, 4), (2, 5), (5, 7), (0, 12)];
