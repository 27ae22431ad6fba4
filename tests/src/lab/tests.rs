//! A test that leaves something behind fails, and each kind of leak is found.

use super::Lab;
use crate::wait::poll_until;
use std::{
    any::Any,
    fs,
    os::unix::net::UnixListener,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Child, Command},
    time::Duration,
};

/// A lab that does not wait for leftovers to disappear.
fn impatient(name: &str) -> Lab {
    let mut lab = Lab::new(name);
    lab.leftovers.patience = Duration::ZERO;
    lab
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map_or("no text", String::as_str)
}

/// Drops the lab, which must fail, and returns the message. Checks that the lab's folder is removed nevertheless.
fn failure(lab: Lab) -> String {
    let dir = lab.dir().to_owned();
    let panic = catch_unwind(AssertUnwindSafe(|| drop(lab))).expect_err("the leak fails the test");
    assert!(!dir.exists(), "the folder is removed");
    message(&*panic).to_owned()
}

/// A process in the lab's folder, which is killed when this value is dropped.
struct Leaked(Child);

impl Leaked {
    fn into(lab: &Lab) -> Self {
        let child = Command::new("sleep").arg("100000").current_dir(lab.dir()).spawn().unwrap();
        // The arguments of a process can be read only some time after it has started its program.
        let arguments = format!("/proc/{}/cmdline", child.id());
        poll_until(|| fs::read(&arguments).is_ok_and(|arguments| !arguments.is_empty()));
        Self(child)
    }
}

impl Drop for Leaked {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn the_lab_fails_a_test_that_leaves_a_process() {
    let lab = impatient("leaks-a-process");
    let _leaked = Leaked::into(&lab);
    lab.expect_leftover_files();
    let message = failure(lab);
    assert!(message.contains("the process `sleep 100000"), "{message}");
}

#[test]
fn the_lab_fails_a_test_that_leaves_a_copy_of_an_artifact() {
    let lab = impatient("leaks-a-copy");
    fs::create_dir_all(lab.state_dir().join("run/1")).unwrap();
    assert!(failure(lab).contains("state/run/1"));
}

#[test]
fn the_lab_fails_a_test_that_leaves_a_half_written_artifact() {
    let lab = impatient("leaks-half-an-artifact");
    fs::create_dir_all(lab.state_dir().join("artifacts")).unwrap();
    fs::write(lab.state_dir().join("artifacts/.half"), "").unwrap();
    assert!(failure(lab).contains("state/artifacts/.half"));
}

#[test]
fn the_lab_fails_a_test_that_leaves_a_foreign_file_in_the_state_folder() {
    let lab = impatient("leaks-a-file");
    fs::create_dir_all(lab.state_dir()).unwrap();
    fs::write(lab.state_dir().join("foreign"), "").unwrap();
    assert!(failure(lab).contains("state/foreign"));
}

#[test]
fn the_lab_fails_a_test_that_leaves_a_socket() {
    let lab = impatient("leaks-a-socket");
    lab.expect_leftover_files();
    fs::create_dir(lab.dir().join("replug")).unwrap();
    let _listener = UnixListener::bind(lab.dir().join("replug/host.sock")).unwrap();
    assert!(failure(lab).contains("the socket"));
}

#[test]
fn the_lab_accepts_leftover_files_of_a_killed_host() {
    let lab = impatient("killed");
    lab.expect_leftover_files();
    fs::create_dir_all(lab.state_dir().join("run/1")).unwrap();
    drop(lab);
}

#[test]
fn the_lab_only_cleans_up_after_a_failed_test() {
    let lab = impatient("fails");
    let dir = lab.dir().to_owned();
    fs::create_dir_all(lab.state_dir().join("run/1")).unwrap();
    let failed = catch_unwind(AssertUnwindSafe(move || {
        let _lab = lab;
        panic!("{}", "the failure of the test itself");
    }));
    assert_eq!(message(&*failed.unwrap_err()), "the failure of the test itself");
    assert!(!dir.exists());
}
