//! The state folder is removed while the host runs, as by `git clean` or `cargo clean`. The host creates the needed
//! files again.

use replug::manifest::Mode;
use replug_tests::{Lab, command::Dev, misbehave, wait::poll_until};
use std::{fs, io::ErrorKind, os::unix::fs::PermissionsExt, path::Path};

/// Removes a folder, even if the host creates files in it at the same time.
fn remove(folder: &Path) {
    while folder.exists() {
        match fs::remove_dir_all(folder) {
            Err(error) if [ErrorKind::DirectoryNotEmpty, ErrorKind::NotFound].contains(&error.kind()) => {}
            removed => removed.unwrap(),
        }
    }
}

#[test]
fn a_host_reloads_and_restarts_after_its_state_folder_is_removed() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = Lab::in_mode("removed-state", mode);
        lab.install(misbehave("version=1"));
        lab.start();
        remove(&lab.state_dir());
        if mode == Mode::Process {
            lab.kill();
            lab.restarted();
            assert_eq!(lab.probe().version().unwrap(), 1);
            remove(&lab.state_dir());
        }
        lab.install(misbehave("version=2"));
        lab.reload().unwrap();
        assert_eq!((lab.probe().version().unwrap(), lab.probe().increment(5).unwrap()), (2, 5));
        remove(&lab.state_dir());
        lab.host().stop(&lab.id()).wait().unwrap();
        remove(&lab.state_dir().join("artifacts"));
        lab.host().start(&lab.id()).wait().unwrap();
        assert_eq!(lab.probe().value().unwrap(), 5, "{mode:?}");
        lab.shut_down();
        assert!(lab.state_dir().join(".gitignore").exists());
        lab.start();
        assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (2, 5));
    }
}

#[test]
fn a_host_writes_its_claim_and_token_again_after_they_are_removed() {
    let mut lab = Lab::new("removed-claim");
    lab.install(misbehave("version=1"));
    let mut dev = Dev::start(&lab, &["--http", "0"]);
    dev.wait_for("host_started");
    let token = lab.state_dir().join("http-token");
    let shown = fs::read_to_string(&token).unwrap();
    // The claim is the file with which a host claims a plugins folder. It contains the addresses of the host.
    let hosts = lab.state_dir().join("hosts");
    let claim = fs::read_dir(&hosts).unwrap().next().unwrap().unwrap().path();
    let said = fs::read_to_string(&claim).unwrap();
    remove(&lab.state_dir());
    // The host creates the files empty, and writes to them after that.
    for (file, content) in [(&claim, &said), (&token, &shown)] {
        poll_until(|| fs::read_to_string(file).is_ok_and(|read| read == *content));
    }
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(dev.interrupt().success());
}
