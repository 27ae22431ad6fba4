//! Short runs of `cargo xtask soak`, in a child process, because the run measures the whole process.

use std::{
    process::Command,
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

/// Held during a run: each run keeps all processors busy, so two concurrent runs would take longer than two successive
/// ones.
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
