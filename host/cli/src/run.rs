//! `replug run`: builds and runs the plugins without watching their sources.

use super::{
    error::CliError,
    serve::{Reader, Serve, Served},
};
use clap::Args;

/// Build and load the plugins, and run them until a signal arrives
///
/// The same as `dev`, but only replug.toml is watched, unless the file sets `watch = true`. If a plugin crashes the
/// host, a small parent process starts the host again, and the plugin then runs in a child process. Ctrl-C stops the
/// plugins and the host.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug run
  replug run /srv/plugins --state-dir /var/lib/replug --json
  replug run --config /etc/replug.toml --log-format json")]
pub(super) struct Run {
    /// Print every event as one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    served: Served,
}

impl Run {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let layers = self.served.layers()?;
        Serve { reader: Reader::of(self.json), call: None, layers }.run(self.served.folder()).await
    }
}
