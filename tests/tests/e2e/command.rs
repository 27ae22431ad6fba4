//! `replug dev` as a user runs it, with edits and an interruption, and the commands `new`, `call` and `build`.

use replug_tests::{
    Lab, Source,
    command::{Dev, run, talk},
    hold::Hang,
    misbehave,
};
use serde_json::json;

#[test]
fn dev_reports_a_valid_edit_a_broken_one_and_its_repair() {
    let mut lab = Lab::new("the-loop");
    lab.write_source(&Source::new(1));
    let mut dev = Dev::start(&lab, &["--call", &lab.id(), "version"]);
    assert_eq!(dev.wait_for("reloaded")["generation"], 1);
    assert_eq!(dev.wait_for("call_result")["result"], 1);
    lab.write("src/lib.rs", Source::lib(2));
    let reloaded = dev.wait_for("reloaded");
    assert_eq!(reloaded["generation"], 2);
    assert!(reloaded["total_ms"].as_f64() > reloaded["stages"]["build"].as_f64(), "{reloaded}");
    assert_eq!(dev.wait_for("call_result")["result"], 2);
    lab.write("src/lib.rs", Source::lib(3).replace("a + b", "a +"));
    let failed = dev.wait_for("build_failed");
    assert!(failed["error"].as_str().is_some_and(|error| error.starts_with("src/lib.rs:")), "{failed}");
    lab.write("src/lib.rs", Source::lib(4));
    assert_eq!(dev.wait_for("reloaded")["generation"], 3);
    assert_eq!(dev.wait_for("call_result")["result"], 4);
    assert!(dev.interrupt().success());
}

#[test]
fn an_interrupt_during_a_build_ends_all_processes_of_the_build() {
    let mut lab = Lab::new("interrupted");
    let hang = Hang::save(&lab);
    lab.set_manifest("binary = \"out/plugin.so\"");
    let dev = Dev::start(&lab, &[]);
    hang.started(&lab);
    assert!(dev.interrupt().success());
}

#[test]
fn new_beside_a_running_host_prints_a_call_to_that_host() {
    let mut lab = Lab::new("new-beside-a-host");
    lab.install(misbehave("version=1"));
    // `run` does not watch the folder, so it does not build the new plugin.
    let mut host = Dev::start_as(&lab, "run", &[]);
    host.wait_for("host_started");
    let new = |name: &str| {
        let created = talk(&lab, &["new", name, "--dir", lab.plugins_dir().to_str().unwrap()]);
        String::from_utf8(created.stdout).unwrap()
    };
    let printed = new("beside");
    assert!(printed.contains(" call dev.example.beside greet '{\"name\":\"World\"}'\n"), "{printed}");
    assert!(!printed.contains(" dev "), "a second host of the folder is rejected: {printed}");
    assert!(host.interrupt().success());
    let printed = new("alone");
    assert!(printed.contains(" dev --call dev.example.alone greet '{\"name\":\"World\"}'\n"), "{printed}");
}

#[test]
fn a_call_prints_its_result_or_exits_with_1_and_the_reason() {
    let mut lab = Lab::new("called");
    lab.install(misbehave("version=1"));
    let called = |method: &str, arguments: &str| {
        let output = run(&lab, &["call", &lab.id(), method, arguments]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    for arguments in ["[\"ab\", 2]", "{\"times\": 2, \"text\": \"ab\"}"] {
        let (code, out, err) = called("repeat", arguments);
        assert_eq!((code, out.trim()), (Some(0), json!("abab").to_string().as_str()), "{err}");
    }
    for (method, arguments, words) in [
        ("repeat", "[\"x\", 1001]", ["too_often", "1001 times is too often"]),
        ("repeat", "[\"x\"]", ["takes 2 arguments (text, times)", "1 given"]),
        ("repaet", "[]", ["no method `repaet`", "did you mean `repeat`?"]),
        ("panic", "[\"so it goes\"]", ["panicked: so it goes", "src/lib.rs:"]),
    ] {
        let (code, out, err) = called(method, arguments);
        assert_eq!(code, Some(1), "{out}{err}");
        for word in words {
            assert!(format!("{out}{err}").contains(word), "`{word}` is not in: {out}{err}");
        }
    }
}

#[test]
fn the_build_command_rejects_a_library_without_export() {
    let mut lab = Lab::new("exports-nothing");
    lab.write_source(&Source::new(1));
    let exporting = Source::lib(1);
    let rest = exporting.lines().filter(|line| !line.contains("export!")).collect::<Vec<_>>().join("\n");
    lab.write("src/lib.rs", rest);
    let output = run(&lab, &["build"]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("exports no plugin: write `replug_api::export!(Type: Interface);`"), "{err}");
    assert!(output.stdout.is_empty(), "a failed build is reported as built");
}
