//! Ctrl-C, and the other ways to ask a command to end.

use super::error::CliError;
use std::time::Duration;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// Within this time, two signals are one: whoever signals the whole process group reaches this process twice, by itself
/// and through its parent.
const TWICE: Duration = Duration::from_millis(200);

/// Listens for SIGINT, SIGTERM and SIGHUP, which from then on end nothing by themselves.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    last: Option<Instant>,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(CliError::Threads);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            last: None,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                _ = self.hang_up.recv() => {}
            }
            let before = self.last.replace(Instant::now());
            if before.is_none_or(|before| before.elapsed() >= TWICE) {
                return;
            }
        }
    }
}
