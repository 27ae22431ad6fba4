//! `replug events`: prints the events of a running host.

use super::{
    client::{At, Stream, event},
    error::CliError,
    host_plugins::optional_id_of,
    named::Named,
    render::{Loop, Renderer},
    signals::Signals,
    terminal::{self, DIM},
};
use clap::Args;
use replug::Event;
use serde_json::{Value, json};
use std::pin::pin;

/// Show the events of a running host until Ctrl-C or until the host stops
#[derive(Debug, Args)]
#[command(after_help = "Exit status 0 if the host stops normally, and 1 if it is killed or crashes.

Examples:
  replug events
  replug events --json --kind reloaded,build_failed | jq .plugin")]
pub(super) struct Events {
    /// Only events of this plugin, by its id or the last part of it
    #[arg(value_name = "ID")]
    plugin: Option<Named>,
    /// Only events of these kinds, separated by commas
    #[arg(long, value_name = "KINDS")]
    kind: Option<String>,
    /// Start with recent events
    #[arg(long)]
    recent: bool,
    /// Print every event as one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

impl Events {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let client = self.at.client()?;
        let plugin = optional_id_of(self.plugin.as_ref(), &client).await?;
        let query = json!({ "plugin": plugin, "kind": self.kind });
        let last_id = self.recent.then_some("0");
        let stream = client.stream("/events", &query, last_id).await?;
        let show = match self.kind.is_some() && !self.json {
            true => Show::Lines { renderer: Renderer::new(Loop::Running), all: true },
            false => Show::of(self.json),
        };
        follow(stream, show).await
    }
}

/// How events are printed.
pub(super) enum Show {
    /// As text lines. Events for which the renderer has no text are left out or, if `all` is true, printed as JSON.
    Lines { renderer: Renderer, all: bool },
    /// As JSON, unchanged.
    Json,
}

impl Show {
    pub(super) fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Lines { renderer: Renderer::new(Loop::Running), all: false } }
    }

    pub(super) fn show(&mut self, value: Value) -> Result<(), CliError> {
        let (renderer, all) = match self {
            Self::Json => return terminal::print_json(&value),
            Self::Lines { renderer, all } => (renderer, *all),
        };
        let text = all.then(|| value.to_string());
        let Some(event) = event(value) else { return Ok(()) };
        match renderer.lines(&event).or(text) {
            Some(lines) => terminal::print(&format!("{DIM}{}{DIM:#} {}", time(&event), lines.trim_start())),
            None => Ok(()),
        }
    }
}

/// Hours, minutes and seconds, in UTC.
fn time(event: &Event) -> &str {
    event.at.get(11..19).unwrap_or("        ")
}

/// Prints events until a signal arrives, the output is closed, or the host exits. Returns an error if the host exits
/// without the event `host_stopped`.
pub(super) async fn follow(mut stream: Stream, mut show: Show) -> Result<(), CliError> {
    let mut signals = Signals::listen()?;
    let mut unread = pin!(terminal::unread());
    loop {
        tokio::select! {
            biased;
            () = signals.next() => return Ok(()),
            () = &mut unread => return Ok(()),
            event = stream.next() => match event? {
                Some(event) => show.show(event)?,
                None => return Ok(()),
            },
        }
    }
}
