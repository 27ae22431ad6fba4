//! `replug reload`, `rollback`, `start`, `stop`: commands that change a plugin of a running host.

use super::{
    client::At,
    error::CliError,
    host_plugins::id_of,
    named::Named,
    one::with_spinner,
    terminal::{self, GOOD, NAME, WARN},
};
use clap::Args;
use replug::{
    PluginId,
    control::{
        Command,
        answer::Changed,
        command::{self as payload, Request},
    },
};
use serde_json::json;

/// A plugin of a running host.
#[derive(Debug, Args)]
struct Of {
    /// The plugin's id, or the last part of it
    #[arg(value_name = "ID")]
    plugin: Named,
    /// Print the answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

impl Of {
    /// Sends the command, and prints the resulting state of the plugin.
    async fn have(
        self,
        what: &str,
        request: impl FnOnce(PluginId) -> Request<Changed>,
    ) -> Result<(), CliError> {
        let client = self.at.client()?;
        let id = id_of(&self.plugin, &client).await?;
        let request = request(id.clone());
        let answer = with_spinner(format!("{what} {}", id.short()), client.send(request)).await?;
        if self.json {
            return terminal::print_json(&json!(answer));
        }
        terminal::print(&summary(&id, &answer))
    }
}

fn summary(id: &PluginId, answer: &Changed) -> String {
    match answer.generation {
        Some(generation) => format!("{NAME}{id}{NAME:#} {GOOD}g{generation} live{GOOD:#}"),
        None => format!("{NAME}{id}{NAME:#} {WARN}{}{WARN:#}", answer.status.name()),
    }
}

/// Rebuild a plugin of a running host and swap it in
///
/// Prints compile errors as rustc does. If the build or the new version fails, the previous version keeps serving and
/// the exit status is 1.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug reload dev.replug.calculator")]
pub(super) struct Reload {
    #[command(flatten)]
    of: Of,
}

impl Reload {
    pub(super) async fn run(self) -> Result<(), CliError> {
        self.of.have("reloading", |id| Command::reload(payload::OfPlugin { id })).await
    }
}

/// Roll a plugin of a running host back to an earlier version
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug rollback dev.replug.calculator
  replug rollback dev.replug.calculator --to g1")]
pub(super) struct Rollback {
    /// A digest, a prefix of a digest, or a generation such as g2 [default: the previous version]
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    #[command(flatten)]
    of: Of,
}

impl Rollback {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let to = self.to;
        self.of.have("rolling back", |id| Command::rollback(payload::Rollback { id, to })).await
    }
}

/// Start a plugin of a running host
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug start dev.replug.calculator")]
pub(super) struct Start {
    #[command(flatten)]
    of: Of,
}

impl Start {
    pub(super) async fn run(self) -> Result<(), CliError> {
        self.of.have("starting", |id| Command::start(payload::OfPlugin { id })).await
    }
}

/// Stop a plugin of a running host after its last call
///
/// The plugin stays stopped when the host is restarted. Its state is saved, and its next start restores that state.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug stop dev.replug.calculator
  replug stop dev.replug.counter --discard")]
pub(super) struct Stop {
    /// Discard the plugin's state, even if the plugin is already stopped
    #[arg(long)]
    discard: bool,
    #[command(flatten)]
    of: Of,
}

impl Stop {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let discard = self.discard;
        self.of.have("stopping", |id| Command::stop(payload::Stop { id, discard })).await
    }
}
