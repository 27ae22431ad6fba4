//! Signals whose handling was changed by a plugin or by the process that started the program. Ignored signals stay
//! ignored, and the signals that the host needs still work.

use replug::manifest::Mode;
use replug_tests::{
    Lab,
    command::{Dev, command, talk},
    misbehave, skipped,
    wait::poll_until,
};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::json;
use std::{
    fs,
    process::{Command, ExitStatus, Stdio},
    thread,
};

/// The same command, started with these signals ignored. `env` is used because a shell cannot start a command with
/// SIGCHLD ignored.
fn ignoring(signals: &str, command: &Command) -> Command {
    let mut wrapped = Command::new("env");
    wrapped.arg(format!("--ignore-signal={signals}"));
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped.stdin(Stdio::null());
    wrapped
}

/// The children of a process.
fn children(of: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

pub(super) fn ignores(pid: Pid, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    u64::from_str_radix(mask, 16).unwrap() & (1 << (signal.as_raw() - 1)) != 0
}

#[test]
fn signals_ignored_from_the_start_do_not_end_the_host_or_its_parent() {
    for subcommand in ["dev", "run"] {
        let mut lab = Lab::in_mode(&format!("ignoring-{subcommand}"), Mode::Auto);
        lab.install(misbehave("version=1"));
        // `nohup` ignores SIGHUP, and a script's shell ignores SIGINT for background commands.
        let mut host = Dev::of(ignoring("HUP,INT", &command(&lab, &[subcommand, "--json"])));
        host.wait_for("host_started");
        let parent = host.pid();
        let program = children(parent);
        assert_eq!(program.len(), 1, "{program:?}");
        for pid in [parent, program[0]] {
            for signal in [Signal::HUP, Signal::INT] {
                assert!(ignores(pid, signal), "{pid} {signal:?}");
                kill_process(pid, signal).unwrap();
            }
        }
        assert!(talk(&lab, &["call", &lab.id(), "version"]).status.success());
        kill_process(parent, Signal::TERM).unwrap();
        host.wait_for("host_stopped");
        assert_eq!(host.ended().code(), Some(0));
    }
}

/// Sends a signal repeatedly until the process has ended.
fn insist(host: Dev, signal: Signal) -> ExitStatus {
    let pid = host.pid();
    thread::scope(|scope| {
        let ended = scope.spawn(|| host.ended());
        poll_until(|| {
            // An error means that the process has ended and has been reaped. The kernel assigns pids in ascending
            // order, so no other process gets this pid so soon.
            let _ = kill_process(pid, signal);
            ended.is_finished()
        });
        ended.join().unwrap()
    })
}

#[test]
fn repeated_interrupts_end_a_command_with_replaced_signal_handlers() {
    let mut lab = Lab::in_mode("taken", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let mut dev = Dev::start(&lab, &[]);
    dev.wait_for("host_started");
    assert!(talk(&lab, &["call", &lab.id(), "misbehave", "[\"take-signals\"]"]).status.success());
    assert_eq!(insist(dev, Signal::INT).code(), Some(128 + Signal::INT.as_raw()));
    lab.expect_leftover_files();
}

#[test]
fn a_repeated_sigterm_ends_a_program_with_replaced_signal_handlers() {
    let mut lab = Lab::in_mode("taken-inside", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let mut host = Dev::embedder(&lab, env!("CARGO_BIN_EXE_embedder"));
    host.wait_for("host_started");
    assert_eq!(host.ask(&format!("call {} misbehave [\"take-signals\"]", lab.id()))["result"], 1);
    assert_eq!(insist(host, Signal::TERM).code(), Some(128 + Signal::TERM.as_raw()));
    lab.expect_leftover_files();
}

/// A plugin whose build is a script that copies an artifact.
fn scripted(name: &str, mode: Mode) -> Lab {
    let mut lab = Lab::in_mode(name, mode);
    fs::write(lab.dir().join("artifact.so"), misbehave("version=1")).unwrap();
    lab.write_script("scripts/build.sh", "#!/bin/sh\nmkdir -p out && cp ../../artifact.so out/plugin.so\n");
    lab.set_manifest("binary = \"out/plugin.so\"");
    lab
}

#[test]
fn a_build_succeeds_after_a_plugin_ignores_sigchld() {
    let lab = scripted("ignored-inside", Mode::InProcess);
    let mut dev = Dev::start(&lab, &[]);
    dev.wait_for("host_started");
    assert!(talk(&lab, &["call", &lab.id(), "misbehave", "[\"ignore-sigchld\"]"]).status.success());
    fs::write(lab.dir().join("artifact.so"), misbehave("version=2")).unwrap();
    let reloaded = talk(&lab, &["reload", &lab.id()]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    let version = talk(&lab, &["call", &lab.id(), "version"]);
    assert_eq!(String::from_utf8_lossy(&version.stdout).trim(), "2");
    assert!(dev.interrupt().success());
}

#[test]
fn a_build_succeeds_in_a_program_started_with_sigchld_ignored() {
    let lab = scripted("ignored-outside", Mode::Auto);
    let build = ignoring("CHLD", &command(&lab, &["build"])).output().unwrap();
    assert!(build.status.success(), "{build:?}");
    let call = ignoring("CHLD", &command(&lab, &["call", &lab.id(), "version"])).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&call.stdout).trim(), "1", "{call:?}");
}

#[test]
fn a_parent_with_pid_1_reaps_orphans() {
    let mut lab = Lab::in_mode("as-process-1", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let can = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    if !geteuid().is_root() || !can.is_ok_and(|output| output.status.success()) {
        skipped("a pid namespace cannot be created here");
        return;
    }
    let run = command(&lab, &["run", "--json"]);
    let mut namespace = Command::new("unshare");
    namespace.args(["--pid", "--fork", "--mount-proc"]).arg(run.get_program()).args(run.get_args());
    namespace.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    namespace.current_dir(lab.dir()).stdin(Stdio::null());
    let mut host = Dev::of(namespace);
    host.wait_for("host_started");
    let parent = children(host.pid())[0];
    // Some orphans from the start may not have been reaped yet.
    let before = children(parent);
    let is_reaped = || children(parent).iter().all(|child| before.contains(child));
    let done = lab.dir().join("done");
    assert!(Command::new("mkfifo").arg(&done).status().unwrap().success());
    // The parent of the inner process ends first, so the inner process becomes an orphan.
    let script = format!("sh:(sh -c 'sleep 0; echo > {}' &)", done.display());
    let call = talk(&lab, &["call", &lab.id(), "misbehave", &json!([script]).to_string()]);
    assert!(call.status.success(), "{call:?}");
    fs::read(&done).unwrap();
    poll_until(is_reaped);
    kill_process(parent, Signal::TERM).unwrap();
    host.wait_for("host_stopped");
    assert_eq!(host.ended().code(), Some(0));
}
