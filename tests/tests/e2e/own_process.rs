//! Each test runs in its own process, and the harness reports its result and output as it would for a test on a thread.

use replug_tests::own_process::once_in_run;
use std::{
    env, fs,
    process::{Command, Output, abort},
};

/// The environment variable that tells a restarted test how to end.
const END: &str = "REPLUG_TEST_END";

/// Runs one test of this program as a person would.
fn started(test: &str, end: &str, flags: &[&str]) -> (Output, String) {
    let mut command = Command::new(env::current_exe().unwrap());
    let output =
        command.args(["--exact", test]).args(flags).env_remove("E2E_RUN").env(END, end).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[test]
fn a_test_runs_in_a_process_that_the_harness_has_started() {
    let parent = rustix::process::getppid().unwrap();
    let program = fs::read_link(format!("/proc/{parent}/exe")).unwrap();
    assert_eq!(program, env::current_exe().unwrap());
}

#[test]
fn a_failed_test_is_reported_with_its_output() {
    const NAME: &str = "own_process::a_failed_test_is_reported_with_its_output";
    match env::var(END).as_deref() {
        Ok("panic") => panic!("the reason"),
        Ok("abort") => abort(),
        Ok(_) => return println!("printed"),
        Err(_) => {}
    }
    let (output, text) = started(NAME, "panic", &[]);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains(&format!("test {NAME} ... FAILED")), "{text}");
    assert!(text.contains("the reason") && text.contains("tests/e2e/own_process.rs"), "{text}");
    for once in ["running 1 test", "stdout ----", "test result:"] {
        assert_eq!(text.matches(once).count(), 1, "{once}: {text}");
    }

    let (output, text) = started(NAME, "abort", &[]);
    assert!(!output.status.success() && text.contains("ended early: signal: 6"), "{text}");

    for (flag, shown) in [("--nocapture", true), ("--show-output", true), ("--quiet", false)] {
        let (output, text) = started(NAME, "print", &[flag]);
        assert!(output.status.success(), "{text}");
        assert_eq!(text.lines().any(|line| line == "printed"), shown, "{flag}: {text}");
        assert_eq!(text.matches("running 1 test").count(), 1, "{flag}: {text}");
    }
}

#[test]
fn a_shared_resource_of_a_test_run_is_created_once() {
    let made = once_in_run("own-process-test", || "first".into());
    assert_eq!(made, "first");
    assert_eq!(once_in_run("own-process-test", || unreachable!("it is made")), "first");
}
