//! Hosts in containers that share a state folder. Each container has its own pid namespace, so the hosts may have the
//! same pid.

use replug::manifest::Mode;
use replug_tests::{Lab, command::Dev, misbehave, skipped};
use rustix::process::{Signal, kill_process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A command that runs the program in a new pid namespace. All processes of the namespace end when the command ends.
/// `None` if no pid namespace can be created.
fn contained(program: &str) -> Option<Command> {
    let command = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]).arg(program);
        command.stdin(Stdio::piped());
        command
    };
    if !command("true").output().is_ok_and(|output| output.status.success()) {
        skipped("a pid namespace cannot be created here");
        return None;
    }
    Some(command(program))
}

fn embedder(plugins: &Path, state: &Path) -> Option<Command> {
    let mut command = contained(env!("CARGO_BIN_EXE_embedder"))?;
    command.arg(plugins).arg(state);
    Some(command)
}

fn run_folders(lab: &Lab) -> Vec<PathBuf> {
    let mut folders: Vec<_> =
        fs::read_dir(lab.state_dir().join("run")).unwrap().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

/// Kills a namespace as `docker kill` kills a container, and waits until all its processes have ended.
fn kill(host: Dev) {
    kill_process(host.pid(), Signal::KILL).unwrap();
    assert!(!host.ended().success());
}

#[test]
fn a_killed_host_starts_again_with_the_same_pid() {
    let mut lab = Lab::in_mode("same-number", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let Some(command) = embedder(&lab.plugins_dir(), &lab.state_dir()) else { return };
    let mut host = Dev::of(command);
    let number = host.wait_for("here")["pid"].clone();
    host.wait_for("reloaded");
    kill(host);
    assert_eq!(run_folders(&lab).len(), 1, "the killed host has left its run folder");
    let mut host = Dev::of(embedder(&lab.plugins_dir(), &lab.state_dir()).unwrap());
    assert_eq!(host.wait_for("here")["pid"], number);
    let came_up = host.wait_for_any(&["reloaded", "reload_failed"]);
    assert_eq!(came_up["event"], "reloaded", "{came_up}");
    host.wait_for("host_started");
    assert!(host.leave().success());
}

#[test]
fn a_host_reads_the_crash_record_of_a_host_with_the_same_pid() {
    let mut lab = Lab::in_mode("same-number-crash", Mode::InProcess);
    lab.install(misbehave("version=1"));
    // The host of `embedder` is the second process of its container. So the program `victim` must be the second process
    // of its container, too, to have the same pid.
    let Some(mut command) = contained("sh") else { return };
    command.args(["-c", "\"$@\"; exit 0", "sh", env!("CARGO_BIN_EXE_victim")]);
    command.arg(lab.plugins_dir()).arg(lab.state_dir()).arg(format!("{}=write-to-null", lab.id()));
    command.stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    let left = run_folders(&lab);
    assert_eq!(left.len(), 1, "{left:?}");
    let mut host = Dev::of(embedder(&lab.plugins_dir(), &lab.state_dir()).unwrap());
    let number = host.wait_for("here")["pid"].to_string();
    let name = left[0].file_name().unwrap().to_string_lossy();
    assert_eq!(name.split('-').next(), Some(&*number), "both hosts have the same pid");
    let told = host.wait_for("plugin_quarantined");
    assert_eq!(told["method"], "misbehave", "{told}");
    assert!(host.leave().success());
}

#[test]
fn hosts_in_containers_share_a_state_folder_without_conflict() {
    let mut lab = Lab::in_mode("neighbours", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let Some(mut first) = contained("sh") else { return };
    // The first host has a pid that no process has in the other containers.
    first.args(["-c", "\"$@\"", "sh", env!("CARGO_BIN_EXE_embedder")]).arg(lab.plugins_dir());
    first.arg(lab.state_dir());
    let mut hosts = vec![(lab.id(), Dev::of(first))];
    let mut numbers = vec![hosts[0].1.wait_for("here")["pid"].clone()];
    hosts[0].1.wait_for("host_started");
    for name in ["second", "third"] {
        let plugins = lab.dir().join(name);
        fs::create_dir_all(plugins.join("p")).unwrap();
        let id = format!("dev.test.{name}.{}", lab.id().rsplit('.').next().unwrap());
        let manifest = format!("id = \"{id}\"\nmode = \"in-process\"\nbinary = \"plugin.so\"\n");
        fs::write(plugins.join("p/plugin.so"), misbehave("version=1")).unwrap();
        fs::write(plugins.join("p/plugin.toml"), manifest).unwrap();
        let mut host = Dev::of(embedder(&plugins, &lab.state_dir()).unwrap());
        numbers.push(host.wait_for("here")["pid"].clone());
        host.wait_for("host_started");
        hosts.push((id, host));
    }
    assert!(numbers[0] != numbers[1] && numbers[1] == numbers[2], "{numbers:?}");
    assert_eq!(run_folders(&lab).len(), 3, "{:?}", run_folders(&lab));
    for (id, host) in &mut hosts {
        let answer = host.ask(&format!("reload {id}"));
        assert_eq!(answer["result"], 2, "{id}: {answer}");
    }
    for (_, host) in hosts {
        assert!(host.leave().success());
    }
}
