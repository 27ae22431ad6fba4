//! Short runs of the program `soak`, which `cargo xtask soak` runs. Each run is a process of its own, because `soak`
//! measures its whole process.

use rustix::process::{Pid, Signal, getpid, kill_process};
use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

#[test]
fn many_reloads_in_process_lose_no_call_and_leak_little() {
    soak(&["--reloads", "400"]);
}

#[test]
fn many_reloads_with_a_verified_unload_unmap_each_generation() {
    soak(&["--mode", "verified", "--reloads", "200"]);
}

#[test]
fn many_reloads_in_child_processes_lose_no_call_and_leak_nothing() {
    soak(&["--mode", "process", "--reloads", "140"]);
}

#[test]
fn a_soak_that_is_asked_to_exit_reports_its_figures_and_the_sender() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
    soak.args(["--reloads", "1000000"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut soak = soak.spawn().expect("it starts");
    let mut said = BufReader::new(soak.stdout.take().expect("its output is a pipe")).lines();
    let begun = said.by_ref().map(|line| line.expect("text")).any(|line| line.starts_with("reloading "));
    assert!(begun, "it ended before its first reload: {:?}", soak.wait());
    kill_process(Pid::from_child(&soak), Signal::TERM).expect("it runs");
    let said: Vec<String> = said.map(|line| line.expect("text")).collect();
    let mut complained = String::new();
    soak.stderr.take().expect("a pipe").read_to_string(&mut complained).expect("text");
    assert_eq!(soak.wait().expect("it ends").code(), Some(1), "{said:?}\n{complained}");
    assert!(said.contains(&"failed calls        0".to_owned()), "{said:?}");
    let sender = format!("error: stopped by SIGTERM from process {} (", getpid());
    assert!(complained.starts_with(&sender) && complained.contains(" of 1000000 reloads"), "{complained}");
}

/// Held during a run: each run has two threads that call without pause, so concurrent runs would compete for the
/// processors.
static ALONE: Mutex<()> = Mutex::new(());

fn soak(args: &[&str]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(env!("CARGO_BIN_EXE_soak")).args(args).output().expect("it runs");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    for line in ["failed calls        0\n", "wrong generation    0\n", "\nok\n"] {
        assert!(said.contains(line), "no `{}` in\n{said}", line.trim());
    }
}
