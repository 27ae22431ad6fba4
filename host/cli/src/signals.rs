//! Ctrl-C, and the other ways to ask a command to end.

use super::error::CliError;
use std::{future::pending, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// Within this time, two signals are one: whoever signals the whole process group reaches this process twice, by itself
/// and through its parent.
const TWICE: Duration = Duration::from_millis(200);

/// Listens for SIGINT, SIGTERM and SIGHUP, which from then on end nothing by themselves. One that is ignored, as by `nohup`,
/// is left so.
pub(super) struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hang_up: Option<Signal>,
    last: Option<Instant>,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, CliError> {
        let listen = |kind: SignalKind| {
            let heeded = Some(kind).filter(|kind| !replug::parent::is_ignored(kind.as_raw_value()));
            heeded.map(signal).transpose().map_err(CliError::Threads)
        };
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
                () = heard(&mut self.interrupt) => {}
                () = heard(&mut self.terminate) => {}
                () = heard(&mut self.hang_up) => {}
            }
            let before = self.last.replace(Instant::now());
            if before.is_none_or(|before| before.elapsed() >= TWICE) {
                return;
            }
        }
    }
}

/// Waits until the signal comes; for ever, if it is ignored.
async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}
