//! Commands find the host even if they have another runtime folder, as under cron, `su` or ssh.

use replug::manifest::Mode;
use replug_tests::{
    Lab,
    command::{Dev, command, command_to_host},
    misbehave,
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Output},
};

/// A runtime folder other than that of the lab's hosts.
fn elsewhere(lab: &Lab) -> PathBuf {
    let runtime = lab.dir().join("elsewhere");
    fs::create_dir_all(&runtime).unwrap();
    runtime
}

fn from_elsewhere(lab: &Lab, mut command: Command) -> Output {
    command.env("XDG_RUNTIME_DIR", elsewhere(lab)).env("REPLUG_STATE_DIR", lab.state_dir()).output().unwrap()
}

#[test]
fn a_host_is_found_and_stays_exclusive_with_another_runtime_folder() {
    let mut lab = Lab::new("elsewhere");
    lab.install(misbehave("version=1"));
    let mut dev = Dev::start_as(&lab, "run", &[]);
    let socket = dev.wait_for("control_listening")["socket"].as_str().unwrap().to_owned();
    dev.wait_for("host_started");
    let plugins = lab.plugins_dir();
    for args in [&["status"][..], &["status", plugins.to_str().unwrap()], &["list"]] {
        let output = from_elsewhere(&lab, command_to_host(&lab, args));
        let told = format!("{output:?}");
        assert!(output.status.success() && told.contains("ready"), "{args:?}: {told}");
    }
    let output = from_elsewhere(&lab, command(&lab, &["run"]));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("a host already serves ") && told.contains(&socket), "{told}");
    assert!(dev.interrupt().success());
}

#[test]
fn the_next_host_replaces_the_address_of_a_killed_host() {
    let mut lab = Lab::new("forgotten");
    lab.install(misbehave("version=1"));
    let mut dev = Dev::start_as(&lab, "run", &[]);
    dev.wait_for("host_started");
    dev.kill();
    let mut next = command(&lab, &["run", "--json"]);
    next.env("XDG_RUNTIME_DIR", elsewhere(&lab));
    // The parent was killed. The host ends soon after its parent.
    let mut next = loop {
        let output = from_elsewhere(&lab, command_to_host(&lab, &["status"]));
        if String::from_utf8_lossy(&output.stderr).contains("no host runs") {
            break Dev::of(next);
        }
    };
    next.wait_for("host_started");
    let output = from_elsewhere(&lab, command_to_host(&lab, &["status"]));
    assert!(output.status.success(), "{output:?}");
    assert!(next.interrupt().success());
}

#[test]
fn a_host_keeps_its_automatic_port_across_a_crash() {
    let mut lab = Lab::in_mode("same-port", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let mut dev = Dev::start_as(&lab, "run", &["--http", "0"]);
    let url = dev.wait_for("control_listening")["http"].clone();
    dev.wait_for("host_started");
    let crash =
        command_to_host(&lab, &["call", &lab.id(), "misbehave", "[\"write-to-null\"]"]).output().unwrap();
    assert!(!crash.status.success(), "{crash:?}");
    assert_eq!(dev.wait_for("control_listening")["http"], url);
    dev.wait_for("host_started");
    assert!(dev.interrupt().success());
}

#[test]
fn a_call_reaches_the_host_of_a_folder_after_its_link_has_changed() {
    // `command` sets the state folder. With `command_to_host`, host and call use the default state folder.
    for command in [command as fn(&Lab, &[&str]) -> Command, command_to_host] {
        let mut lab = Lab::new("linked-elsewhere");
        fs::remove_dir(lab.plugins_dir()).unwrap();
        let lead_to = |lab: &Lab, release: &str| {
            let (folder, next) = (lab.dir().join(release).join("plugins"), lab.dir().join("next"));
            fs::create_dir_all(&folder).unwrap();
            symlink(folder, &next).unwrap();
            fs::rename(next, lab.plugins_dir()).unwrap();
        };
        for release in ["2", "1"] {
            lead_to(&lab, release);
            lab.set_manifest("binary = \"plugin.so\"");
            lab.write("plugin.so", misbehave("version=1"));
        }
        let mut run = Dev::of(command(&lab, &["run", "--json"]));
        run.wait_for("host_started");
        let increment = |lab: &Lab| {
            let output = command(lab, &["call", &lab.id(), "increment", "[3]"]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(increment(&lab), "3");
        lead_to(&lab, "2");
        assert_eq!(increment(&lab), "6", "another instance answered");
        assert!(run.interrupt().success());
    }
}
