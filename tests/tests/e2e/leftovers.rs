//! The panic hook of a program that shares the standard library with its plugins.

use replug::manifest::Mode;
use replug_tests::{Lab, misbehave, workspace};
use std::process::Command;

/// The output of a test program that is linked to the shared standard library.
fn printed_by_a_program_that_shares_std(lab: &Lab) -> String {
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "rustc",
        "--quiet",
        "--package",
        "replug-tests",
        "--bin",
        "shares_std",
        "--",
        "-Cprefer-dynamic",
    ]);
    assert!(build.current_dir(workspace()).status().unwrap().success(), "the program is built");
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir"]).current_dir(workspace());
    let libraries = String::from_utf8(rustc.output().unwrap().stdout).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_shares_std"));
    program
        .arg(lab.plugins_dir())
        .arg(lab.state_dir())
        .arg(lab.id())
        .env("LD_LIBRARY_PATH", libraries.trim());
    let output = program.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_program_that_shares_std_with_its_plugins_keeps_its_panic_hook() {
    let mut lab = Lab::in_mode("shares-std", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let printed = printed_by_a_program_that_shares_std(&lab);
    let lines: Vec<_> = printed.lines().collect();
    let expected = ["own hook: the program, first", "own hook: the program, second"];
    let heard: Vec<_> = lines.iter().filter(|line| line.starts_with("own hook")).copied().collect();
    assert_eq!(heard, expected, "{printed}");
    let plugin: Vec<_> = lines.iter().filter(|line| line.starts_with("plugin: ")).collect();
    assert_eq!(plugin.len(), 2, "{printed}");
    assert!(
        plugin.iter().all(|line| line.contains("(src/lib.rs:")),
        "a panic of the plugin has no location: {printed}"
    );
}
