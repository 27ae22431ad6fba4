//! Sends the plugin's reports to the host: log events and panics. The host receives them in
//! `host/runtime/src/load/process/output.rs`.

use crate::load::ReportSink;
use parking_lot::Mutex;
use replug_wire::{Channel, Kind, Level, Message, Report, Reports, RequestId};
use std::{
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

/// A sink that sends each report before it returns, so that the last reports of the plugin are not lost if the
/// process crashes.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    host: Arc<Mutex<Channel<UnixStream>>>,
    max_level: Arc<AtomicU8>,
}

impl Reporter {
    pub(super) fn new(host: UnixStream) -> Self {
        let channel = Channel::with_max_frame(host, Reports::<UnixStream>::MAX_FRAME);
        Self { host: Arc::new(Mutex::new(channel)), max_level: Arc::default() }
    }

    /// Sets the log level that the next instance gets.
    pub(super) fn set_max_level(&self, level: Level) {
        self.max_level.store(level.0, Ordering::Relaxed);
    }
}

impl ReportSink for Reporter {
    fn max_level(&self) -> Level {
        Level(self.max_level.load(Ordering::Relaxed))
    }

    fn report(&self, report: Report) {
        let Ok(bytes) = report.cut_short().encode() else { return };
        // An error means that the host has closed the connection, and reads no more reports.
        let _ = self.host.lock().send(Kind::Report, RequestId::default(), [&bytes, &[]]);
    }
}
