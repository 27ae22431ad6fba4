//! The soak in small, in a process of its own: what it measures is the whole process.

use std::process::Command;

#[test]
fn many_reloads_of_the_numbered_fixture_lose_no_call_and_leave_little_behind() {
    let output = Command::new(env!("CARGO_BIN_EXE_soak")).args(["--reloads", "400"]).output().unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    for line in ["failed calls        0\n", "wrong generation    0\n", "\nok\n"] {
        assert!(said.contains(line), "no `{}` in\n{said}", line.trim());
    }
}
