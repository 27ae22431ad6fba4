//! Checks of the system: inotify, thread-local keys, memory, cgroups, and the system call `membarrier`, which makes
//! calls of plugins cheap.

use super::Finding;
use replug_builder::watch::file_system_without_events;
use replug_engine::preflight::{Budget, KEYS_PER_OWN_STD};
use replug_runtime::{
    lane,
    load::process::{CGROUP_CONTROLLERS, CgroupError, Delegated, delegated},
};
use rustix::{
    process::{Resource, getrlimit, getuid},
    thread::{MembarrierCommand, MembarrierQuery, membarrier_query},
};
use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

pub(super) fn examine(budget: &Budget) -> Vec<Finding> {
    let limit = |name| read_number(&format!("/proc/sys/fs/inotify/{name}"));
    let used = Inotify::of_this_user();
    vec![
        inotify_watches(used.watches, limit("max_user_watches")),
        inotify_instances(used.instances, limit("max_user_instances")),
        file_events(
            file_system_without_events(Path::new("."))
                .or_else(|| file_system_without_events(Path::new("plugins"))),
        ),
        tls_keys(budget),
        memory(available_bytes(), getrlimit(Resource::As).current, budget),
        membarrier(membarrier_query()),
        cgroup(delegated()),
        lanes(lane::probe(), lane::usable_processors(), lane::probe_move()),
    ]
}

/// The inotify resources that the processes of one user hold.
#[derive(Default)]
struct Inotify {
    watches: u64,
    instances: u64,
}

impl Inotify {
    /// The resources of all processes of this user, because the limits are per user. Unreadable processes are left out.
    fn of_this_user() -> Self {
        let mut all = Self::default();
        let me = getuid().as_raw();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        for process in processes.filter(|entry| entry.metadata().is_ok_and(|found| found.uid() == me)) {
            let open = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
            for fd in open {
                if fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == "anon_inode:inotify") {
                    all.instances += 1;
                    let info = process.path().join("fdinfo").join(fd.file_name());
                    let info = fs::read_to_string(info).unwrap_or_default();
                    all.watches += info.lines().filter(|line| line.starts_with("inotify")).count() as u64;
                }
            }
        }
        all
    }
}

fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

pub(super) fn inotify_watches(used: u64, limit: Option<u64>) -> Finding {
    // replug needs one watch for each folder. This number is enough for about a hundred plugins with their
    // dependencies.
    const WANTED: u64 = 1000;
    const NAME: &str = "inotify watches";
    let Some(limit) = limit else {
        return Finding::warn(NAME, "limit unknown")
            .costs("changes may go unnoticed; `replug reload` still works");
    };
    let found = format!("{used} of {limit} in use");
    if limit.saturating_sub(used) >= WANTED {
        return Finding::ok(NAME, found);
    }
    Finding::warn(NAME, found)
        .costs("folders beyond the limit are not watched, so edits there cause no reload")
        .remedy("run `sudo sysctl fs.inotify.max_user_watches=524288`; to keep the value, add the setting to a file in /etc/sysctl.d")
}

pub(super) fn inotify_instances(used: u64, limit: Option<u64>) -> Finding {
    const NAME: &str = "inotify instances";
    let Some(limit) = limit else {
        return Finding::warn(NAME, "limit unknown")
            .costs("changes may go unnoticed; `replug reload` still works");
    };
    let found = format!("{used} of {limit} in use");
    if used < limit {
        return Finding::ok(NAME, found);
    }
    Finding::fail(NAME, found)
        .costs("no folder can be watched, so edits cause no reload")
        .remedy("end programs that watch files, or run `sudo sysctl fs.inotify.max_user_instances=1024`")
}

/// `silent` is the name of this folder's file system, if this file system does not report every change.
pub(super) fn file_events(silent: Option<&str>) -> Finding {
    const NAME: &str = "file events";
    let Some(name) = silent else {
        return Finding::ok(NAME, "the file system of this folder reports changes");
    };
    Finding::warn(NAME, format!("this folder is on {name}, which does not report every change"))
        .costs("`replug dev` polls all watched files once a second, and may notice an edit up to one second late")
        .remedy("set `watch_poll` to a different interval, or keep the source on a local file system")
}

pub(super) fn tls_keys(budget: &Budget) -> Finding {
    const NAME: &str = "thread-local keys";
    let Budget { tls_keys_used: used, tls_keys_limit: limit, tls_keys_reserve: reserve, .. } = *budget;
    let left = limit.saturating_sub(reserve).saturating_sub(used) / KEYS_PER_OWN_STD;
    let found = format!("{used} of {limit} in use by this process, {reserve} reserved");
    if left > 0 {
        return Finding::ok(NAME, format!("{found}: room for {left} generations with their own copy of std"));
    }
    Finding::warn(NAME, found)
        .costs("plugins with their own copy of std are rejected; plugins that link the shared libstd are not")
        .remedy("restart the host, and have replug build the plugins")
}

pub(super) fn memory(available: Option<u64>, address_space: Option<u64>, budget: &Budget) -> Finding {
    const NAME: &str = "memory";
    // The memory that rustc and the linker need for a plugin of ordinary size.
    const FOR_A_BUILD: u64 = 512 << 20;
    let has =
        available.map_or("available memory unknown".to_owned(), |bytes| format!("{} available", mib(bytes)));
    let limit = address_space.map_or("no limit on address space".to_owned(), |bytes| {
        format!("address space limited to {}", mib(bytes))
    });
    let found = format!(
        "{has}, {limit}; retired generations keep {} of at most {}",
        mib(budget.bytes_retained),
        mib(budget.bytes_limit)
    );
    if available.is_some_and(|bytes| bytes < FOR_A_BUILD) {
        return Finding::warn(NAME, found)
            .costs("the system may kill a build, or the host")
            .remedy("free some memory, or build with fewer jobs (`CARGO_BUILD_JOBS=1`)");
    }
    if address_space.is_some_and(|bytes| bytes < budget.bytes_limit.saturating_mul(2)) {
        return Finding::warn(NAME, found)
            .costs("loading fails before replug's own limit is reached")
            .remedy("run `ulimit -v unlimited`");
    }
    Finding::ok(NAME, found)
}

pub(super) fn membarrier(supported: MembarrierQuery) -> Finding {
    const NAME: &str = "membarrier";
    let wanted = [MembarrierCommand::PrivateExpedited, MembarrierCommand::RegisterPrivateExpedited];
    if wanted.into_iter().all(|command| supported.contains_command(command)) {
        return Finding::ok(NAME, "private expedited");
    }
    Finding::warn(NAME, "not supported")
        .costs("each call executes a memory fence, which takes some nanoseconds")
        .remedy("use Linux 4.14 or later; in a container, use a seccomp profile that allows membarrier(2)")
}

pub(super) fn cgroup(delegated: Result<Delegated, CgroupError>) -> Finding {
    const NAME: &str = "cgroup";
    const REMEDY: &str = "run the host as a systemd unit with `Delegate=yes` and `DelegateSubgroup=host`";
    let Delegated { dir, controllers } = match delegated {
        Ok(delegated) => delegated,
        Err(error) => {
            return Finding::warn(NAME, error.to_string())
                .costs("`memory` and `processes` in `[limits]` apply to each process separately, and a process that a plugin has started in a new session outlives the plugin")
                .remedy(REMEDY);
        }
    };
    let dir = dir.display();
    if controllers.len() == CGROUP_CONTROLLERS.len() {
        return Finding::ok(
            NAME,
            format!("{dir} is delegated to this process (controllers: {})", controllers.join(", ")),
        );
    }
    let with = if controllers.is_empty() { "no controllers".into() } else { controllers.join(" and ") };
    Finding::warn(NAME, format!("{dir} is delegated to this process, with {with} enabled"))
        .costs("a plugin's process is killed together with all processes that it has started, but `memory` and `processes` in `[limits]` apply to each process separately")
        .remedy(REMEDY)
}

/// `moves` is whether a thread can move to another processor.
pub(super) fn lanes(memory: io::Result<()>, processors: usize, moves: io::Result<bool>) -> Finding {
    const NAME: &str = "process lanes";
    const MEMORY: &str = "shared memory, because this process can create and seal it, unless a manifest says `process.lane = \"socket\"`";
    if let Err(error) = memory {
        return Finding::warn(NAME, format!("sockets only: cannot create sealed shared memory: {error}"))
            .costs("each call into a child process needs two wake-ups of a thread")
            .remedy("use a 64-bit Linux 3.17 or later; in a container, use a seccomp profile that allows memfd_create(2)");
    }
    if processors == 1 {
        let reason = "because this process may use only one processor";
        return Finding::ok(NAME, format!("{MEMORY}; a waiting thread sleeps at once, {reason}"));
    }
    let spins = format!(
        "{MEMORY}; a waiting thread spins for up to {} before it sleeps, because this process may use {processors} \
         processors",
        humantime::format_duration(lane::LONGEST_SPIN)
    );
    let reason = match moves {
        Ok(true) => {
            let moves = "a plugin's thread that shares a processor with its caller moves to another one";
            return Finding::ok(NAME, format!("{spins}; {moves}"));
        }
        Ok(false) => "a thread may use only one processor".to_owned(),
        Err(error) => format!("sched_setaffinity(2) fails: {error}"),
    };
    Finding::warn(NAME, format!("{spins}; a plugin's thread cannot move to another processor: {reason}"))
        .costs("if a plugin's thread shares a processor with its caller, each call needs two wake-ups of a thread")
        .remedy("in a container, use a seccomp profile that allows sched_setaffinity(2)")
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
