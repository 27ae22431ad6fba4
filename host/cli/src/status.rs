//! `replug status`: shows the status of a running host's plugins.

use super::{
    args::{Folder, Place, State},
    client::Client,
    error::CliError,
    host_plugins::{HostPlugins, listed},
    output::Stdout,
    signals::Signals,
    table,
    terminal::{self, BAD, DIM, NAME, WARN},
};
use clap::Args;
use replug::{
    control::answer::{Configuration, Plugin},
    event::RetireOutcome,
    manifest::LaneReason,
};
use serde_json::json;
use std::{iter, path::PathBuf, time::Duration};

/// The interval at which the table is drawn again.
const EVERY: Duration = Duration::from_secs(1);
/// The indent of a line that continues the previous line.
const HANGING: &str = "    ";

/// Show the status of the plugins of a running host
#[derive(Debug, Args)]
#[command(
    after_help = "Status: ready, running (calls in progress), stopped, error, available, source_only, incomplete.
With --json: `plugins`, in the form of GET /api/v1/plugin/list, and `configuration`, which lists the settings that \
the host has not applied.

Examples:
  replug status
  replug status --watch
  replug status --json | jq -r '.plugins[] | select(.status == \"error\") | .id'"
)]
pub(super) struct Status {
    /// The plugins folder of the host [default: `plugins` or a plugin's folder, here or in a parent]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Refresh every second until Ctrl-C; wait for the host while it is not running
    #[arg(long)]
    watch: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let (state, folder) = (State::default(), Folder::bare(&self.dir));
        let place = state.place(folder);
        let client = Client::at(state.host_of(folder, &place)?);
        let first = listed(&client).await;
        // A host that has rejected the configuration reports the same error, which is printed below the plugins.
        let is_reported = first.as_ref().is_ok_and(|listed| listed.configuration.refused.is_some());
        if self.dir.is_none() && !is_reported {
            Place::note_wrong(&place);
        }
        if !self.watch {
            return self.show(&first?, "");
        }
        self.watch(&client).await
    }

    /// Shows the status every second until a signal arrives. If the host exits, waits until it runs again.
    async fn watch(&self, client: &Client) -> Result<(), CliError> {
        let mut signals = Signals::listen()?;
        let home = if Stdout.is_terminal() { "\u{1b}[H\u{1b}[J" } else { "" };
        let mut pause = Duration::ZERO;
        // Whether the host answered the last request.
        let mut was_there = None;
        loop {
            let next = async {
                tokio::time::sleep(pause).await;
                listed(client).await
            };
            let listed = tokio::select! {
                biased;
                () = signals.next() => return Ok(()),
                listed = next => listed,
            };
            pause = EVERY;
            let before = was_there.replace(listed.is_ok());
            match listed {
                Ok(listed) => self.show(&listed, home)?,
                // If there is no host at the beginning, the command fails.
                Err(error) if before.is_none() || !error.is_host_unavailable() => return Err(error),
                // The standard error shows the message below the last table. Programs read only the standard output.
                Err(error) if before == Some(true) => {
                    let how =
                        if matches!(error, CliError::Silent { .. }) { "does not answer" } else { "is gone" };
                    terminal::note(&format!(
                        "{WARN}the host {how}:{WARN:#} waiting for it to start again; press Ctrl-C to stop"
                    ));
                }
                Err(_) => {}
            }
        }
    }

    fn show(&self, listed: &HostPlugins, home: &str) -> Result<(), CliError> {
        let HostPlugins { plugins, configuration } = listed;
        match self.json {
            true => terminal::print_json(&json!({ "plugins": plugins, "configuration": configuration })),
            false => {
                let described = described(plugins, table::line_width());
                terminal::print(&format!("{home}{described}{}", pending_config(configuration)))
            }
        }
    }
}

/// The table of the plugins, in lines of at most `line` columns.
fn described(plugins: &[Plugin], line: usize) -> String {
    if plugins.is_empty() {
        return "the host is running, but has no plugins".into();
    }
    let head = ["ID", "STATUS", "MODE", "GEN", "UPTIME", "CALLS", "ERRORS"].map(str::to_owned);
    let rows = [head].into_iter().chain(plugins.iter().map(row)).collect();
    let aligned = table::aligned(rows, line, &[(1, 7), (0, 12), (2, 5)], |column, cell| match column {
        0 => NAME,
        1 => table::of_status(cell),
        _ => anstyle::Style::new(),
    });
    let mut lines = aligned.lines();
    let mut text = lines.next().unwrap_or_default().to_owned();
    for (row, plugin) in lines.zip(plugins) {
        text = format!("{text}\n{row}");
        for more in more(plugin) {
            let lines = table::wrapped(&more, line - HANGING.len());
            let indents = iter::once("  ").chain(iter::repeat(HANGING));
            text.extend(indents.zip(lines).map(|(indent, line)| format!("\n{indent}{DIM}{line}{DIM:#}")));
        }
    }
    text
}

/// The settings that the host has not applied, as lines at the end. The lines are not shortened: the terminal wraps
/// long lines.
fn pending_config(configuration: &Configuration) -> String {
    let Configuration { refused, restart_needed } = configuration;
    let refused = refused.as_ref().map(|why| {
        format!("\n{BAD}configuration rejected, keeping the previous one:{BAD:#} {}", terminal::harmless(why))
    });
    let waiting = (!restart_needed.is_empty()).then(|| {
        let keys = terminal::harmless(&restart_needed.join(", "));
        format!("\n{WARN}configuration needs a restart:{WARN:#} {keys}")
    });
    refused.into_iter().chain(waiting).collect()
}

/// The details of a plugin that are shown below its line, such as restarts and limits.
fn more(plugin: &Plugin) -> Vec<String> {
    let restarts = match plugin.restarts {
        0 => None,
        1 => Some("restarted once after a crash".to_owned()),
        times => Some(format!("restarted {times} times after crashes")),
    };
    // The plugin's line already shows the id.
    let of = format!("{}: ", plugin.id);
    let detail = plugin.detail.strip_prefix(&of).unwrap_or(&plugin.detail);
    let detail = (!detail.is_empty()).then(|| detail.to_owned());
    let more = detail.into_iter().chain(restarts).chain(usage(plugin)).chain(limits(plugin));
    more.chain(not_unloaded(plugin)).collect()
}

/// The retired versions that could not be unmapped, although the manifest sets `unload = "verified"`.
fn not_unloaded(plugin: &Plugin) -> Option<String> {
    let reasons = [RetireOutcome::Threads, RetireOutcome::PinnedTls, RetireOutcome::Nodelete];
    let counts = reasons.iter().filter_map(|it| Some((it.name(), *plugin.retired.get(it.name())?)));
    let counts: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
    (!counts.is_empty()).then(|| format!("retired versions that stay mapped: {}", counts.join(", ")))
}

/// The resources that the plugin's process uses, if the plugin runs in a child process.
fn usage(plugin: &Plugin) -> Option<String> {
    let (pid, memory) = (plugin.process_id?, plugin.memory?);
    let mib = memory as f64 / f64::from(1 << 20);
    let cpu = plugin.cpu.unwrap_or_default();
    let files = plugin.open_files.map(|files| format!(", {files} files open")).unwrap_or_default();
    let lane = plugin.lane.map(|lane| format!(", {} lane", lane.name())).unwrap_or_default();
    let reason = match plugin.lane_reason {
        Some(LaneReason::NoMemory) => ", because shared memory is not available: see `replug doctor`",
        Some(LaneReason::Requested) | None => "",
    };
    Some(format!("process {pid}: {mib:.1} MiB, {cpu:.1} s of CPU time{files}{lane}{reason}"))
}

/// The limits that apply to the plugin's process, and the reasons why other limits do not apply.
fn limits(plugin: &Plugin) -> Vec<String> {
    let Some(limits) = &plugin.limits else { return Vec::new() };
    let bounds = limits.bounds.iter().map(|it| format!("{} {} ({})", it.of.name(), it.value, it.by.name()));
    let bounds = bounds.collect::<Vec<_>>().join(", ");
    let bounds = (!bounds.is_empty()).then(|| format!("limited to {bounds}"));
    let lacking = limits.lacking.iter().map(|why| format!("not as configured: {why}"));
    bounds.into_iter().chain(lacking).collect()
}

fn row(plugin: &Plugin) -> [String; 7] {
    [
        plugin.id.clone(),
        plugin.status.name().to_owned(),
        plugin.runs_in.unwrap_or(plugin.mode).name().to_owned(),
        plugin.generation.map(|generation| format!("g{generation}")).unwrap_or_default(),
        plugin.uptime.map(brief_time).unwrap_or_default(),
        brief_count(plugin.calls),
        brief_count(plugin.errors),
    ]
}

/// A count in at most five characters.
fn brief_count(count: u64) -> String {
    match count {
        0..=99_999 => count.to_string(),
        100_000..=999_999 => format!("{}k", count / 1000),
        1_000_000..=999_999_999 => format!("{:.1}M", count as f64 / 1e6),
        _ => format!("{:.1}G", count as f64 / 1e9),
    }
}

/// A time in its largest unit.
fn brief_time(seconds: f64) -> String {
    match seconds as u64 {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=7199 => format!("{}m", seconds / 60),
        seconds @ 7200..=172_799 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use unicode_width::UnicodeWidthStr;

    /// A plugin with these fields, and defaults for all others.
    fn plugin(fields: &Value) -> Plugin {
        let mut plugin = json!({
            "id": "", "name": "", "version": "", "description": "", "type": "provider", "mode": "auto", "status": "ready",
            "detail": "", "is_exited": false, "calls": 0, "errors": 0, "in_flight": 0, "restarts": 0, "interfaces": [],
            "path": "",
        });
        for (key, value) in fields.as_object().unwrap() {
            plugin[key] = value.clone();
        }
        serde_json::from_value(plugin).unwrap()
    }

    #[test]
    fn a_table_of_long_names_and_large_numbers_fits_the_terminal() {
        let plugin = plugin(&json!({
            "id": "com.example.a-rather-long-name.for-a-plugin", "status": "source_only", "mode": "in-process",
            "generation": 12345, "uptime": 100_000.0, "calls": 123_456_789u64, "errors": 99_999,
            "restarts": 3, "detail": format!("{} or until you `start` it", "誤".repeat(200)),
        }));
        for columns in [60, 80, 132] {
            let text = described(std::slice::from_ref(&plugin), columns);
            let text = anstream::adapter::strip_str(&text).to_string();
            assert!(text.lines().all(|line| line.width() <= columns), "{text}");
            assert!(
                text.contains("\n    ") && text.contains("until you `start` it"),
                "the detail is truncated: {text}"
            );
            assert!(text.contains("123.5M") && text.contains("27h"), "{text}");
        }
    }

    #[test]
    fn the_usage_and_limits_of_a_process_are_printed_below_its_line() {
        let bound = json!({
            "id": "dev.test.bound", "status": "ready", "mode": "process", "runs_in": "process", "generation": 1,
            "detail": "dev.test.bound: build failed", "process_id": 42, "memory": 3 << 19, "cpu": 0.25, "open_files": 9,
            "lane": "shared-memory", "lane_reason": "requested",
            "limits": {
                "bounds": [{ "of": "open_files", "value": 64, "by": "rlimit" }],
                "lacking": ["no cgroup: none is delegated"],
            },
        });
        let text = |bound: &Value| anstream::adapter::strip_str(&described(&[plugin(bound)], 80)).to_string();
        let mut fallen_back = bound.clone();
        (fallen_back["lane"], fallen_back["lane_reason"]) = (json!("socket"), json!("no-memory"));
        let fallen_back = text(&fallen_back).replace("\n    ", " ");
        assert!(
            fallen_back.contains("socket lane, because shared memory is not available: see `replug doctor`")
        );
        let text = text(&bound);
        let below: Vec<_> = text.lines().skip(2).map(str::trim).collect();
        let expected = [
            "build failed",
            "process 42: 1.5 MiB, 0.2 s of CPU time, 9 files open, shared-memory lane",
            "limited to open_files 64 (rlimit)",
            "not as configured: no cgroup: none is delegated",
        ];
        assert_eq!(below, expected, "{text}");
    }

    #[test]
    fn retired_versions_that_could_not_be_unmapped_are_counted() {
        let told = |retired| {
            not_unloaded(&plugin(
                &json!({ "id": "dev.test.it", "status": "ready", "mode": "auto", "retired": retired }),
            ))
        };
        assert_eq!(told(json!({ "unloaded": 7, "kept": 2 })), None);
        let expected = "retired versions that stay mapped: threads 2, nodelete 1";
        assert_eq!(told(json!({ "unloaded": 7, "nodelete": 1, "threads": 2 })).unwrap(), expected);
    }

    #[test]
    fn counts_and_times_are_shortened() {
        assert_eq!([7, 123_456, 1_000_000, 2_500_000_000].map(brief_count), ["7", "123k", "1.0M", "2.5G"]);
        assert_eq!([3.9, 180.0, 7200.0, 200_000.0].map(brief_time), ["3s", "3m", "2h", "2d"]);
    }
}
