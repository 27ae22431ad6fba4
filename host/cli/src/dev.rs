//! `replug dev`: builds and loads the plugins, and reloads them when their sources change.

use super::{
    args::CallSpec,
    error::CliError,
    serve::{Reader, Serve, Served},
};
use clap::Args;

/// Build, load and watch the plugins, and reload each when it is saved
///
/// Prints a line for each reload, with the durations of its stages. If a source does not compile, prints the errors as
/// rustc does, and the previous version keeps serving. An edit of replug.toml takes effect, too, unless it needs a
/// restart. If a plugin crashes the host, a small parent process starts the host again, and the plugin then runs in a
/// child process. Ctrl-C stops the plugins and the host.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug dev
  replug dev my-plugin --call dev.example.my-plugin greet '{\"name\":\"World\"}'
  replug dev --http
  replug dev --json | jq 'select(.event == \"reloaded\") | .total_ms'")]
pub(super) struct Dev {
    /// Call this method whenever a new artifact of the plugin serves; JSON is an object by name or an array by position
    #[arg(long, num_args = 2..=3, value_names = ["ID", "METHOD", "JSON"])]
    call: Vec<String>,
    /// Print every event as one JSON object per line
    #[arg(long)]
    json: bool,
    /// Also poll the watched files: at an interval such as `1s`, `auto` or `never` [default: auto]
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

    /// The call to make whenever a new artifact serves.
    pub(super) fn call(&self) -> Result<Option<CallSpec>, CliError> {
        match self.call.as_slice() {
            [plugin, method] => CallSpec::new(plugin, method, None).map(Some),
            [plugin, method, json] => CallSpec::new(plugin, method, Some(json)).map(Some),
            _ => Ok(None),
        }
    }
}
