//! What a host keeps across a restart: the serving versions, the stopped plugins, and the states of plugins.

use replug::{
    EventKind, Generation, Handle, HostError, Status, error::ReloadCause, event::Stage, manifest::Mode,
};
use replug_tests::{
    Hold, Lab, Source,
    command::{Dev, talk},
    misbehave, stateless,
};
use rustix::{
    fs::{CWD, FileType, mknodat},
    process::{Signal, kill_process},
};
use serde_json::json;
use std::{fs, path::PathBuf};

/// Copies the artifact in `src`. If there is a pipe called `gate`, the script first waits until a line is written to
/// it.
const SCRIPT: &str = "#!/bin/sh
set -e
if [ -p gate ]; then read -r line < gate; fi
if [ ! -f src/plugin.so ]; then echo 'it does not compile' >&2; exit 1; fi
mkdir -p out
cp src/plugin.so out/plugin.so
";

/// A plugin with a build script, so that tests can break its source and delay its builds.
fn scripted(name: &str, directives: &str, lines: &str) -> Lab {
    let mut lab = Lab::new(name);
    lab.write_script("scripts/build.sh", SCRIPT);
    write_source(&lab, directives);
    lab.set_manifest(&format!("binary = \"out/plugin.so\"\n{lines}"));
    lab
}

fn write_source(lab: &Lab, directives: &str) {
    lab.write("src/plugin.so", misbehave(directives));
}

fn break_source(lab: &Lab) {
    fs::remove_file(lab.path("src/plugin.so")).unwrap();
}

/// Makes the next build wait until the gate is opened.
fn close_gate(lab: &Lab) -> PathBuf {
    let gate = lab.path("gate");
    mknodat(CWD, &gate, FileType::Fifo, 0o600.into(), 0).unwrap();
    gate
}

/// Lets the waiting build continue.
fn open_gate(gate: PathBuf) {
    // This waits until the build opens the pipe.
    let opened = fs::OpenOptions::new().write(true).open(&gate).unwrap();
    fs::remove_file(gate).unwrap();
    std::io::Write::write_all(&mut &opened, b"\n").unwrap();
}

fn restart(lab: &mut Lab) {
    lab.shut_down();
    lab.start();
}

fn version(lab: &Lab) -> u64 {
    lab.call("version", json!(null)).unwrap().as_u64().unwrap()
}

fn unchanged(lab: &mut Lab) {
    lab.wait_for(|event| matches!(event.kind, EventKind::BuildUnchanged { .. }).then_some(()));
}

#[test]
fn a_host_serves_a_stored_version_while_a_newer_one_builds() {
    let mut lab = scripted("from-the-store", "version=1", "");
    lab.start();
    assert_eq!(version(&lab), 1);
    lab.shut_down();
    write_source(&lab, "version=2");
    let gate = close_gate(&lab);
    // The start must not wait for the build, which cannot end yet.
    lab.start();
    assert_eq!(version(&lab), 1);
    lab.wait_for(|event| matches!(event.kind, EventKind::BuildStarted { .. }).then_some(()));
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!((info.status, info.detail.as_str()), (Status::Ready, "building"));
    assert_eq!(info.generation, Some(Generation(2)), "the numbers of generations continue");
    open_gate(gate);
    assert_eq!(lab.reloaded().0, Generation(3));
    assert_eq!(version(&lab), 2);
}

#[test]
fn a_broken_source_leaves_the_last_version_serving_across_restarts() {
    let mut lab = scripted("broken-over-restarts", "version=1", "");
    lab.start();
    break_source(&lab);
    for _ in 0..2 {
        restart(&mut lab);
        let (error, _) = lab.build_failed();
        assert!(error.contains("it does not compile"), "{error}");
        assert_eq!(version(&lab), 1);
        let info = lab.host().info(&lab.id()).unwrap();
        assert_eq!(info.status, Status::Ready);
        assert!(info.detail.contains("it does not compile"), "{}", info.detail);
    }
    // A stopped plugin starts although its source does not compile.
    lab.host().stop(&lab.id()).wait().unwrap();
    lab.host().start(&lab.id()).wait().unwrap();
    assert_eq!(version(&lab), 1);
    write_source(&lab, "version=2");
    restart(&mut lab);
    while lab.reloaded().0 != Generation(6) {}
    assert_eq!(version(&lab), 2);
}

#[test]
fn a_broken_cargo_project_keeps_the_last_version_across_a_restart() {
    let mut lab = Lab::new("broken-cargo");
    let source = Source::new(1);
    lab.write_source(&source);
    lab.start();
    assert_eq!(version(&lab), 1);
    lab.shut_down();
    lab.write("src/lib.rs", "fn main() { this is no Rust }");
    lab.start();
    assert_eq!(version(&lab), 1);
    lab.build_failed();
    assert_eq!(version(&lab), 1);
}

#[test]
fn a_bad_prebuilt_artifact_keeps_the_last_version_across_a_restart() {
    let mut lab = Lab::new("bad-ready-made");
    lab.install(misbehave("version=1"));
    lab.start();
    for bad in [misbehave("version=2 fail=init"), b"no library".to_vec()] {
        lab.shut_down();
        lab.install(bad);
        lab.start();
        let kept = lab.wait_for(|event| match event.kind {
            EventKind::ReloadFailed { kept_generation, .. } => Some(kept_generation),
            _ => None,
        });
        assert_eq!((version(&lab), kept), (1, Handle::generation(&lab.probe())));
        let detail = lab.host().info(&lab.id()).unwrap().detail;
        assert!(detail.contains("failed"), "{detail}");
    }
    lab.shut_down();
    lab.install(misbehave("version=3"));
    lab.start();
    assert_eq!((version(&lab), lab.host().info(&lab.id()).unwrap().detail.as_str()), (3, ""));
}

#[test]
fn a_config_rejected_at_a_start_is_reported_and_the_previous_one_kept() {
    for (name, way) in [("unfit-built", "script"), ("unfit-ready-made", "ready-made")] {
        let mut lab = match way {
            "script" => scripted(name, "version=1", "[config]\nword = \"one\""),
            _ => Lab::new(name),
        };
        let manifest = |word: &str| match way {
            "script" => format!("binary = \"out/plugin.so\"\n[config]\nword = {word}"),
            _ => format!("binary = \"plugin.so\"\n[config]\nword = {word}"),
        };
        if way == "ready-made" {
            lab.install(misbehave("version=1"));
            lab.set_manifest(&manifest("\"one\""));
        }
        lab.start();
        assert_eq!(lab.probe().word().unwrap(), "one");
        lab.shut_down();
        lab.set_manifest(&manifest("4"));
        lab.start();
        // The report names the version that serves with the previous configuration.
        let (error, kept) = lab.wait_for(|event| match &event.kind {
            EventKind::ReloadFailed { error, kept_generation, .. } => Some((error.clone(), *kept_generation)),
            _ => None,
        });
        assert!(error.contains("plugin.toml:4: ") && error.contains("expected a string"), "{error}");
        assert_eq!(lab.probe().word().unwrap(), "one", "{way}");
        assert!(kept.is_some() && kept == Handle::generation(&lab.probe()), "{way}: {kept:?}");
        if way == "script" {
            // The newly built version rejects the configuration, too.
            lab.reload_failed();
        }
        let detail = lab.host().info(&lab.id()).unwrap().detail;
        assert!(detail.contains("expected a string"), "{detail}");
        lab.shut_down();
        lab.set_manifest(&manifest("\"two\""));
        lab.start();
        assert_eq!(lab.probe().word().unwrap(), "two");
    }
}

#[test]
fn a_rollback_persists_across_restarts_until_an_edit_or_a_reload() {
    let mut lab = scripted("rolled-back", "version=1", "");
    lab.start();
    write_source(&lab, "version=2");
    lab.reload().unwrap();
    lab.host().rollback(&lab.id(), None).wait().unwrap();
    for _ in 0..2 {
        restart(&mut lab);
        let rolled_back = lab.wait_for(|event| match event.kind {
            EventKind::BuildUnchanged { rolled_back, .. } => Some(rolled_back),
            _ => None,
        });
        assert!(rolled_back, "the source differs from what serves");
        assert_eq!(version(&lab), 1);
        let detail = lab.host().info(&lab.id()).unwrap().detail;
        assert!(detail.starts_with("rolled back from g2: "), "{detail}");
        let versions = lab.host().versions(&lab.id()).unwrap();
        let generations: Vec<_> = versions.iter().map(|version| version.generation.0).collect();
        assert_eq!(generations, [1, 2], "the list of versions is kept");
    }
    // The source is edited while no host runs.
    lab.shut_down();
    write_source(&lab, "version=3");
    lab.start();
    lab.reloaded();
    lab.reloaded();
    assert_eq!(version(&lab), 3);
    // A rollback still finds an earlier version, and a reload returns to the newest version.
    restart(&mut lab);
    unchanged(&mut lab);
    lab.host().rollback(&lab.id(), None).wait().unwrap();
    assert_eq!(version(&lab), 2);
    lab.reload().unwrap();
    restart(&mut lab);
    unchanged(&mut lab);
    assert_eq!(version(&lab), 3);
}

#[test]
fn a_rollback_ends_when_the_source_is_edited_back() {
    let mut lab = scripted("edited-back", "version=1", "");
    lab.start();
    write_source(&lab, "version=2");
    lab.reload().unwrap();
    lab.host().rollback(&lab.id(), None).wait().unwrap();
    lab.shut_down();
    write_source(&lab, "version=1");
    lab.start();
    unchanged(&mut lab);
    assert_eq!(version(&lab), 1);
    assert_eq!(lab.host().info(&lab.id()).unwrap().detail, "", "the source is that of the serving version");
    // The version from which the plugin was rolled back is an edit again.
    lab.shut_down();
    write_source(&lab, "version=2");
    lab.start();
    lab.reloaded();
    lab.reloaded();
    assert_eq!(version(&lab), 2);
}

#[test]
fn a_rollback_of_a_prebuilt_plugin_persists_until_its_artifact_changes() {
    let mut lab = Lab::new("prebuilt-rolled-back");
    lab.install(misbehave("version=1"));
    lab.start();
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    lab.host().rollback(&lab.id(), None).wait().unwrap();
    for _ in 0..2 {
        restart(&mut lab);
        assert_eq!(version(&lab), 1);
        // A stop and a start do not make the newest version serve either.
        lab.host().stop(&lab.id()).wait().unwrap();
        lab.host().start(&lab.id()).wait().unwrap();
        assert_eq!(version(&lab), 1);
    }
    lab.shut_down();
    lab.install(misbehave("version=3"));
    lab.start();
    lab.reloaded();
    lab.reloaded();
    assert_eq!(version(&lab), 3);
}

#[test]
fn the_reason_of_a_rollback_is_known_after_a_restart() {
    let confirm = "[reload]\nconfirm = { window = \"10m\", max_error_rate = 0.2, min_calls = 5 }";
    let mut lab = scripted("taken-back", "version=1", confirm);
    lab.start();
    write_source(&lab, "version=2 panic=work");
    lab.reload().unwrap();
    let probe = lab.probe();
    (0..10).for_each(|_| drop(probe.work()));
    lab.wait_for(|event| matches!(event.kind, EventKind::RolledBack { .. }).then_some(()));
    drop(probe);
    restart(&mut lab);
    unchanged(&mut lab);
    assert_eq!(version(&lab), 1);
    let detail = lab.host().info(&lab.id()).unwrap().detail;
    assert!(detail.contains("g2 was rolled back") && detail.contains("calls failed"), "{detail}");
}

#[test]
fn the_confirm_window_begins_again_after_a_restart() {
    let confirm = "[reload]\nconfirm = { window = \"10m\", max_error_rate = 0.2, min_calls = 5 }";
    let fail = |lab: &mut Lab, version: &str| {
        let probe = lab.probe();
        (0..10).for_each(|_| drop(probe.work()));
        let reason = lab.wait_for(|event| match &event.kind {
            EventKind::RolledBack { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert!(reason.contains("calls failed"), "{version}: {reason}");
        assert_eq!(probe.version().unwrap(), 1);
    };
    let mut lab = scripted("watched-again", "version=1", confirm);
    lab.start();
    write_source(&lab, "version=2 panic=work");
    lab.reload().unwrap();
    restart(&mut lab);
    // The build after the start makes the same artifact, and the version is still not confirmed.
    unchanged(&mut lab);
    assert_eq!(version(&lab), 2);
    fail(&mut lab, "built");
    drop(lab);

    // A prebuilt artifact that no host has seen before must be confirmed, too, because the plugin can be rolled back to
    // an earlier version.
    let mut lab = Lab::new("watched-ready-made");
    lab.install_with(misbehave("version=1"), confirm);
    lab.start();
    lab.shut_down();
    lab.install(misbehave("version=2 panic=work"));
    for restarts in 0..2 {
        lab.start();
        assert_eq!(version(&lab), 2);
        if restarts == 0 {
            lab.shut_down();
        }
    }
    fail(&mut lab, "ready-made");
}

#[test]
fn a_stop_and_a_start_both_persist_across_restarts() {
    let mut lab = Lab::new("stays-stopped");
    lab.install_with(misbehave("version=1"), "auto_start = true");
    lab.start();
    lab.host().stop(&lab.id()).wait().unwrap();
    for _ in 0..2 {
        restart(&mut lab);
        let info = lab.host().info(&lab.id()).unwrap();
        assert_eq!((info.status, info.detail.as_str()), (Status::Stopped, "it was stopped; `start` it"));
    }
    lab.host().start(&lab.id()).wait().unwrap();
    restart(&mut lab);
    assert_eq!(version(&lab), 1);
    lab.host().unregister(&lab.id()).wait().unwrap();
    restart(&mut lab);
    assert_eq!(lab.host().info(&lab.id()).unwrap().status, Status::Available);
}

#[test]
fn a_manual_start_persists_across_restarts_without_auto_start() {
    let mut lab = Lab::new("started-by-hand");
    lab.install_with(misbehave("version=1"), "auto_start = false");
    lab.start();
    assert_eq!(lab.host().info(&lab.id()).unwrap().status, Status::Available);
    restart(&mut lab);
    assert_eq!(lab.host().info(&lab.id()).unwrap().status, Status::Available);
    lab.host().start(&lab.id()).wait().unwrap();
    restart(&mut lab);
    assert_eq!(version(&lab), 1);
}

#[test]
fn a_state_survives_a_stop_and_a_restart_of_the_host() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = Lab::in_mode("state-over-a-stop", mode);
        lab.install(misbehave("version=1"));
        lab.start();
        assert_eq!(lab.probe().increment(5).unwrap(), 5);
        lab.host().stop(&lab.id()).wait().unwrap();
        lab.host().start(&lab.id()).wait().unwrap();
        assert_eq!(lab.probe().increment(1).unwrap(), 6);
        restart(&mut lab);
        assert_eq!(lab.probe().value().unwrap(), 6, "{mode:?}");
        // The host is restarted twice while the plugin is stopped.
        lab.host().stop(&lab.id()).wait().unwrap();
        restart(&mut lab);
        restart(&mut lab);
        lab.install(misbehave("version=2"));
        lab.host().start(&lab.id()).wait().unwrap();
        assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (2, 6));
        lab.host().stop_and_discard(&lab.id()).wait().unwrap();
        lab.host().start(&lab.id()).wait().unwrap();
        assert_eq!(lab.probe().increment(3).unwrap(), 3, "the state was discarded");
        lab.host().stop(&lab.id()).wait().unwrap();
        restart(&mut lab);
        lab.host().stop_and_discard(&lab.id()).wait().unwrap();
        restart(&mut lab);
        lab.host().start(&lab.id()).wait().unwrap();
        assert_eq!(lab.probe().value().unwrap(), 0, "the state of a stopped plugin was discarded");
    }
}

#[test]
fn a_saved_state_is_restored_only_once() {
    let mut lab = Lab::new("handed-over-once");
    lab.install(stateless("version=1"));
    lab.start();
    let saved = lab.state_dir().join("checkpoints");
    restart(&mut lab);
    assert!(!saved.exists(), "a plugin without state saves none");
    lab.shut_down();
    lab.install(misbehave("version=2"));
    lab.start();
    lab.probe().increment(5).unwrap();
    lab.shut_down();
    assert!(saved.join(lab.id()).exists());
    lab.start();
    assert_eq!(lab.probe().value().unwrap(), 5);
    assert!(!saved.exists(), "a restored state is removed from the disk");
}

#[test]
fn a_rejected_state_is_kept_until_a_version_accepts_it_or_a_discard() {
    let mut lab = Lab::new("refused-state");
    lab.install(misbehave("version=1"));
    lab.start();
    lab.probe().increment(5).unwrap();
    lab.host().stop(&lab.id()).wait().unwrap();
    lab.install(misbehave("version=2 knows_state=9"));
    // The newer version is rejected with an event. The version that saved the state serves again, with the state.
    lab.host().start(&lab.id()).wait().unwrap();
    let (_, error) = lab.reload_failed();
    assert!(
        error.contains("cannot read a state of version 1") && error.contains("replug stop --discard"),
        "{error}"
    );
    assert_eq!((version(&lab), lab.probe().value().unwrap()), (1, 5));

    // If that version is missing, no version serves, and the state is kept.
    lab.host().stop(&lab.id()).wait().unwrap();
    let artifacts = lab.state_dir().join("artifacts");
    fs::remove_dir_all(&artifacts).unwrap();
    fs::create_dir(&artifacts).unwrap();
    let error = lab.host().start(&lab.id()).wait().unwrap_err();
    let HostError::Reload(error) = error else { panic!("{error}") };
    assert!(matches!(*error.cause, ReloadCause::StateRefused { .. }), "{error}");
    lab.host().stop(&lab.id()).wait().unwrap();
    restart(&mut lab);
    lab.install(misbehave("version=3"));
    lab.host().start(&lab.id()).wait().unwrap();
    assert_eq!(lab.probe().value().unwrap(), 5, "the state was kept");
    lab.host().stop(&lab.id()).wait().unwrap();
    lab.install(misbehave("version=4 knows_state=9"));
    lab.host().stop_and_discard(&lab.id()).wait().unwrap();
    lab.host().start(&lab.id()).wait().unwrap();
    assert_eq!((version(&lab), lab.probe().value().unwrap()), (4, 0));
}

#[test]
fn a_failed_save_at_a_stop_is_reported() {
    let mut lab = Lab::new("unsaved-state");
    lab.install(misbehave("version=1 fail=save"));
    lab.start();
    lab.probe().increment(5).unwrap();
    lab.host().stop(&lab.id()).wait().unwrap();
    let reason = lab.wait_for(|event| match &event.kind {
        EventKind::CheckpointLost { reason } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("its state was not saved") && reason.contains("told to fail"), "{reason}");
    lab.host().start(&lab.id()).wait().unwrap();
    assert_eq!(lab.probe().value().unwrap(), 0);
}

#[test]
fn a_stored_version_must_implement_the_interface_of_a_handle() {
    let mut lab = scripted("store-interface", "version=1", "");
    lab.start();
    lab.shut_down();
    let gate = close_gate(&lab);
    lab.start();
    let error = lab.host().get::<dyn replug_interfaces::Counter>(&lab.id()).unwrap_err();
    assert!(matches!(error, HostError::Interface(_)), "{error}");
    assert_eq!(Handle::generation(&lab.probe()), Some(Generation(2)));
    open_gate(gate);
    unchanged(&mut lab);
}

const WORD: &str = "binary = \"out/plugin.so\"\n[config]\nword = ";

fn configured(lab: &mut Lab) {
    lab.wait_for(|event| matches!(event.kind, EventKind::Configured { .. }).then_some(()));
}

/// Asserts that the accepted manifest is in force, and that the host reports the problem of the current manifest.
fn assert_accepted_manifest_in_force(lab: &mut Lab, problem: &str) {
    let (stage, error) = lab.reload_failed();
    assert!(stage == Stage::Detect && error.contains(problem), "{stage:?}: {error}");
    assert_eq!(lab.probe().word().unwrap(), "one");
    let info = lab.host().info(&lab.id()).unwrap();
    assert!(info.status == Status::Ready && info.detail.contains(problem), "{}", info.detail);
}

#[test]
fn a_manifest_broken_between_hosts_does_not_replace_the_accepted_one() {
    for (name, binary) in [("edited-while-down", "out/plugin.so"), ("edited-ready-made", "plugin.so")] {
        let word = WORD.replace("out/plugin.so", binary);
        let mut lab = match binary {
            "plugin.so" => Lab::new(name),
            _ => scripted(name, "version=1", ""),
        };
        if binary == "plugin.so" {
            lab.install(misbehave("version=1"));
        }
        lab.set_manifest(&format!("{word}\"one\""));
        lab.start();
        assert_eq!(lab.probe().increment(5).unwrap(), 5);
        lab.shut_down();
        let edits = [("", "plugin.toml:4:"), ("\"two\"\n[limit]", "plugin.toml:5: unknown key `limit`")];
        for (edit, problem) in edits {
            lab.set_manifest(&format!("{word}{edit}"));
            lab.start_watching();
            assert_accepted_manifest_in_force(&mut lab, problem);
            assert_eq!(lab.probe().value().unwrap(), 5);
            lab.shut_down();
        }
        // The manifest can be repaired while a host runs, and while no host runs.
        lab.start_watching();
        assert_accepted_manifest_in_force(&mut lab, edits[1].1);
        lab.set_manifest(&format!("{word}\"three\""));
        configured(&mut lab);
        assert_eq!((lab.probe().word().unwrap(), lab.probe().value().unwrap()), ("three".into(), 5));
        assert_eq!(lab.host().info(&lab.id()).unwrap().detail, "");
        lab.shut_down();
        lab.set_manifest(&format!("{word}]"));
        // A host without a watcher reads the manifest again at a reload.
        lab.start();
        lab.reload_failed();
        lab.set_manifest(&format!("{word}\"one\""));
        lab.reload().unwrap();
        assert_eq!((lab.probe().word().unwrap(), lab.probe().value().unwrap()), ("one".into(), 5));
        assert_eq!(lab.host().info(&lab.id()).unwrap().detail, "");
        lab.shut_down();
        lab.set_manifest(&format!("{word}\"four\""));
        lab.start();
        assert_eq!((lab.probe().word().unwrap(), lab.probe().value().unwrap()), ("four".into(), 5));
    }
}

#[test]
fn a_manifest_broken_before_a_kill_does_not_replace_the_accepted_one() {
    let mut lab = scripted("killed-with-a-broken-manifest", "version=1", "[config]\nword = \"zero\"");
    let mut dev = Dev::start(&lab, &[]);
    dev.wait_for("host_started");
    // The accepted edit must be in force later, not the manifest from the start of the host.
    lab.set_manifest(&format!("{WORD}\"one\""));
    dev.wait_for("configured");
    lab.set_manifest(&format!("{WORD}]"));
    let failed = dev.wait_for("reload_failed");
    assert!(failed["error"].as_str().unwrap().contains("plugin.toml:4:"), "{failed}");
    assert!(talk(&lab, &["call", &lab.id(), "word", "[]"]).status.success());
    kill_process(dev.pid(), Signal::KILL).unwrap();
    // The killed process is the parent of the host. Its output ends when the host has ended, too.
    dev.ended();
    lab.start_watching();
    assert_accepted_manifest_in_force(&mut lab, "plugin.toml:4:");
    lab.probe().increment(3).unwrap();
    lab.set_manifest(&format!("{WORD}\"two\""));
    configured(&mut lab);
    assert_eq!((lab.probe().word().unwrap(), lab.probe().value().unwrap()), ("two".into(), 3));
}

#[test]
fn a_host_killed_between_two_versions_serves_the_last_good_one_again() {
    for mode in ["in-process", "process"] {
        let lines = format!("mode = \"{mode}\"\n[reload]\norder = \"stop-first\"");
        let lab = scripted(&format!("killed-in-the-gap-{mode}"), "", &lines);
        let (lock, hold) = (lab.dir().join("lock"), Hold::new(lab.dir()));
        write_source(&lab, &format!("version=1 lock={}", lock.display()));
        let mut dev = Dev::start(&lab, &[]);
        dev.wait_for("host_started");
        write_source(&lab, &format!("version=2 lock={} do=init:continue@{}", lock.display(), hold.path()));
        // The first version is stopped, and the second one is in `init`.
        let inside = hold.entered();
        kill_process(dev.pid(), Signal::KILL).unwrap();
        dev.ended();
        drop(inside);
        let gate = close_gate(&lab);
        let mut dev = Dev::start(&lab, &[]);
        // The host starts with the stored version, before the source is built.
        let first = dev.wait_for_any(&["reloaded", "reload_failed", "build_started"]);
        assert_eq!(first["event"], "reloaded", "{first}");
        let served = || talk(&lab, &["call", &lab.id(), "version", "[]"]);
        assert_eq!(served().stdout, b"1\n", "{mode}: {:?}", served());
        open_gate(gate);
        drop(hold.entered());
        dev.wait_for("reloaded");
        assert_eq!(served().stdout, b"2\n", "{mode}: {:?}", served());
        assert!(dev.interrupt().success());
        lab.assert_clean();
    }
}

#[test]
fn a_removed_manifest_or_another_id_discards_the_accepted_manifest() {
    let mut lab = scripted("no-edit", "version=1", "");
    lab.start();
    lab.shut_down();
    lab.write("plugin.toml", "id = \"dev.test.another\"\nbinary = \"out/plugin.so\"\n[limit]\n");
    lab.start();
    let error = lab.discovery_failed();
    assert!(error.contains("plugin.toml:3: unknown key `limit`"), "{error}");
    assert!(lab.host().plugins().is_empty());
    lab.shut_down();
    lab.write("plugin.toml", "id = \"dev.test.another\"\nbinary = \"out/plugin.so\"\n");
    lab.start();
    let ids: Vec<_> = lab.host().plugins().into_iter().map(|info| info.id.to_string()).collect();
    assert_eq!(ids, ["dev.test.another"]);
    lab.shut_down();
    fs::remove_file(lab.path("plugin.toml")).unwrap();
    lab.start();
    assert!(lab.host().plugins().is_empty());
}

#[test]
fn a_stopped_plugin_with_a_broken_manifest_is_listed_and_starts() {
    let mut lab = scripted("stopped-and-broken", "version=1", "[config]\nword = \"one\"");
    lab.start();
    lab.host().stop(&lab.id()).wait().unwrap();
    lab.shut_down();
    lab.set_manifest(&format!("{WORD}]"));
    lab.start();
    lab.reload_failed();
    let info = lab.host().info(&lab.id()).unwrap();
    assert!(info.status == Status::Error && info.detail.contains("plugin.toml:4:"), "{info:?}");
    lab.host().start(&lab.id()).wait().unwrap();
    assert_eq!(lab.probe().word().unwrap(), "one");
    let detail = lab.host().info(&lab.id()).unwrap().detail;
    assert!(detail.contains("plugin.toml:4:"), "{detail}");
}
