//! Makes a cgroup for each child, if the host's own cgroup is delegated to the host. The cgroup limits the resources
//! that the child and all its descendants use together. Killing the cgroup kills all of them, whatever process group or
//! session they have moved to.
//!
//! A cgroup cannot both contain processes and enable controllers for the cgroups below it. So a host that runs directly
//! in the delegated cgroup can create cgroups there, but cannot limit memory with them. If the host was started in a
//! cgroup one level below the delegated one, it creates the cgroups in the delegated one, where it can limit memory.

use crate::process_stat::ProcessStat;
use replug_model::{event::LimitedResource, id::Generation};
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

/// Why a process has no cgroup of its own, or why its cgroup does not limit it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// There is no cgroup v2, or this process is not in it.
    #[error("no cgroup v2 found in {path}: mount it, or set `cgroup = \"off\"` in `[limits]`")]
    None {
        /// The path that was searched.
        path: PathBuf,
    },
    /// The host's cgroup is not delegated to the host.
    #[error(
        "{path}: {reason}: the host's cgroup is not delegated to the host (systemd does so with `Delegate=yes`)"
    )]
    NotDelegated {
        /// The path that could not be created or written.
        path: PathBuf,
        /// The error of the operating system.
        reason: String,
    },
    /// A controller is not available, or cannot be enabled for the cgroups below.
    #[error("the controller `{controller}` is not available in {path}: {reason}")]
    NoController {
        /// The controller.
        controller: &'static str,
        /// The cgroup above the plugin's, or the file in the plugin's cgroup that could not be written.
        path: PathBuf,
        /// Why the controller is not available.
        reason: String,
    },
}

replug_model::readable::readable!(CgroupError);

/// The cgroup in which a host creates the cgroups of its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CgroupParent {
    dir: PathBuf,
}

/// One child's cgroup.
#[derive(Debug)]
pub(super) struct Cgroup {
    dir: PathBuf,
}

/// The controllers that a plugin's limits need.
pub const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// A cgroup in which this process may create others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegated {
    /// The folder of the cgroup.
    pub dir: PathBuf,
    /// The [controllers](CONTROLLERS) that are already enabled for the cgroups in this one.
    pub controllers: Vec<&'static str>,
}

/// Finds the cgroup in which this process may create others, and the controllers that are enabled there. Changes
/// nothing: a host enables a controller only when it needs it.
///
/// # Errors
///
/// [`CgroupError::None`], [`CgroupError::NotDelegated`]
pub fn delegated() -> Result<Delegated, CgroupError> {
    let CgroupParent { dir } = CgroupParent::find(Path::new("/proc"))?;
    if let Err(error) = access(&dir, Access::WRITE_OK) {
        return Err(CgroupError::NotDelegated { path: dir, reason: error.to_string() });
    }
    let enabled = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
    let there = CONTROLLERS.into_iter().filter(|name| enabled.split_whitespace().any(|it| it == *name));
    let controllers = there.collect();
    Ok(Delegated { dir, controllers })
}

impl CgroupParent {
    /// Finds the cgroup in which this process creates others. `proc` is `/proc`, except in tests.
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
        // Inside a delegated unit of systemd, all cgroups belong to the owner of the unit; above it, none do.
        let parent = own.parent().filter(|it| unit(it) && !unit(&own)).map(Path::to_owned);
        Ok(Self { dir: parent.unwrap_or(own) })
    }

    /// Enables the controller for the cgroups that are created in this one.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NoController`]
    pub(super) fn enable(&self, controller: &'static str) -> Result<(), CgroupError> {
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
            return Err(missing("the cgroup above does not enable it".into()));
        }
        write(&self.dir.join("cgroup.subtree_control"), &format!("+{controller}")).map_err(|error| {
            missing(match error.raw_os_error() {
                Some(libc::EBUSY) => {
                    "that cgroup itself holds processes, so it cannot enable the controller for others; start the host one level \
                     below (systemd: `DelegateSubgroup=host`)"
                        .into()
                }
                _ => error.to_string(),
            })
        })
    }

    /// Creates a cgroup with the first free name that `name` returns. A host in another container, or a killed host
    /// that had the same pid, may have left a cgroup of the same name.
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

    /// Removes the cgroups that terminated hosts have left here. Only the first call in this process has an effect.
    pub(super) fn sweep(&self, proc: &Path) {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| self.sweep_now(proc));
    }

    fn sweep_now(&self, proc: &Path) {
        // This process has not created any cgroup yet. So a cgroup that is named with its pid belongs to an earlier
        // process with the same pid.
        let is_gone =
            |pid: u32| pid == process::id() || ProcessStat::read(&proc.join(pid.to_string())).is_none();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let host = name.to_str().and_then(|it| it.strip_prefix(PREFIX)?.split_once('-')).map(|it| it.0);
            if host.and_then(|pid| pid.parse().ok()).is_some_and(is_gone) {
                // This fails if the cgroup still contains a process, or if another host has just removed it.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

const PREFIX: &str = "replug-";

/// A name that no other cgroup of this process has: `replug-<pid>-<plugin>-g<generation>-<serial>`.
pub(super) fn name(short_id: &str, generation: Generation) -> String {
    static SERIAL: AtomicU64 = AtomicU64::new(1);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{short_id}-{generation}-{serial}", process::id())
}

/// Kills the cgroup of this process, which is a child of a host.
#[derive(Debug)]
pub(crate) struct Switch {
    dir: PathBuf,
    /// The file `cgroup.kill`. It is opened in advance, because the plugin may later use up all descriptors.
    kill: Option<fs::File>,
}

impl Switch {
    /// Opens `cgroup.kill` of the cgroup that the host with this pid has created for this process. Returns `None` if
    /// the host has not created one.
    pub(crate) fn of_this_process(host: Pid) -> Option<Self> {
        let dir = own(Path::new("/proc"))?;
        let is_ours = dir.file_name()?.to_str()?.starts_with(&format!("{PREFIX}{host}-"));
        let kill = fs::OpenOptions::new().write(true).open(dir.join("cgroup.kill")).ok();
        is_ours.then_some(Self { dir, kill })
    }

    /// Kills all processes in the cgroup, including this one.
    pub(crate) fn kill_all(&self) {
        // A plugin that has closed all descriptors has closed this one, too.
        if self.kill.as_ref().is_none_or(|mut kill| io::Write::write_all(&mut kill, b"1").is_err()) {
            kill_all_in(&self.dir);
        }
    }
}

/// Kills all processes in a cgroup. From Linux 5.14 on, this includes the cgroups below it.
fn kill_all_in(dir: &Path) {
    if write(&dir.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // Older kernels have no `cgroup.kill`. A child that a process forks during this loop is not killed.
    let processes = || {
        let listed = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        listed.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect::<Vec<_>>()
    };
    let held = held(&processes());
    // The kernel may have reused a listed pid before its pidfd was opened. If the pid is still listed afterwards, the
    // pidfd refers to a process in the cgroup.
    let still = processes();
    for (_, process) in held.iter().filter(|(pid, _)| still.contains(pid)) {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

/// Opens a pidfd of each process that has one of these pids now. A pidfd refers to its process even if the pid is
/// reused.
fn held(pids: &[Pid]) -> Vec<(Pid, OwnedFd)> {
    let hold = |pid: &Pid| Some((*pid, pidfd_open(*pid, PidfdFlags::empty()).ok()?));
    pids.iter().filter_map(hold).collect()
}

impl Cgroup {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sets the limits that cgroups can enforce. Each entry is a limit that was set, or the error of a limit whose
    /// controller is not available.
    pub(super) fn bound(&self, limits: &Limits) -> Vec<Result<(LimitedResource, u64), CgroupError>> {
        let wanted = [
            (LimitedResource::MemoryBytes, CONTROLLERS[0], "memory.max", limits.memory_bytes),
            (LimitedResource::Processes, CONTROLLERS[1], "pids.max", limits.processes),
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
            // An error means that the kernel does not have the file: it has no swap to limit, or cannot kill the whole
            // cgroup when its memory is used up.
            let _ = write(&self.dir.join("memory.swap.max"), "0");
            let _ = write(&self.dir.join("memory.oom.group"), "1");
        }
        set
    }

    /// Moves a process into the cgroup.
    pub(super) fn take_in(&self, pid: u32) -> Result<(), CgroupError> {
        let path = self.dir.join("cgroup.procs");
        write(&path, &pid.to_string())
            .map_err(|error| CgroupError::NotDelegated { path: path.clone(), reason: error.to_string() })
    }

    /// Whether the kernel's out-of-memory killer has killed a process in the cgroup.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.dir.join("memory.events")).unwrap_or_default();
        events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
    }

    /// How many processes are in the cgroup; `None` if the number cannot be read.
    pub(super) fn processes(&self) -> Option<u64> {
        let text = fs::read_to_string(self.dir.join("cgroup.procs")).ok()?;
        u64::try_from(text.lines().count()).ok()
    }

    /// Kills all processes in the cgroup.
    pub(super) fn kill(&self) {
        kill_all_in(&self.dir);
    }

    /// Removes the cgroup as soon as it contains no process. Waits for at most `patience`. If the cgroup still exists
    /// then, the next host removes it.
    pub(super) fn remove(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let events = fs::File::open(self.dir.join("cgroup.events"));
        while fs::remove_dir(&self.dir).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
            let Ok(events) = &events else { return };
            if Instant::now() >= until {
                return;
            }
            // `poll` waits for a change of the file. It misses a change that happens before it is called, so the wait
            // is limited.
            let moment = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
            let _ = poll(&mut [PollFd::new(events, PollFlags::PRI)], Some(&moment));
        }
    }
}

/// Writes in one system call. Does not create the file: only the kernel creates the files of a cgroup.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

/// The folder of the cgroup of this process.
fn own(proc: &Path) -> Option<PathBuf> {
    let places = fs::read_to_string(proc.join("self/cgroup")).ok()?;
    let place = places.lines().find_map(|line| line.strip_prefix("0::"))?;
    // The kernel takes longer to list all mounts than to do everything else for a new cgroup. So the usual mount points
    // are tried first. The second one is that of systemd beside the first version of cgroups.
    let below = Path::new(place.trim_start_matches('/'));
    for usual in ["sys/fs/cgroup", "sys/fs/cgroup/unified"] {
        let dir = join(&proc.parent()?.join(usual), below);
        if lists_this_process(&dir) {
            return Some(dir);
        }
    }
    let mounts = fs::read_to_string(proc.join("self/mountinfo")).ok()?;
    // `36 35 0:31 ROOT MOUNTPOINT OPTIONS ... - cgroup2 SOURCE OPTIONS`
    let (root, mounted) = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        kind.starts_with("cgroup2 ").then_some((fields.next()?, fields.next()?))
    })?;
    Some(join(Path::new(mounted), Path::new(place).strip_prefix(root).ok()?))
}

/// Like [`Path::join`], but adds no slash at the end if `below` is empty.
fn join(dir: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { dir.to_owned() } else { dir.join(below) }
}

/// Whether the folder is that of a cgroup that contains this process.
fn lists_this_process(dir: &Path) -> bool {
    let listed = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let own = process::id().to_string();
    listed.lines().any(|pid| pid == own)
}

#[cfg(test)]
mod tests;
