//! What happens to functions that a plugin has registered in the program, such as a panic hook, when the plugin's
//! library is unmapped. Each test uses a separate program, because a call of an unmapped function would crash it.

use replug::manifest::Mode;
use replug_tests::{Lab, command::Dev, misbehave, workspace};
use std::process::Command;

/// Makes a plugin perform this action in a call. Then stops the plugin, which unmaps its library, and starts the plugin
/// again.
fn stopped_and_started(action: &str) -> (Lab, Dev) {
    let mut lab = Lab::in_mode(&format!("leaves-{action}"), Mode::InProcess);
    let unload = "[reload]\nunload = \"verified\"\ndrain_timeout = \"1m\"";
    lab.install_with(misbehave("version=1"), unload);
    let mut host = Dev::embedder(&lab, env!("CARGO_BIN_EXE_embedder"));
    let id = lab.id();
    host.ask(&format!("call {id} misbehave [\"{action}\"]"));
    host.send(&format!("stop {id}"));
    // The two events come in either order.
    let told = [(); 2].map(|()| host.wait_for_any(&["answer", "generation_retired"]));
    assert!(told.iter().any(|event| event["outcome"] == "unloaded"), "{told:?}");
    let answer = host.ask(&format!("start {id}"));
    assert!(answer["error"].is_null(), "{answer}");
    (lab, host)
}

#[test]
fn a_panic_hook_of_a_plugin_is_removed_with_its_library() {
    let (lab, mut host) = stopped_and_started("set-a-panic-hook");
    let answer = host.ask(&format!("call {} panic [\"afterwards\"]", lab.id()));
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("afterwards")), "{answer}");
    assert!(host.leave().success());
}

#[test]
fn exit_handlers_of_a_plugin_run_when_its_library_is_unmapped() {
    let (_lab, host) = stopped_and_started("leave-something-for-the-exit");
    assert!(host.leave().success());
}

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
