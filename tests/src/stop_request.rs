//! A signal that asks a long run to end early. The run ends after its current step, and prints what it has found so far.

use anyhow::Result;
use replug_runtime::parent::is_ignored;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{
        Handle, SignalsInfo,
        exfiltrator::{WithOrigin, origin::Origin},
    },
    low_level::signal_name,
};
use std::{
    fs,
    process::exit,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

/// The signals that ask a program to exit.
pub const REQUESTS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// Whether a signal has asked this run to end. While this value lives, such a signal does not kill the process.
#[derive(Debug)]
pub struct StopRequest {
    by: Arc<OnceLock<String>>,
    listening: Handle,
    _running: Sender<()>,
}

impl StopRequest {
    /// Listens for these signals, except those that this process ignores. If the run takes longer than `patience` to
    /// end after the first signal, this process exits.
    ///
    /// # Errors
    ///
    /// If the signals cannot be handled.
    pub fn listen(signals: &[i32], patience: Duration) -> Result<Self> {
        let heeded = signals.iter().filter(|signal| !is_ignored(**signal));
        let mut signals = SignalsInfo::<WithOrigin>::new(heeded)?;
        let listening = signals.handle();
        let (running, ended) = channel();
        let by = Arc::<OnceLock<String>>::default();
        let noted = by.clone();
        thread::Builder::new().name("stop-request".into()).spawn(move || {
            let Some(signal) = signals.forever().next() else { return };
            let text = noted.get_or_init(|| describe(&signal));
            if outlasts(&ended, patience) {
                eprintln!("error: stopped by {text}: the current step did not end within {patience:?}");
                exit(1);
            }
        })?;
        Ok(Self { by, listening, _running: running })
    }

    /// The signal that has asked this run to end, with its sender.
    pub fn by(&self) -> Option<&str> {
        self.by.get().map(String::as_str)
    }
}

impl Drop for StopRequest {
    fn drop(&mut self) {
        self.listening.close();
    }
}

/// Whether the run takes longer than `patience` to end. When it ends, it drops the other end of the channel.
fn outlasts(ended: &Receiver<()>, patience: Duration) -> bool {
    ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout)
}

/// The name of the signal and its sender.
fn describe(got: &Origin) -> String {
    let name = signal_name(got.signal).unwrap_or("a signal");
    let Some(sender) = got.process else { return format!("{name} from the kernel") };
    let program = fs::read_to_string(format!("/proc/{}/comm", sender.pid));
    let program = program.map_or_else(|_| "which has ended".to_owned(), |name| name.trim().to_owned());
    format!("{name} from process {} ({program})", sender.pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::poll_until;
    use rustix::process::{Signal, getpid, kill_process};
    use signal_hook::consts::SIGUSR2;

    #[test]
    fn a_run_learns_which_signal_of_which_process_asks_it_to_end() {
        let stop = StopRequest::listen(&[SIGUSR2], Duration::from_secs(3600)).unwrap();
        assert_eq!(stop.by(), None);
        kill_process(getpid(), Signal::USR2).unwrap();
        poll_until(|| stop.by().is_some());
        let by = stop.by().unwrap();
        assert!(by.starts_with(&format!("SIGUSR2 from process {} (", getpid())), "{by}");
    }

    #[test]
    fn a_run_outlasts_the_patience_unless_it_has_ended() {
        let (running, ended) = channel();
        assert!(outlasts(&ended, Duration::ZERO));
        drop(running);
        assert!(!outlasts(&ended, Duration::from_secs(3600)));
    }
}
