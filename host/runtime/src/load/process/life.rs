//! The end of a child's process: brought about, waited for, and told.

use super::{cgroup::Cgroup, output::Tail, signal::signal_name};
use parking_lot::{Condvar, Mutex};
use replug_api::call::Death;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal},
};
use std::{
    io,
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    process::{self, ExitStatus},
    sync::{Arc, Weak, mpsc},
    thread,
    time::Duration,
};

/// How long after the end of a connection the end of the process behind it may take. One that lives on has broken its
/// connection, and is of no use.
const EXIT_GRACE: Duration = Duration::from_millis(100);
/// How long after the end of a process its death may take to be known.
pub(super) const REAP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after the end of a process what it has written may take to be told to those who listen. Less than
/// [`REAP_TIMEOUT`], so that whoever waits for the death learns how it was.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long what was killed may take to be gone from its cgroup.
const EMPTY: Duration = Duration::from_millis(500);

/// What the thread that waits for the end shares with those who call.
pub(super) struct Life {
    leader: Pid,
    /// The process, whoever has its number. Readable when it has ended.
    pub(super) process: Arc<OwnedFd>,
    state: Mutex<State>,
    changed: Condvar,
    pub(super) tail: Tail,
    pub(super) cgroup: Option<Arc<Cgroup>>,
}

#[derive(Default)]
struct State {
    /// That it ends is what the host wants.
    expected: bool,
    death: Option<Death>,
    /// The lanes that are left, to be closed at its end: a process that it started may hold their other ends.
    lanes: Vec<Weak<UnixStream>>,
    /// It has ended; what is left of it is not yet read.
    ended: bool,
    /// Its number may be another's.
    reaped: bool,
}

impl Life {
    /// Of a child that no one has waited for yet.
    pub(super) fn of(child: &process::Child, tail: Tail, cgroup: Option<Arc<Cgroup>>) -> io::Result<Self> {
        let leader = Pid::from_child(child);
        let process = Arc::new(pidfd_open(leader, PidfdFlags::empty())?);
        Ok(Self { leader, process, state: Mutex::default(), changed: Condvar::new(), tail, cgroup })
    }

    /// The number of the process.
    pub(super) fn pid(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// Has this lane closed at the end of the process, whoever else holds its other end.
    pub(super) fn end_with_process(&self, lane: Weak<UnixStream>) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.ended {
            return Err(io::ErrorKind::NotConnected.into());
        }
        state.lanes.retain(|lane| lane.strong_count() > 0);
        state.lanes.push(lane);
        Ok(())
    }

    /// Whether it has ended.
    pub(super) fn is_dead(&self) -> bool {
        self.state.lock().death.is_some()
    }

    /// Waits until the process has ended.
    fn wait(&self) {
        let mut end = [PollFd::new(&self.process, PollFlags::IN)];
        while let Err(rustix::io::Errno::INTR) = poll(&mut end, None) {}
    }

    /// Kills the process by itself; whether it is there, be it as one that has ended and that no one has waited for.
    fn kill_leader(&self) -> bool {
        pidfd_send_signal(&self.process, Signal::KILL).is_ok()
    }

    /// Kills the process and all that it started. Its number, and with it that of its group, cannot have become another's: the
    /// process is still there, and is reaped under the same lock. Something else in this program may have reaped it
    /// already, as a plugin that waits for any child does; then no group is killed.
    pub(super) fn kill(&self) {
        let state = self.state.lock();
        if !state.reaped {
            // By itself, since it may not lead the group yet, or no longer be in it.
            if self.kill_leader() {
                // An error means that no one is left.
                let _ = kill_process_group(self.leader, Signal::KILL);
            }
            if let Some(cgroup) = &self.cgroup {
                cgroup.kill();
            }
        }
    }

    /// The same, with the reason as its last words.
    pub(super) fn kill_because(&self, reason: &str) {
        self.tail.push(reason);
        self.kill();
    }

    /// From now on its end is no surprise.
    pub(super) fn expect_end(&self) {
        self.state.lock().expected = true;
    }

    /// How it ended by itself, if it has or is about to; else it is killed, since its connection is of no use.
    pub(super) fn own_death(&self) -> Option<Death> {
        self.death_if_near().or_else(|| {
            self.kill();
            // Until then, whoever is to know of the death may not. What ended by itself was slow, and says how it was.
            let late = self.death_within(REAP_TIMEOUT);
            late.filter(|death| *death != Death::Signal("SIGKILL".into()))
        })
    }

    fn death_if_near(&self) -> Option<Death> {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| !state.ended, EXIT_GRACE);
        let ended = state.ended;
        drop(state);
        ended.then(|| self.death_within(REAP_TIMEOUT)).flatten()
    }

    /// How it ended, once that is told, if that is so in time.
    pub(super) fn death_within(&self, patience: Duration) -> Option<Death> {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| state.death.is_none(), patience);
        state.death.clone()
    }
}

/// Whoever waits for a process. Dropped before that, it kills the process, and leaves nothing of it.
pub(super) struct Reaper {
    child: process::Child,
    life: Arc<Life>,
}

impl Reaper {
    pub(super) fn of(child: process::Child, life: &Arc<Life>) -> Self {
        Self { child, life: life.clone() }
    }

    /// Waits for the end of the process, ends what it has left behind, and tells.
    pub(super) fn wait(
        mut self,
        outputs: impl IntoIterator<Item = thread::JoinHandle<()>>,
        on_death: Box<dyn FnOnce(Death, String) + Send>,
    ) {
        let life = self.life.clone();
        life.wait();
        life.kill();
        let mut state = life.state.lock();
        state.ended = true;
        let lanes = std::mem::take(&mut state.lanes);
        drop(state);
        life.changed.notify_all();
        // An error means that it is closed.
        lanes.iter().filter_map(Weak::upgrade).for_each(|lane| drop(lane.shutdown(Shutdown::Both)));
        read_to_the_end(outputs.into_iter().collect());
        if life.cgroup.as_ref().is_some_and(|cgroup| cgroup.ran_out_of_memory()) {
            life.tail.push("(replug: the kernel killed it: it took more than `memory` in `[limits]` allows)");
        }
        let death = self.reap();
        let expected = life.state.lock().expected;
        // First, so that a caller who learns of the death finds that the generation has been taken out.
        if !expected {
            on_death(death.clone(), life.tail.text());
        }
        life.state.lock().death = Some(death);
        life.changed.notify_all();
    }

    /// Reaps a process that has ended, and removes what was made for it.
    fn reap(&mut self) -> Death {
        if let Some(cgroup) = &self.life.cgroup {
            cgroup.remove(EMPTY);
        }
        let mut state = self.life.state.lock();
        state.reaped = true;
        self.child.wait().map_or(Death::Disconnected, death_of)
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if !self.life.state.lock().reaped {
            self.life.kill();
            self.life.wait();
            self.reap();
        }
    }
}

/// Waits until what the process has written is told, but not for ever: those who listen to it may be slow.
fn read_to_the_end(outputs: Vec<thread::JoinHandle<()>>) {
    let (reading, read) = mpsc::channel::<()>();
    let join = move || {
        outputs.into_iter().for_each(|output| drop(output.join()));
        drop(reading);
    };
    if thread::Builder::new().name("replug-last-words".into()).spawn(join).is_ok() {
        // Nothing is sent: the channel is closed, or the time is up.
        let _ = read.recv_timeout(LAST_WORDS);
    }
}

fn death_of(status: ExitStatus) -> Death {
    match (status.code(), status.signal()) {
        (Some(code), _) => Death::Exit(code),
        (None, Some(signal)) => {
            Death::Signal(signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned))
        }
        (None, None) => Death::Disconnected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{path::Path, process::Command};

    #[test]
    fn a_process_for_which_no_one_can_wait_is_killed_and_reaped() {
        let child = Command::new("sleep").arg("100000").spawn().unwrap();
        let process = format!("/proc/{}", child.id());
        let life = Arc::new(Life::of(&child, Tail::default(), None).unwrap());
        let reaper = Reaper::of(child, &life);
        assert!(Path::new(&process).exists());
        drop(reaper);
        // What has ended and was not reaped is still there.
        assert!(!Path::new(&process).exists());
    }

    #[test]
    fn what_someone_else_has_waited_for_is_not_killed_by_its_number() {
        let child = Command::new("true").spawn().unwrap();
        let life = Arc::new(Life::of(&child, Tail::default(), None).unwrap());
        life.wait();
        assert!(life.kill_leader(), "no one has waited for it");
        rustix::process::waitpid(Some(life.leader), rustix::process::WaitOptions::empty()).unwrap();
        assert!(!life.kill_leader());
        // It neither kills nor waits for ever.
        drop(Reaper::of(child, &life));
    }
}
