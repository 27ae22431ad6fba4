//! Handles Ctrl-C and the other signals that ask a command to exit.

use super::error::CliError;
use std::{future::pending, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// The time within which two signals count as one. A signal to the whole process group reaches this process twice:
/// directly, and from the parent process, which forwards it.
const TWICE: Duration = Duration::from_millis(200);

/// Handles SIGINT, SIGTERM and SIGHUP, so that they no longer kill the process. A signal that is ignored, for example
/// because of `nohup`, stays ignored.
pub(super) struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hang_up: Option<Signal>,
    last: Option<Instant>,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, CliError> {
        let listen = |kind: SignalKind| {
            let heeded = Some(kind).filter(|kind| !replug_runtime::parent::is_ignored(kind.as_raw_value()));
            heeded.map(signal).transpose().map_err(CliError::Threads)
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            last: None,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) {
        loop {
            tokio::select! {
                () = received(&mut self.interrupt) => {}
                () = received(&mut self.terminate) => {}
                () = received(&mut self.hang_up) => {}
            }
            let before = self.last.replace(Instant::now());
            if before.is_none_or(|before| before.elapsed() >= TWICE) {
                return;
            }
        }
    }
}

/// Waits for the signal. Never returns if the signal is ignored.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}
