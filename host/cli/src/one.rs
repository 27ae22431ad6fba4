//! Runs one plugin for one command: builds it, loads it, uses it, and stops it again.

use super::{
    args::Place, building, error::CliError, named::Named, output, signals::Signals, terminal::Spinner,
};
use replug::{DynHandle, EventKind, Events, Host, HostBuilder, HostConfig, event::BuildProgress};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A host in this process in which only one plugin serves.
pub(super) struct One {
    pub(super) host: Host,
    pub(super) handle: DynHandle,
    signals: Signals,
}

impl One {
    /// Builds and loads the plugin with this name, and no other. A signal cancels this, and kills the processes of the
    /// build.
    pub(super) async fn start(place: Place, named: &Named) -> Result<Self, CliError> {
        Self::start_with(place.config, named, |builder| builder).await
    }

    /// Like [`Self::start`]. `adjust` changes the builder of the host.
    pub(super) async fn start_with(
        config: HostConfig,
        named: &Named,
        adjust: impl FnOnce(HostBuilder) -> HostBuilder,
    ) -> Result<Self, CliError> {
        // The output of the plugin must not be mixed with the answer.
        output::divert()?;
        let mut signals = Signals::listen()?;
        let config = HostConfig { watch: false, ..config };
        let builder = adjust(Host::builder().config(config).auto_start(false).remember(false));
        let events = builder.events();
        let host = builder.build().await?;
        let plugins = host.plugins();
        let id = named.among(plugins.iter().map(|plugin| plugin.id.as_str()))?;
        let handle = host.plugin(id.as_str())?;
        let starting = building::shown(handle.id(), progress(events), host.start(id.as_str()));
        let started = tokio::select! {
            biased;
            () = signals.next() => Err(CliError::Interrupted),
            started = starting => started.map_err(CliError::from),
        };
        match started {
            Ok(_) => Ok(Self { host, handle, signals }),
            Err(error) => {
                host.shutdown().await;
                Err(error)
            }
        }
    }

    /// Waits for an answer of the plugin, and then stops the host. After a signal, returns an error at once, and does not
    /// cancel a call that is still running.
    pub(super) async fn finish<T>(mut self, question: impl Future<Output = T>) -> Result<T, CliError> {
        let answer = tokio::select! {
            biased;
            () = self.signals.next() => return Err(CliError::Interrupted),
            answer = question => answer,
        };
        self.host.shutdown().await;
        Ok(answer)
    }
}

/// A channel with the progress of the host's builds.
fn progress(mut events: Events) -> UnboundedReceiver<BuildProgress> {
    let (sender, updates) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let EventKind::BuildProgress(progress) = &event.kind
                && sender.send(progress.clone()).is_err()
            {
                break;
            }
        }
    });
    updates
}

/// Waits for `work`, and shows a spinner with the text `what` if the work takes long.
pub(super) async fn with_spinner<T>(what: String, work: impl Future<Output = T>) -> T {
    const PATIENCE: Duration = Duration::from_millis(300);
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(PATIENCE), if Spinner::is_visible() => {}
    }
    let spinner = Spinner::new();
    spinner.show(what);
    work.await
}
