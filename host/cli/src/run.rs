//! `replug run`: the host without watching.

use super::{
    args::{Folder, State},
    error::CliError,
    http::Http,
    serve::{Reader, Serve},
    trace::Log,
};
use clap::Args;
use std::path::PathBuf;

/// Build and load the plugins, and run them until a signal arrives
///
/// The same as `dev`, but only replug.toml is watched, unless it sets `watch = true`. If a plugin crashes the host, a
/// small parent process starts it again, and the plugin then runs in a child process. Ctrl-C stops the plugins and
/// ends.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug run
  replug run /srv/plugins --state-dir /var/lib/replug --json
  replug run --config /etc/replug.toml --log-format json")]
pub(super) struct Run {
    /// The folder whose sub-folders are the plugins, or one plugin's own [default: plugins or this, here or above]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print every event as one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: State,
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    log: Log,
}

impl Run {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let folder = Folder::bare(&self.dir);
        let layers = self.http.over(self.log.over(self.state.layers(folder)?))?;
        Serve { reader: Reader::of(self.json), call: None, layers }.run(folder).await
    }
}
