//! Short runs of `cargo xtask kill`, in child processes, because the runs measure the whole process.

use std::process::Command;

fn run(args: &[&str], lines: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_kill")).args(args).output().expect("it runs");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    for line in [lines, &["\nok\n"]].concat() {
        assert!(said.contains(line), "no `{}` in\n{said}", line.trim());
    }
}

#[test]
fn kills_of_a_plugins_process_cause_only_the_expected_errors() {
    run(
        &["--shim", "20"],
        &["kills of a shim     20 in ", "wrong answers       0\n", "other errors        0\n"],
    );
}

#[test]
fn kills_of_a_host_at_any_moment_leave_no_process_and_no_file() {
    // A long limit, for busy machines. `cargo xtask kill` checks that the processes end within a second.
    run(&["--moments", "5", "--within", "60000"], &["kills of a host     5: ", "temporary folder    empty"]);
}
