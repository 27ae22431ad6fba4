//! A cgroup for each child, where the host's own is delegated to it: bounds what the child and all that it starts take
//! together, and ends all of it, whatever group or session it has gone to.
//!
//! The kernel lets no cgroup both hold processes and hand controllers on to its children. A host that is alone in a
//! delegated cgroup can thus make cgroups in it, but not bound memory with them, unless it was started one level below:
//! then its cgroup's parent is the place.

use crate::process_stat::ProcessStat;
use replug_model::id::Generation;
use replug_wire::Limits;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Access, access},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process,
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Why a process is not in a cgroup of its own, or that does not bound it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// There is no cgroup v2 here, or this process has no place in it.
    #[error("there is no cgroup v2 to be found in {path}: mount it, or set `cgroup = \"off\"` in `[limits]`")]
    None {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The host's cgroup is not delegated to it.
    #[error(
        "{path}: {reason}: the host's cgroup is not delegated to it (systemd does so with `Delegate=yes`)"
    )]
    NotDelegated {
        /// What could not be made or written.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A controller is not there, or cannot be handed on.
    #[error("the controller `{controller}` is not available in {path}: {reason}")]
    NoController {
        /// The controller.
        controller: &'static str,
        /// The cgroup above the plugin's.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

replug_model::readable::readable!(CgroupError);

/// Where a host may make cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    dir: PathBuf,
}

/// One child's cgroup.
#[derive(Debug)]
pub(super) struct Cgroup {
    dir: PathBuf,
}

/// The controllers that bound something here.
pub const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// A cgroup in which this process may make others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegated {
    /// Its folder.
    pub dir: PathBuf,
    /// Those of the [controllers](CONTROLLERS) that it hands on to the cgroups in it already.
    pub controllers: Vec<&'static str>,
}

/// Where this process may make cgroups, and what they can bound there. Only looks: to hand a controller on is for a host
/// that has use for it.
///
/// # Errors
///
/// [`CgroupError::None`], [`CgroupError::NotDelegated`]
pub fn delegated() -> Result<Delegated, CgroupError> {
    let Place { dir } = Place::find(Path::new("/proc"))?;
    if let Err(error) = access(&dir, Access::WRITE_OK) {
        return Err(CgroupError::NotDelegated { path: dir, reason: error.to_string() });
    }
    let handed_on = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
    let there = CONTROLLERS.into_iter().filter(|name| handed_on.split_whitespace().any(|it| it == *name));
    let controllers = there.collect();
    Ok(Delegated { dir, controllers })
}

impl Place {
    /// The place of this process; `proc` is `/proc`.
    ///
    /// # Errors
    ///
    /// [`CgroupError::None`]
    pub(super) fn find(proc: &Path) -> Result<Self, CgroupError> {
        let own = own(proc).ok_or_else(|| CgroupError::None { path: proc.join("self/mountinfo") })?;
        let unit = |dir: &Path| {
            let kind = dir.extension().and_then(|kind| kind.to_str());
            matches!(kind, Some("service" | "scope" | "slice"))
        };
        // Below a unit of systemd's that is delegated, all belongs to whoever runs in it; above it, nothing does.
        let parent = own.parent().filter(|it| unit(it) && !unit(&own)).map(Path::to_owned);
        Ok(Self { dir: parent.unwrap_or(own) })
    }

    /// Has the controller handed on to the cgroups made here.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NoController`]
    pub(super) fn hand_on(&self, controller: &'static str) -> Result<(), CgroupError> {
        let lists = |file: &str| {
            let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
            text.split_whitespace().any(|it| it == controller)
        };
        if lists("cgroup.subtree_control") {
            return Ok(());
        }
        let missing =
            |reason: String| CgroupError::NoController { controller, path: self.dir.clone(), reason };
        if !lists("cgroup.controllers") {
            return Err(missing("it is not handed on from above".into()));
        }
        write(&self.dir.join("cgroup.subtree_control"), &format!("+{controller}")).map_err(|error| {
            missing(match error.raw_os_error() {
                Some(libc::EBUSY) => {
                    "processes are in that cgroup itself, so that it cannot be handed on; start the host one level \
                     below (systemd: `DelegateSubgroup=host`)"
                        .into()
                }
                _ => error.to_string(),
            })
        })
    }

    /// Makes a cgroup, with the first of these names that is free: a host in another container, or one that was killed before
    /// this one got its number, may have one of the same name.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NotDelegated`]
    pub(super) fn make(&self, mut name: impl FnMut() -> String) -> Result<Cgroup, CgroupError> {
        loop {
            let dir = self.dir.join(name());
            match fs::create_dir(&dir) {
                Ok(()) => return Ok(Cgroup { dir }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(CgroupError::NotDelegated { path: dir, reason: error.to_string() });
                }
            }
        }
    }

    /// Removes what hosts that are gone have left here, once in the life of this process.
    pub(super) fn sweep(&self, proc: &Path) {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| self.sweep_now(proc));
    }

    fn sweep_now(&self, proc: &Path) {
        // This process has not made any yet: those with its number are of one that had it before.
        let is_gone =
            |pid: u32| pid == process::id() || ProcessStat::read(&proc.join(pid.to_string())).is_none();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let host = name.to_str().and_then(|it| it.strip_prefix(PREFIX)?.split_once('-')).map(|it| it.0);
            if host.and_then(|pid| pid.parse().ok()).is_some_and(is_gone) {
                // One in which something still lives cannot be removed. Another host may be doing the same.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

const PREFIX: &str = "replug-";

/// A name that no other cgroup of this process's has: `replug-<pid>-<plugin>-g<generation>-<serial>`.
pub(super) fn name(short_id: &str, generation: Generation) -> String {
    static SERIAL: AtomicU64 = AtomicU64::new(1);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{short_id}-{generation}-{serial}", process::id())
}

/// What ends a child's cgroup from within.
#[derive(Debug)]
pub(crate) struct Switch {
    dir: PathBuf,
    /// Open from the beginning: at the end, the plugin may have opened all files that it may.
    kill: Option<fs::File>,
}

impl Switch {
    /// That of the cgroup which a host of that number has made for this very process, if it has.
    pub(crate) fn of_this_process(host: Pid) -> Option<Self> {
        let dir = own(Path::new("/proc"))?;
        let is_ours = dir.file_name()?.to_str()?.starts_with(&format!("{PREFIX}{host}-"));
        let kill = fs::OpenOptions::new().write(true).open(dir.join("cgroup.kill")).ok();
        is_ours.then_some(Self { dir, kill })
    }

    /// Kills everything in the cgroup, this process with it.
    pub(crate) fn kill_all(&self) {
        // A plugin that has closed all descriptors has closed this one too.
        if self.kill.as_ref().is_none_or(|mut kill| io::Write::write_all(&mut kill, b"1").is_err()) {
            kill_all_in(&self.dir);
        }
    }
}

/// Kills everything in a cgroup and below it.
fn kill_all_in(dir: &Path) {
    if write(&dir.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // Before Linux 5.14 there was no such file. Whoever forks meanwhile gets away.
    let processes = || {
        let listed = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        listed.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect::<Vec<_>>()
    };
    let held = held(&processes());
    // Who is listed still when its process is held has not ended and left its number to another before that.
    let still = processes();
    for (_, process) in held.iter().filter(|(pid, _)| still.contains(pid)) {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

/// The processes that have these numbers now, whoever has them later.
fn held(pids: &[Pid]) -> Vec<(Pid, OwnedFd)> {
    let hold = |pid: &Pid| Some((*pid, pidfd_open(*pid, PidfdFlags::empty()).ok()?));
    pids.iter().filter_map(hold).collect()
}

impl Cgroup {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sets the bounds that cgroups can set. What a controller that is not there would have to bound is an error.
    pub(super) fn bound(&self, limits: &Limits) -> Vec<Result<(&'static str, u64), CgroupError>> {
        let wanted = [
            ("memory_bytes", CONTROLLERS[0], "memory.max", limits.memory_bytes),
            ("processes", CONTROLLERS[1], "pids.max", limits.processes),
        ];
        let set = wanted.into_iter().filter_map(|(of, controller, file, value)| {
            let (path, value) = (self.dir.join(file), value?);
            let failed = |error: io::Error| CgroupError::NoController {
                controller,
                path: path.clone(),
                reason: error.to_string(),
            };
            Some(write(&path, &value.to_string()).map_err(failed).map(|()| (of, value)))
        });
        let set = set.collect();
        if limits.memory_bytes.is_some() {
            // Without these files there is no swap to flee to, and no group to be killed as one.
            let _ = write(&self.dir.join("memory.swap.max"), "0");
            let _ = write(&self.dir.join("memory.oom.group"), "1");
        }
        set
    }

    /// Puts a process in.
    pub(super) fn take_in(&self, pid: u32) -> Result<(), CgroupError> {
        let path = self.dir.join("cgroup.procs");
        write(&path, &pid.to_string())
            .map_err(|error| CgroupError::NotDelegated { path: path.clone(), reason: error.to_string() })
    }

    /// Whether the kernel has killed something in it for lack of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.dir.join("memory.events")).unwrap_or_default();
        events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
    }

    /// How many processes are in it.
    pub(super) fn processes(&self) -> Option<u64> {
        let text = fs::read_to_string(self.dir.join("cgroup.procs")).ok()?;
        u64::try_from(text.lines().count()).ok()
    }

    /// Kills everything in it.
    pub(super) fn kill(&self) {
        kill_all_in(&self.dir);
    }

    /// Removes it as soon as nothing lives in it, but waits no longer than that. What stays is for the next host.
    pub(super) fn remove(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let events = fs::File::open(self.dir.join("cgroup.events"));
        while fs::remove_dir(&self.dir).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
            let Ok(events) = &events else { return };
            if Instant::now() >= until {
                return;
            }
            // It tells of changes; one that came between the two calls must not be waited for.
            let moment = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
            let _ = poll(&mut [PollFd::new(events, PollFlags::PRI)], Some(&moment));
        }
    }
}

/// All in one write, without making the file: a file of the kernel's is there or is not.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

/// The folder of the cgroup that this process is in.
fn own(proc: &Path) -> Option<PathBuf> {
    let mounts = fs::read_to_string(proc.join("self/mountinfo")).ok()?;
    // `36 35 0:31 ROOT MOUNTPOINT OPTIONS ... - cgroup2 SOURCE OPTIONS`
    let (root, mounted) = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        kind.starts_with("cgroup2 ").then_some((fields.next()?, fields.next()?))
    })?;
    let places = fs::read_to_string(proc.join("self/cgroup")).ok()?;
    let place = places.lines().find_map(|line| line.strip_prefix("0::"))?;
    let below = Path::new(place).strip_prefix(root).ok()?;
    // Joined with nothing, a path would end in a slash.
    let mounted = PathBuf::from(mounted);
    Some(if below.as_os_str().is_empty() { mounted } else { mounted.join(below) })
}

#[cfg(test)]
mod tests;
