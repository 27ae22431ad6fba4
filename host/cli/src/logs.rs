//! `replug logs`: prints recent and new log entries of a running host's plugins.

use super::{
    client::At,
    error::CliError,
    events::{Show, follow},
    host_plugins::optional_id_of,
    named::Named,
};
use clap::Args;
use replug::control::{Command, command as payload};
use serde_json::json;

/// Show recent logs of the plugins of a running host, with panics and crashes
#[derive(Debug, Args)]
#[command(
    after_help = "To change how much plugins log, start the host with a different level: `replug dev --log debug`.

With --follow, the exit status is 0 if the host stops normally, and 1 if it is killed or crashes.

Examples:
  replug logs
  replug logs -f dev.replug.calculator"
)]
pub(super) struct Logs {
    /// The plugin's id, or the last part of it [default: all plugins]
    #[arg(value_name = "ID")]
    plugin: Option<Named>,
    /// Continue with new entries until Ctrl-C or until the host stops
    #[arg(short, long)]
    follow: bool,
    /// How many recent entries of each plugin to show
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=500))]
    lines: u32,
    /// Print every entry as one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

impl Logs {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let client = self.at.client()?;
        let id = optional_id_of(self.plugin.as_ref(), &client).await?;
        let mut show = Show::of(self.json);
        let request = Command::logs(payload::Logs { id, follow: self.follow, lines: Some(self.lines) });
        if self.follow {
            let command = request.command;
            let path = command.kind().declaration().path;
            return follow(client.stream(path, &command.payload(), None).await?, show).await;
        }
        let entries = client.send(request).await?.logs;
        entries.iter().try_for_each(|entry| show.show(json!(entry)))
    }
}
