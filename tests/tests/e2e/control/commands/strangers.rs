//! Commands use no socket that another user could have made: one in a folder that others can enter, or one of another
//! user.

use super::{complained, running, said};
use replug_tests::{
    Lab,
    command::{Dev, command_to_host, program},
    misbehave, skipped,
};
use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

const NOBODY: u32 = 65534;

fn open_to(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn assert_refuses_to_connect(lab: &Lab, why: &str) {
    let id = lab.id();
    for args in [&["status"][..], &["call", &id, "version"], &["stop", &id], &["list"], &["events"]] {
        let err = complained(lab, args);
        assert!(err.contains("refusing to connect to") && err.contains(why), "{args:?}: {err}");
    }
}

#[test]
fn a_command_sends_nothing_to_a_socket_in_a_shared_folder() {
    let (lab, dev) = running("open-folder");
    let folder = lab.dir().join("replug");
    open_to(&folder, 0o711);
    assert_refuses_to_connect(&lab, "other users may enter it (mode 711)");
    open_to(&folder, 0o700);
    assert!(said(&lab, &["status"]).contains("ready"));
    assert!(dev.interrupt().success());
}

#[test]
fn a_command_sends_nothing_to_the_socket_of_another_user() {
    let lab = Lab::new("stranger");
    let is_root = rustix::process::geteuid().is_root();
    let mut as_nobody = Command::new(program());
    as_nobody.uid(NOBODY).gid(NOBODY).current_dir("/");
    if !is_root || !as_nobody.arg("--version").output().is_ok_and(|it| it.status.success()) {
        skipped(
            "this test must run as root, in a folder that all users can read, to start a host as another user",
        );
        return;
    }
    open_to(lab.dir(), 0o777);
    let mut host = Command::new(program());
    host.uid(NOBODY).gid(NOBODY).current_dir(lab.dir()).env("XDG_RUNTIME_DIR", lab.dir());
    host.env("HOME", lab.dir()).args(["run", "--json", "--state-dir"]).arg(lab.state_dir());
    // A host uses a runtime folder only if it belongs to the host's user.
    chown(lab.dir(), Some(NOBODY), None).unwrap();
    let mut host = Dev::of(host);
    host.wait_for("control_listening");
    chown(lab.dir(), Some(0), None).unwrap();
    assert_refuses_to_connect(&lab, "it belongs to user 65534");
    chown(lab.dir().join("replug"), Some(0), None).unwrap();
    assert_refuses_to_connect(&lab, "user 65534 listens there");
    // The sweeper of the killed host, which also runs as the other user, removes the socket.
    chown(lab.dir().join("replug"), Some(NOBODY), None).unwrap();
    host.kill();
    lab.expect_leftover_files();
}

#[test]
fn a_command_reports_that_the_host_belongs_to_another_user() {
    let mut lab = Lab::new("theirs");
    lab.install(misbehave("version=1"));
    let mut as_nobody = Command::new(program());
    as_nobody.uid(NOBODY).gid(NOBODY).current_dir("/");
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !as_nobody.arg("--version").output().is_ok_and(|it| it.status.success()) {
        skipped(
            "this test must run as root, in a folder that all users can read, to start a host as another user",
        );
        return;
    }
    open_to(lab.dir(), 0o777);
    let theirs = lab.dir().join("theirs");
    fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(NOBODY), None).unwrap();
    let mut host = Command::new(program());
    host.uid(NOBODY).gid(NOBODY).current_dir(lab.dir()).env("XDG_RUNTIME_DIR", theirs);
    host.env("HOME", lab.dir()).args(["run", "--json", "--state-dir"]).arg(lab.state_dir());
    let mut host = Dev::of(host);
    host.wait_for("host_started");
    let ask = |args: &[&str]| {
        let mut command = command_to_host(&lab, args);
        let output = command.env("REPLUG_STATE_DIR", lab.state_dir()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let id = lab.id();
    for args in [&["status"][..], &["call", &id, "version"], &["reload", &id]] {
        let (_, told) = ask(args);
        assert!(told.contains("error: the host of plugins belongs to user nobody"), "{args:?}: {told}");
        assert!(told.contains("sudo -u nobody"), "{args:?}: {told}");
    }
    let (is_listed, told) = ask(&["list"]);
    assert!(is_listed && told.contains("warning: the host of plugins belongs to user nobody"), "{told}");
    assert!(host.interrupt().success());
    let (_, told) = ask(&["status"]);
    assert!(told.contains("no host runs for plugins"), "{told}");
}
