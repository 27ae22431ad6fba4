//! The limits of a plugin's process, and its reported usage.

use replug::{
    CallError, EventKind,
    event::{Bound, Enforcer, LimitedResource, LimitsInForce},
    manifest::Mode,
};
use replug_api::call::Death;
use replug_tests::{
    Lab, Neighbour,
    command::{Dev, command, program},
    lab::Crashed,
    misbehave,
    wait::{poll_until, poll_within},
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, getuid, prlimit};
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

fn limited(name: &str, limits: &str) -> Lab {
    let mut lab = installed(name, limits);
    lab.start();
    lab
}

fn installed(name: &str, limits: &str) -> Lab {
    let mut lab = Lab::in_mode(name, Mode::Process);
    lab.install_with(misbehave("version=1"), &format!("[limits]\n{limits}"));
    lab
}

fn applied(lab: &mut Lab) -> LimitsInForce {
    lab.wait_for(|event| match &event.kind {
        EventKind::LimitsApplied(limits) => Some(limits.clone()),
        _ => None,
    })
}

fn bound(of: LimitedResource, value: u64, by: Enforcer) -> Bound {
    Bound { of, value, by }
}

#[test]
fn the_limits_in_force_and_the_lacking_limits_are_reported() {
    let mut lab = limited("told", "memory = \"1GiB\"\nopen_files = 100\ncpu_time = \"1h\"\ncgroup = \"off\"");
    let limits = applied(&mut lab);
    let expected = [
        (LimitedResource::CpuSeconds, 3600),
        (LimitedResource::MemoryBytes, 1 << 30),
        (LimitedResource::OpenFiles, 100),
    ];
    assert_eq!(limits.bounds, expected.map(|(of, value)| bound(of, value, Enforcer::Rlimit)));
    assert_eq!((limits.cgroup.as_ref(), limits.lacking.len()), (None, 1), "{limits:?}");
    assert!(limits.lacking[0].contains("address space of each process of the plugin"), "{limits:?}");
    assert_eq!(lab.host().info(&lab.id()).unwrap().limits, Some(limits));
}

#[test]
fn memory_is_bounded_by_a_cgroup_or_the_reason_is_reported() {
    let mut lab = limited("preferred", "memory = \"1GiB\"\nprocesses = 5000");
    let limits = applied(&mut lab);
    assert!(
        limits.bounds.contains(&bound(LimitedResource::MemoryBytes, 1 << 30, Enforcer::Rlimit)),
        "{limits:?}"
    );
    for of in [LimitedResource::MemoryBytes, LimitedResource::Processes] {
        let by_cgroup = limits.bounds.iter().any(|it| it.of == of && it.by == Enforcer::Cgroup);
        assert!(by_cgroup || !limits.lacking.is_empty(), "{limits:?}");
    }
}

#[test]
fn a_plugin_that_requires_a_cgroup_does_not_start_without_one() {
    let mut lab = Lab::in_mode("required", Mode::Process);
    lab.install_with(misbehave("version=1"), "[limits]\nmemory = \"1GiB\"\ncgroup = \"required\"");
    lab.start();
    match lab.host().info(&lab.id()).unwrap().limits {
        Some(limits) => {
            assert!(
                limits.bounds.contains(&bound(LimitedResource::MemoryBytes, 1 << 30, Enforcer::Cgroup)),
                "{limits:?}"
            );
            assert!(limits.lacking.is_empty() && limits.cgroup.is_some(), "{limits:?}");
        }
        None => {
            let (_, error) = lab.reload_failed();
            assert!(error.contains("it must have a cgroup (`cgroup = \"required\"`"), "{error}");
        }
    }
}

#[test]
fn processes_outside_the_process_group_end_with_the_cgroup() {
    let mut lab = limited("held", "open_files = 1000\n[process]\nrestart_wait = \"10m\"");
    let Some(cgroup) = applied(&mut lab).cgroup else {
        eprintln!("skipped: no cgroup is delegated to this process");
        return;
    };
    let error = lab.probe().misbehave("fork-away-and-abort").unwrap_err();
    assert!(
        matches!(&error, CallError::Crashed { death: Death::Signal(it), .. } if it == "SIGABRT"),
        "{error}"
    );
    assert_eq!(lab.probe().version(), Ok(1));
    // The host stops waiting if the processes that it has killed take long to end. The next host removes the cgroup then.
    let is_over = |cgroup: &Path| {
        !cgroup.exists() || fs::read_to_string(cgroup.join("cgroup.procs")).is_ok_and(|it| it.is_empty())
    };
    assert!(poll_within(Duration::from_secs(20), || is_over(&cgroup)), "the cgroup ends with its process");
    let after = lab.host().info(&lab.id()).unwrap().limits.unwrap().cgroup.unwrap();
    assert!(after.exists() && after != cgroup, "the next process has its own cgroup");
    // Dropping the lab checks that no process is left.
    drop(lab);
    assert!(poll_within(Duration::from_secs(20), || is_over(&after)));
}

#[test]
fn a_plugin_that_reaches_its_open_file_limit_is_restarted() {
    let mut lab = installed("opens", "open_files = 64\n[process]\nrestart_wait = \"10m\"");
    let neighbour = Neighbour::start(&mut lab);
    let bounds = applied(&mut lab).bounds;
    assert_eq!(bounds, [bound(LimitedResource::OpenFiles, 64, Enforcer::Rlimit)]);
    let probe = lab.probe();
    assert_eq!(probe.misbehave("open-files"), Ok(1));
    let usage = lab.host().info(&lab.id()).unwrap().process.unwrap();
    assert!(usage.open_files >= Some(64), "{usage:?}");
    assert_eq!(probe.version(), Ok(1), "existing connections stay open");
    // Two concurrent calls need another connection, which the process cannot accept. So the host starts a new process,
    // and sends it the call that the old process has not accepted.
    let other = lab.probe();
    let sleeper = thread::spawn(move || other.misbehave("sleep"));
    lab.wait_for(|event| match &event.kind {
        EventKind::Log { message, .. } if message == "about to sleep" => Some(()),
        _ => None,
    });
    assert_eq!(probe.version(), Ok(1));
    let Crashed { signal, stderr_tail, .. } = lab.crashed();
    assert_eq!(signal.as_deref(), Some("SIGKILL"));
    assert_eq!(stderr_tail, "about to open-files\nabout to sleep");
    lab.restarted();
    match sleeper.join().unwrap().unwrap_err() {
        CallError::Crashed { generation: 1, stderr_tail: it, .. } => assert_eq!(it, stderr_tail),
        other => panic!("{other}"),
    }
    assert_eq!(probe.version(), Ok(1));
    neighbour.assert_unharmed();
}

/// Asserts that the process of a plugin that performs this action reaches this limit and is killed by this signal.
fn ends_by(signal: &str, limit: &str, action: &str) {
    let mut lab = installed(action, limit);
    let neighbour = Neighbour::start(&mut lab);
    let error = lab.probe().misbehave(action).unwrap_err();
    assert!(
        matches!(&error, CallError::Crashed { death: Death::Signal(it), .. } if it == signal),
        "{action}: {error}"
    );
    let Crashed { signal: told, stderr_tail, .. } = lab.crashed();
    assert_eq!((told.as_deref(), &*stderr_tail), (Some(signal), &*format!("about to {action}")));
    lab.restarted();
    assert_eq!(lab.probe().version(), Ok(1));
    neighbour.assert_unharmed();
}

#[test]
fn a_plugin_that_reaches_its_cpu_time_limit_is_killed() {
    ends_by("SIGXCPU", "cpu_time = \"1s\"", "loop");
}

#[test]
fn a_plugin_that_reaches_its_file_size_limit_is_killed() {
    ends_by("SIGXFSZ", "file_size = \"64KiB\"", "fill-a-file");
}

/// Starts the lab's host. A script with these lines starts the plugin processes.
fn start_by_script(lab: &mut Lab, lines: &str) {
    lab.write_script("shim.sh", &format!("#!/bin/sh\n{lines} {} \"$@\"\n", program().display()));
    let script: PathBuf = lab.path("shim.sh");
    lab.start_as(|builder| builder.shim_program(script)).unwrap();
}

#[test]
fn a_plugin_that_forks_endlessly_is_bounded_by_its_process_limit() {
    let mut lab = Lab::in_mode("forks-on", Mode::Process);
    lab.install_with(misbehave("version=1"), "[limits]\nprocesses = 32");
    Neighbour::install(&lab);
    if getuid().is_root() {
        // The kernel does not limit the processes of root. This user has no other processes, and can access the same
        // files as root.
        let uid = 1_000_000_000 + std::process::id();
        let user =
            format!("--reuid={uid} --clear-groups --inh-caps=+dac_override --ambient-caps=+dac_override");
        start_by_script(&mut lab, &format!("exec setpriv {user}"));
    } else {
        lab.start();
        if applied(&mut lab).cgroup.is_none() {
            eprintln!("skipped: without a cgroup, all processes of this user count towards the limit");
            return;
        }
    }
    let neighbour = Neighbour::call(&lab);
    assert_eq!(lab.probe().misbehave("fork-on"), Ok(1));
    let processes = lab.processes().len();
    assert!((2..=32).contains(&processes), "{processes} processes");
    // After a stop, the processes have ended, so the plugin can start again.
    lab.host().stop(&lab.id()).wait().unwrap();
    lab.host().start(&lab.id()).wait().unwrap();
    // Without a cgroup, an ended process counts until process 1 has reaped it.
    poll_until(|| lab.probe().version() == Ok(1));
    neighbour.assert_unharmed();
}

#[test]
fn a_process_dumps_no_core_despite_its_inherited_limit() {
    let mut lab = Lab::in_mode("no-core", Mode::Process);
    lab.install(misbehave("version=1"));
    start_by_script(&mut lab, "ulimit -H -c unlimited 2>&-; ulimit -S -c `ulimit -H -c`; exec");
    let pid = lab.pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(
        core.split_whitespace().take(2).collect::<Vec<_>>(),
        ["0", "0"],
        "the soft and the hard limit"
    );
}

#[test]
fn a_process_inherits_no_descriptor_of_the_host() {
    let mut lab = Lab::in_mode("inherits", Mode::Process);
    lab.install(misbehave("version=1"));
    let file = lab.dir().join("not-the-plugins");
    start_by_script(&mut lab, &format!("exec 7>'{}'; exec", file.display()));
    let pid = lab.pid();
    let open: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap).collect();
    let targets: Vec<_> = open.iter().filter_map(|it| fs::read_link(it.path()).ok()).collect();
    assert!(file.exists() && targets.len() > 3 && !targets.contains(&file), "{targets:?}");
}

#[test]
fn the_socket_sweeper_keeps_no_inherited_descriptor_open() {
    let lab = Lab::new("sweeper-inherits");
    let script = "exec 7>&1 >&-; exec \"$0\" __replug-sweep \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(program()).arg(lab.dir().join("host.sock"));
    let mut sweeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // The read returns only when the sweeper has closed its end of the pipe. The sweeper runs until the end of its
    // input.
    let mut inherited = sweeper.stdout.take().unwrap();
    assert_eq!(inherited.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert!(sweeper.try_wait().unwrap().is_none(), "the sweeper keeps running");
    drop(sweeper.stdin.take());
    assert!(sweeper.wait().unwrap().success());
}

#[test]
fn limits_of_an_in_process_plugin_are_reported_as_not_in_force() {
    for mode in [Mode::InProcess, Mode::Auto] {
        let mut lab = Lab::in_mode("not-in-force", mode);
        lab.install_with(misbehave("version=1"), "[limits]\nmemory = \"1GiB\"\nprocesses = 9");
        lab.start();
        let limits = applied(&mut lab);
        assert_eq!((&*limits.bounds, &limits.cgroup), (&[][..], &None), "{mode:?}");
        assert_eq!(limits.lacking.len(), 1, "{limits:?}");
        let said = "`memory`, `processes` are not in force in the host's own process";
        assert!(limits.lacking[0].starts_with(said), "{limits:?}");
        let info = lab.host().info(&lab.id()).unwrap();
        assert_eq!((info.runs_in, info.limits), (Some(Mode::InProcess), Some(limits)));
    }
}

#[test]
fn a_call_succeeds_with_the_minimum_open_file_limit() {
    let lab = limited("fewest", "open_files = 16");
    assert_eq!(lab.probe().version(), Ok(1));
}

#[test]
fn a_host_raises_its_soft_limit_of_open_files() {
    let lab = Lab::new("open-files");
    let script = "ulimit -S -n 64; exec \"$0\" \"$@\"";
    let run = command(&lab, &["run", "--json"]);
    let mut wrapped = Command::new("sh");
    wrapped.args(["-c", script]).arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped.stdin(Stdio::null());
    let mut host = Dev::of(wrapped);
    host.wait_for("host_started");
    let limits = fs::read_to_string(format!("/proc/{}/limits", host.pid())).unwrap();
    let open = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let open: Vec<_> = open.split_whitespace().collect();
    let [soft, hard] = [open[0], open[1]].map(|limit| limit.parse().unwrap_or(u64::MAX));
    assert_eq!(soft, hard.min(65_536));
    assert!(host.interrupt().success());
}

#[test]
fn a_host_out_of_descriptors_rejects_a_call_and_keeps_the_plugin() {
    let mut lab = Lab::in_mode("host-lacks", Mode::Process);
    lab.install(misbehave("version=1"));
    let id = lab.id();
    let mut host = Dev::embedder(&lab, env!("CARGO_BIN_EXE_embedder"));
    let pid = host.wait_for("here")["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    host.wait_for("host_started");
    let none = Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) };
    let before = prlimit(Some(pid), Resource::Nofile, none).unwrap();
    // The first call has to open a connection.
    let refused = host.ask(&format!("call {id} version []"))["error"].clone();
    let words =
        format!("`version` of {id} was not called, because no connection to its process can be made: ");
    assert!(refused.as_str().is_some_and(|it| it.starts_with(&words)), "{refused}");
    prlimit(Some(pid), Resource::Nofile, before).unwrap();
    assert_eq!(host.ask(&format!("call {id} version []"))["result"], 1);
    let info = host.ask(&format!("info {id}"))["result"].clone();
    assert_eq!((&info["generation"], &info["restarts"]), (&1.into(), &0.into()), "{info}");
    assert!(host.leave().success());
}

#[test]
fn the_usage_of_a_process_is_reported_while_it_runs() {
    let mut lab = Lab::in_mode("takes", Mode::Process);
    lab.install(misbehave("version=1"));
    lab.start();
    let info = lab.host().info(&lab.id()).unwrap();
    let usage = info.process.expect("the process runs");
    assert!(usage.threads >= 2 && usage.resident_bytes > 1 << 20 && usage.cpu_seconds >= 0.0, "{usage:?}");
    assert!(usage.open_files > Some(3), "{usage:?}");
    assert_eq!((info.restarts, info.private_bytes), (0, None));
    lab.kill();
    lab.restarted();
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!((info.restarts, info.process.is_some()), (1, true));
    lab.host().stop(&lab.id()).wait().unwrap();
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!((info.process, info.limits), (None, None));
}

#[test]
fn the_private_memory_of_a_library_is_reported() {
    let mut lab = Lab::in_mode("takes", Mode::InProcess);
    lab.install(misbehave("version=1"));
    lab.start();
    let info = lab.host().info(&lab.id()).unwrap();
    assert!(info.private_bytes > Some(0) && info.process.is_none(), "{info:?}");
}
