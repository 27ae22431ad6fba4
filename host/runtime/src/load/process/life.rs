//! Kills the process of a child, waits for its exit, and reports its death.

use super::{cgroup::Cgroup, output::Tail};
use crate::signal::signal_name;
use parking_lot::{Condvar, Mutex};
use replug_api::call::Death;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
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

/// How long a process may take to exit after its connection was closed. A process that lives longer is killed, because
/// its connection is unusable.
const EXIT_GRACE: Duration = Duration::from_millis(100);
/// How long to wait, after a process has exited, until its death is known.
pub(super) const REAP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the last output of a process may take to reach the report sinks, after the process has exited. This is less
/// than [`REAP_TIMEOUT`], so that a thread that waits for the death of the process gets the cause.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
/// How long a killed process may take to disappear from its cgroup.
const EMPTY: Duration = Duration::from_millis(500);

/// The state of a child's process. Callers share it with the thread that waits for the exit of the process.
pub(super) struct Life {
    leader: Pid,
    /// A pidfd, which refers to the process even if its pid is reused. It is readable after the process has exited.
    pub(super) process: Arc<OwnedFd>,
    state: Mutex<State>,
    changed: Condvar,
    pub(super) tail: Tail,
    pub(super) cgroup: Option<Arc<Cgroup>>,
}

#[derive(Default)]
struct State {
    /// Whether the host expects the process to exit. Otherwise, the exit is reported as a crash.
    expected: bool,
    death: Option<Death>,
    /// The open lanes. They are closed when the process exits, because processes that it has started may keep the other
    /// ends open.
    lanes: Vec<Weak<UnixStream>>,
    /// Whether the process has exited. Its last output may not have been read yet.
    ended: bool,
    /// Whether the process was reaped, so that its pid may belong to another process.
    reaped: bool,
}

impl Life {
    /// The state of a child that was just started, and that no other code has waited for.
    pub(super) fn of(child: &process::Child, tail: Tail, cgroup: Option<Arc<Cgroup>>) -> io::Result<Self> {
        let leader = Pid::from_child(child);
        let process = Arc::new(pidfd_open(leader, PidfdFlags::empty())?);
        Ok(Self { leader, process, state: Mutex::default(), changed: Condvar::new(), tail, cgroup })
    }

    /// The pid of the process.
    pub(super) fn pid(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// Registers a lane that is closed when the process exits, even if another process keeps the lane's other end open.
    pub(super) fn end_with_process(&self, lane: Weak<UnixStream>) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.ended {
            return Err(io::ErrorKind::NotConnected.into());
        }
        state.lanes.retain(|lane| lane.strong_count() > 0);
        state.lanes.push(lane);
        Ok(())
    }

    /// Whether the death of the process is known.
    pub(super) fn is_dead(&self) -> bool {
        self.state.lock().death.is_some()
    }

    /// Whether the process has exited. As long as it has not, no other process can have its pid.
    pub(super) fn has_exited(&self) -> bool {
        let mut end = [PollFd::new(&self.process, PollFlags::IN)];
        // If the state cannot be determined, the process may have exited.
        poll(&mut end, Some(&Timespec::default())) != Ok(0)
    }

    /// Waits until the process has exited.
    fn wait(&self) {
        let mut end = [PollFd::new(&self.process, PollFlags::IN)];
        while let Err(rustix::io::Errno::INTR) = poll(&mut end, None) {}
    }

    /// Kills only the process itself. Returns whether the process exists; a zombie counts as existing.
    fn kill_leader(&self) -> bool {
        pidfd_send_signal(&self.process, Signal::KILL).is_ok()
    }

    /// Kills the process and the processes that it has started. The pid of the process is also the id of its process
    /// group. Until the process is reaped, which happens under the same lock, the pid cannot belong to another process.
    /// Other code in this program, such as a plugin that waits for any child, may have reaped the process already. In
    /// that case, no process group is killed.
    pub(super) fn kill(&self) {
        let state = self.state.lock();
        if !state.reaped {
            // The process itself is killed separately, because it may not lead the group yet, or may have left it.
            if self.kill_leader() {
                // An error means that the group has no process left.
                let _ = kill_process_group(self.leader, Signal::KILL);
            }
            if let Some(cgroup) = &self.cgroup {
                cgroup.kill();
            }
        }
    }

    /// Kills like [`Life::kill`], after appending the reason to the last output of the process.
    pub(super) fn kill_because(&self, reason: &str) {
        self.tail.push(reason);
        self.kill();
    }

    /// From now on, the exit of the process is expected.
    pub(super) fn expect_end(&self) {
        self.state.lock().expected = true;
    }

    /// How the process terminated, if it terminated by itself. Kills a process that does not exit within
    /// [`EXIT_GRACE`], because its connection is unusable, and returns `None` for a process that had to be killed.
    pub(super) fn own_death(&self) -> Option<Death> {
        self.death_if_near().or_else(|| {
            self.kill();
            // The wait gives `on_death` time to run. If the process terminated by itself before it was killed, that
            // cause is reported.
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

    /// How the process terminated, if this is known within `patience`.
    pub(super) fn death_within(&self, patience: Duration) -> Option<Death> {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| state.death.is_none(), patience);
        state.death.clone()
    }
}

/// Owns a process, and waits for its exit. Dropping this value before the exit kills the process and cleans up.
pub(super) struct Reaper {
    child: process::Child,
    life: Arc<Life>,
}

impl Reaper {
    pub(super) fn of(child: process::Child, life: &Arc<Life>) -> Self {
        Self { child, life: life.clone() }
    }

    /// Waits for the exit of the process, kills the processes that it has left behind, and reports the death.
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
        // An error means that the lane is already closed.
        lanes.iter().filter_map(Weak::upgrade).for_each(|lane| drop(lane.shutdown(Shutdown::Both)));
        read_to_the_end(outputs.into_iter().collect());
        if life.cgroup.as_ref().is_some_and(|cgroup| cgroup.ran_out_of_memory()) {
            life.tail.push(
                "(replug: the kernel killed it: it used more memory than `memory` in `[limits]` allows)",
            );
        }
        let death = self.reap();
        let expected = life.state.lock().expected;
        // `on_death` runs first: it takes the generation out of service before any caller gets the cause of the death.
        if !expected {
            on_death(death.clone(), life.tail.text());
        }
        life.state.lock().death = Some(death);
        life.changed.notify_all();
    }

    /// Reaps a process that has exited, and removes its cgroup.
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

/// Waits until the output of the process has been reported. The time is limited, because report sinks may be slow.
fn read_to_the_end(outputs: Vec<thread::JoinHandle<()>>) {
    let (reading, read) = mpsc::channel::<()>();
    let join = move || {
        outputs.into_iter().for_each(|output| drop(output.join()));
        drop(reading);
    };
    if thread::Builder::new().name("replug-output".into()).spawn(join).is_ok() {
        // Nothing is ever sent: the wait ends when the channel is closed or the time is up.
        let _ = read.recv_timeout(LAST_OUTPUT);
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
    fn a_dropped_reaper_kills_and_reaps_its_process() {
        let child = Command::new("sleep").arg("100000").spawn().unwrap();
        let process = format!("/proc/{}", child.id());
        let life = Arc::new(Life::of(&child, Tail::default(), None).unwrap());
        let reaper = Reaper::of(child, &life);
        assert!(Path::new(&process).exists());
        assert!(!life.has_exited());
        drop(reaper);
        // A zombie still exists in `/proc`.
        assert!(!Path::new(&process).exists());
    }

    #[test]
    fn a_process_reaped_by_another_waiter_is_not_killed_by_its_pid() {
        let child = Command::new("true").spawn().unwrap();
        let life = Arc::new(Life::of(&child, Tail::default(), None).unwrap());
        life.wait();
        assert!(life.has_exited());
        assert!(life.kill_leader(), "the process has not been reaped");
        rustix::process::waitpid(Some(life.leader), rustix::process::WaitOptions::empty()).unwrap();
        assert!(!life.kill_leader());
        // The drop neither kills a process nor waits forever.
        drop(Reaper::of(child, &life));
    }
}
