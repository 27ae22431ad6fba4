//! `replug dev`: build, load, watch, swap.

use super::{
    args::CallSpec,
    error::CliError,
    serve::{Reader, Serve, Served},
};
use clap::Args;

/// Build, load and watch the plugins, and reload each when it is saved
///
/// Prints a line for each reload with the time that its stages took, and compile errors as rustc prints them; the
/// previous version keeps serving. Edits of replug.toml take effect, too, if they need no restart. If a plugin crashes
/// the host, a small parent process starts it again, and the plugin then runs in a child process. Ctrl-C stops the
/// plugins and ends.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug dev
  replug dev my-plugin --call dev.example.my-plugin greet '{\"name\":\"World\"}'
  replug dev --http
  replug dev --json | jq 'select(.event == \"reloaded\") | .total_ms'")]
pub(super) struct Dev {
    /// Call this method after the start and whenever a new artifact serves; JSON is an object by name or an array by position
    #[arg(long, num_args = 2..=3, value_names = ["ID", "METHOD", "JSON"])]
    call: Vec<String>,
    /// Print every event as one JSON object per line
    #[arg(long)]
    json: bool,
    /// Also compare watched files at this interval, such as `1s`, or `auto` or `never` [default: auto]
    #[arg(long, value_name = "INTERVAL")]
    poll: Option<String>,
    #[command(flatten)]
    served: Served,
}

impl Dev {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let call = self.call()?;
        let mut layers = self.served.layers()?.flag("watch", "dev", true);
        if let Some(poll) = &self.poll {
            layers = layers.flag("watch_poll", "--poll", poll.clone());
        }
        Serve { reader: Reader::of(self.json), call, layers }.run(self.served.folder()).await
    }

    /// The method to call after every swap.
    pub(super) fn call(&self) -> Result<Option<CallSpec>, CliError> {
        match self.call.as_slice() {
            [plugin, method] => CallSpec::new(plugin, method, None).map(Some),
            [plugin, method, json] => CallSpec::new(plugin, method, Some(json)).map(Some),
            _ => Ok(None),
        }
    }
}
