//! Backtraces after a library has been replaced. For a backtrace, std maps the file of each library. std keeps some
//! of these mappings for the next backtrace.

use replug::manifest::Mode;
use replug_tests::{Lab, command::Dev, misbehave};
use std::{
    ffi::OsString,
    fs,
    process::{Command, Stdio},
};

/// A program that runs the lab's plugins in its own process and takes a backtrace at each panic.
fn embedder(lab: &Lab) -> Dev {
    let mut command = Command::new(env!("CARGO_BIN_EXE_embedder"));
    command.arg(lab.plugins_dir()).arg(lab.state_dir()).env("RUST_BACKTRACE", "1").stdin(Stdio::piped());
    Dev::of(command)
}

/// Makes the plugin panic in a method, and checks that the host contains the panic.
fn panic_in_a_call(host: &mut Dev, lab: &Lab) {
    let answer = host.ask(&format!("call {} panic [\"contained\"]", lab.id()));
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("contained")), "{answer}");
}

fn assert_serves(host: &mut Dev, lab: &Lab, version: u64) {
    let answer = host.ask(&format!("call {} version null", lab.id()));
    assert_eq!(answer["result"], version, "{answer}");
}

/// Makes a version panic in a call, and again in `step` while the version retires. Before the second panic, the host
/// removes the private copy of the artifact.
fn survives_a_second_panic_in(step: &str) {
    let mut lab = Lab::in_mode(&format!("backtrace-in-{step}"), Mode::InProcess);
    lab.install_with(misbehave(&format!("version=1 panic={step}")), "[reload]\npreflight = \"off\"");
    let mut host = embedder(&lab);
    panic_in_a_call(&mut host, &lab);
    lab.install(misbehave("version=2"));
    host.send(&format!("reload {}", lab.id()));
    // The two expected events come in either order. If the panic crashed the host, the next host would report the
    // crash.
    let expected = ["answer", "generation_retired"];
    let crashed = ["plugin_quarantined", "plugin_demoted", "host_crashed"];
    let told = [(); 2].map(|()| host.wait_for_any(&[&crashed[..], &expected].concat()));
    assert!(expected.iter().all(|kind| told.iter().any(|it| it["event"] == *kind)), "{told:?}");
    assert_serves(&mut host, &lab, 2);
    assert!(host.leave().success());
}

#[test]
fn a_panic_in_stop_after_a_panic_in_a_call_does_not_crash_the_host() {
    survives_a_second_panic_in("stop");
}

#[test]
fn a_panic_in_drop_after_a_panic_in_a_call_does_not_crash_the_host() {
    survives_a_second_panic_in("drop");
}

#[test]
fn panics_while_versions_are_rejected_do_not_crash_the_host() {
    let mut lab = Lab::in_mode("backtrace-rejected", Mode::InProcess);
    let manifest = "[reload]\npreflight = \"off\"";
    lab.install_with(misbehave("version=1"), manifest);
    let other = "id = \"dev.test.other\"\nmode = \"in-process\"\nbinary = \"plugin.so\"\n";
    lab.neighbour("other", format!("{other}{manifest}\n"), misbehave("version=9"));
    let mut host = embedder(&lab);
    host.wait_for("host_started");
    // The backtrace of a panic in `init` maps the file of the version, which is then rejected and removed.
    for (round, fails) in ["panic=init", "fail=init", "panic=init"].into_iter().enumerate() {
        lab.install(misbehave(&format!("version={} {fails}", round + 2)));
        (0..4).for_each(|_| host.send("call dev.test.other panic [\"contained\"]"));
        host.send(&format!("reload {}", lab.id()));
        for _ in 0..5 {
            let answer = host.wait_for_any(&["answer", "host_crashed", "plugin_demoted"]);
            assert!(answer["error"].is_string(), "{fails}: {answer}");
        }
        let copies = copies(&lab);
        assert_eq!(copies.len(), 2, "the copy of the rejected version is left: {copies:?}");
        panic_in_a_call(&mut host, &lab);
        assert_serves(&mut host, &lab, 1);
    }
    assert!(host.leave().success());
}

/// The names of the private copies in the run folder.
fn copies(lab: &Lab) -> Vec<OsString> {
    let runs = fs::read_dir(lab.state_dir().join("run")).unwrap().flatten();
    let files = runs.flat_map(|run| fs::read_dir(run.path()).unwrap().flatten());
    files.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().ends_with(".so")).collect()
}
