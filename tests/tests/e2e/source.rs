//! Sources that do not build, that are not a plugin, or that do not match the host's handles.

use replug::{CallError, EventKind, Handle, event::Stage};
use replug_tests::{Lab, Source, Tally, hold::Hang, misbehave};
use std::fs;

/// A host that runs version 1 of the template and watches its source.
fn running(name: &str) -> (Lab, Handle<dyn Tally>) {
    let mut lab = Lab::new(name);
    lab.write_source(&Source::new(1));
    lab.start_watching();
    let tally: Handle<dyn Tally> = lab.host().get(&lab.id()).unwrap();
    assert_eq!((tally.version().unwrap(), tally.add(1, 2).unwrap()), (1, 3));
    lab.told_since();
    (lab, tally)
}

#[test]
fn a_compile_error_names_its_line_and_the_repaired_version_serves() {
    let (mut lab, tally) = running("does-not-compile");
    let broken = Source::lib(2).replace("a + b", "a + c");
    let line = broken.lines().position(|line| line.contains("a + c")).unwrap() + 1;
    lab.write("src/lib.rs", &broken);
    let (error, diagnostics) = lab.build_failed();
    assert_eq!(error, format!("src/lib.rs:{line}: cannot find value `c` in this scope"));
    let first = &diagnostics[0];
    assert_eq!((first.level.name(), first.line), ("error", Some(line)));
    assert_eq!(first.file.as_deref(), Some(fs::canonicalize(lab.path("src/lib.rs")).unwrap().as_path()));
    assert!(first.rendered.contains("not found in this scope"), "{}", first.rendered);
    assert_eq!(tally.version().unwrap(), 1);
    lab.write("src/lib.rs", Source::lib(3));
    assert_eq!(lab.reloaded().0.0, 2);
    assert_eq!(tally.version().unwrap(), 3);
}

#[test]
fn a_library_without_export_is_rejected_with_the_line_to_add() {
    let (mut lab, tally) = running("no-export");
    lab.write("src/lib.rs", Source::lib(2).replace("replug_api::export!(Template: Tally);", ""));
    let (stage, error) = lab.reload_failed();
    assert_eq!(stage, Stage::Preflight);
    assert!(error.contains("write `replug_api::export!(Type: Interface);`"), "{error}");
    assert_eq!(tally.version().unwrap(), 1);
}

#[test]
fn a_package_that_is_no_cdylib_is_rejected_with_the_line_to_add() {
    let (mut lab, tally) = running("no-cdylib");
    let cargo_toml = fs::read_to_string(lab.path("Cargo.toml")).unwrap();
    lab.write("Cargo.toml", cargo_toml.replace("crate-type = [\"cdylib\"]", "crate-type = [\"rlib\"]"));
    let (error, _) = lab.build_failed();
    assert!(error.contains("is not a cdylib; add `crate-type = [\"cdylib\"]` under `[lib]`"), "{error}");
    assert_eq!(tally.version().unwrap(), 1);
    lab.write("Cargo.toml", cargo_toml);
    lab.write("src/lib.rs", Source::lib(2));
    lab.reloaded();
    assert_eq!(tally.version().unwrap(), 2);
}

#[test]
fn a_workspace_with_two_cdylibs_must_name_the_plugin() {
    let mut lab = Lab::new("two-cdylibs");
    for package in ["one", "two"] {
        lab.write(
            &format!("{package}/Cargo.toml"),
            format!("[package]\nname = \"{package}\"\n[lib]\ncrate-type = [\"cdylib\"]\n"),
        );
        lab.write(&format!("{package}/src/lib.rs"), "");
    }
    lab.write("Cargo.toml", "[workspace]\nmembers = [\"one\", \"two\"]\nresolver = \"3\"\n");
    lab.set_manifest("");
    lab.start();
    let (error, _) = lab.build_failed();
    assert!(
        error.contains("2 packages are cdylibs: `one`, `two`; name the plugin with `package`"),
        "{error}"
    );
}

#[test]
fn a_panic_of_a_cargo_build_script_is_reported_with_its_message() {
    let (mut lab, tally) = running("build-rs-fails");
    lab.write("build.rs", "fn main() { panic!(\"no license found\"); }");
    lab.write("Cargo.toml", fs::read_to_string(lab.path("Cargo.toml")).unwrap() + "# touched\n");
    let (error, _) = lab.build_failed();
    assert!(error.contains("cargo failed") && error.contains("no license found"), "{error}");
    assert_eq!(tally.version().unwrap(), 1);
}

#[test]
fn panic_abort_is_rejected_with_the_line_to_remove() {
    let (mut lab, tally) = running("panic-abort");
    let cargo_toml = fs::read_to_string(lab.path("Cargo.toml")).unwrap();
    lab.write("Cargo.toml", cargo_toml.replace("debug = false", "debug = false\npanic = \"abort\""));
    let (error, _) = lab.build_failed();
    assert!(error.contains("the profile `dev` has `panic = \"abort\"`"), "{error}");
    assert!(error.contains("remove that line from the profile"), "{error}");
    assert_eq!(tally.version().unwrap(), 1);
}

/// A plugin with this build script. The script can copy the artifact `ready.so`.
fn scripted(name: &str, script: &str) -> Lab {
    let mut lab = Lab::new(name);
    lab.write("ready.so", misbehave("version=1"));
    lab.write_script("scripts/build.sh", script);
    lab.set_manifest("binary = \"out/plugin.so\"");
    lab
}

const COPY: &str = "#!/bin/sh\nset -e\nmkdir -p out\ncp ready.so out/plugin.so\n";

#[test]
fn a_failed_build_script_is_reported_with_its_last_output() {
    let mut lab = scripted("script-fails", COPY);
    lab.start_watching();
    assert_eq!(lab.probe().version().unwrap(), 1);
    lab.write_script("scripts/build.sh", "#!/bin/sh\necho 'the compiler is on holiday' >&2\nexit 3\n");
    let (error, _) = lab.build_failed();
    assert!(error.contains("scripts/build.sh: the build script failed (exit status: 3):"), "{error}");
    assert!(error.contains("the compiler is on holiday"), "{error}");
    assert_eq!(lab.probe().version().unwrap(), 1);
}

#[test]
fn a_build_that_hangs_is_ended_by_the_next_save() {
    let mut lab = scripted("build-hangs", COPY);
    lab.start_watching();
    assert_eq!(lab.probe().version().unwrap(), 1);
    lab.told_since();
    lab.write_script("scripts/build.sh", "#!/bin/sh\nsleep 100000 & wait\n");
    lab.wait_for(|event| matches!(event.kind, EventKind::BuildStarted { .. }).then_some(()));
    assert_eq!(lab.probe().version().unwrap(), 1);
    lab.write("ready.so", misbehave("version=2"));
    lab.wait_for(|event| matches!(event.kind, EventKind::BuildSuperseded).then_some(()));
    lab.write_script("scripts/build.sh", COPY);
    lab.reloaded();
    assert_eq!(lab.probe().version().unwrap(), 2);
}

#[test]
fn a_build_without_output_for_too_long_is_ended() {
    let mut lab = scripted("build-times-out", "#!/bin/sh\nsleep 100000 & wait\n");
    lab.set_manifest("binary = \"out/plugin.so\"\n[build]\ntimeout = \"50ms\"");
    lab.start();
    let (error, _) = lab.build_failed();
    assert!(error.contains("build timed out after 50ms without output"), "{error}");
}

#[test]
fn a_shutdown_ends_all_processes_of_a_hanging_build() {
    let mut lab = scripted("shutdown-ends-build", COPY);
    lab.start_watching();
    Hang::save(&lab).started(&lab);
    assert_eq!(lab.probe().version().unwrap(), 1);
}

#[test]
fn a_host_that_is_dropped_without_a_shutdown_ends_a_build_that_hangs() {
    let mut lab = scripted("drop-ends-build", COPY);
    lab.start_watching();
    Hang::save(&lab).started(&lab);
    let probe = lab.probe();
    lab.drop_host();
    assert_eq!(probe.version().unwrap(), 1, "the plugin still serves");
}

/// Waits until a version that was built is rejected. Two files have changed, and on a busy machine the host may have
/// built the first change alone, which does not compile.
fn rejected(lab: &mut Lab) -> (Stage, String) {
    lab.wait_for(|event| match &event.kind {
        EventKind::ReloadFailed { stage, error, .. } => Some(Some((*stage, error.clone()))),
        EventKind::BuildFailed { .. } => Some(None),
        _ => None,
    })
    .unwrap_or_else(|| rejected(lab))
}

#[test]
fn a_version_without_the_interface_of_a_live_handle_is_rejected() {
    let (mut lab, tally) = running("other-interface");
    let other = Source::new(2).with_interface("pub trait Tally", "pub trait Score");
    lab.write("src/tally.rs", &other.others[0].1);
    lab.write("src/lib.rs", Source::lib(2).replace("Tally", "Score"));
    let (stage, error) = rejected(&mut lab);
    assert_eq!(stage, Stage::Load);
    let expected =
        format!("{} does not implement `Tally`, which the host asks for; it implements `Score`", lab.id());
    assert!(error.contains(&expected), "{error}");
    assert_eq!(tally.version().unwrap(), 1);
}

#[test]
fn a_changed_method_is_rejected_with_its_name_and_types() {
    let (mut lab, tally) = running("changed-type");
    let changed = Source::new(2).with_interface("add(&self, a: u64, b: u64)", "add(&self, a: u64, b: f64)");
    lab.write("src/tally.rs", &changed.others[0].1);
    lab.write(
        "src/lib.rs",
        Source::lib(2).replace("b: u64) -> u64 {\n        a + b", "b: f64) -> u64 {\n        a + b as u64"),
    );
    let (stage, error) = rejected(&mut lab);
    assert_eq!(stage, Stage::Load);
    assert!(error.contains(&format!("`Tally` of {} differs from the host's", lab.id())), "{error}");
    assert!(error.contains("`add`: parameter `b` is u64 in the host and f64 in the plugin"), "{error}");
    assert_eq!((tally.version().unwrap(), tally.add(1, 2).unwrap()), (1, 3));
}

#[test]
fn a_plugin_without_the_newest_method_serves_all_others() {
    let mut lab = Lab::new("lacks-a-method");
    let older = Source::new(1)
        .with_interface("    /// `a + b`\n    fn add(&self, a: u64, b: u64) -> u64;\n", "")
        .edited("    fn add(&self, a: u64, b: u64) -> u64 {\n        a + b\n    }\n", "");
    lab.write_source(&older);
    lab.start_watching();
    let tally: Handle<dyn Tally> = lab.host().get(&lab.id()).unwrap();
    assert_eq!(tally.version().unwrap(), 1);
    let error = tally.add(1, 2).unwrap_err();
    assert!(matches!(error, CallError::NotImplemented { .. }));
    assert_eq!(
        error.to_string(),
        format!("{} g1 has no method `add`: rebuild it with the current version of the interface", lab.id())
    );
    lab.write("src/tally.rs", &Source::new(2).others[0].1);
    lab.write("src/lib.rs", Source::lib(2));
    while tally.version().unwrap() == 1 {
        lab.attempted();
    }
    assert_eq!(tally.add(1, 2).unwrap(), 3);
}
