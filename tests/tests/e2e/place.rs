//! In which process the host runs a plugin with `mode = "auto"`.

use replug::{CallError, EventKind, event::CrashSite, manifest::Mode};
use replug_tests::{Lab, artifact::aborting, misbehave};

fn runs_in(lab: &Lab) -> Option<Mode> {
    lab.host().info(&lab.id()).unwrap().runs_in
}

fn detail(lab: &Lab) -> String {
    lab.host().info(&lab.id()).unwrap().detail
}

/// Waits for the event which reports that the plugin runs in a child process, and returns the reason.
fn demoted(lab: &mut Lab) -> String {
    lab.wait_for(|event| match &event.kind {
        EventKind::PluginDemoted { crash, reason } if *crash == CrashSite::default() => Some(reason.clone()),
        _ => None,
    })
}

#[test]
fn a_plugin_over_a_host_limit_runs_in_a_process_or_is_rejected() {
    let mut lab = Lab::in_mode("over-budget", Mode::Auto);
    lab.install(misbehave("version=1"));
    lab.start_as(|builder| builder.retained_bytes_limit(1)).unwrap();
    assert_eq!(runs_in(&lab), Some(Mode::Process));
    let reason = demoted(&mut lab);
    assert!(
        reason.starts_with("it would exceed a limit of the host: ") && reason.contains("is the limit"),
        "{reason}"
    );
    assert_eq!(detail(&lab), format!("in a child process: {reason}"));
    assert_eq!(lab.probe().increment(5), Ok(5));
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    assert_eq!((runs_in(&lab), lab.probe().value()), (Some(Mode::Process), Ok(5)));
    drop(lab);

    let mut lab = Lab::in_mode("over-budget", Mode::InProcess);
    lab.install(misbehave("version=1"));
    lab.start_as(|builder| builder.retained_bytes_limit(1)).unwrap();
    assert_eq!(runs_in(&lab), None);
    assert!(
        detail(&lab).contains("preflight failed") && detail(&lab).contains("is the limit"),
        "{}",
        detail(&lab)
    );
}

#[test]
fn a_plugin_with_panic_abort_runs_in_a_process_or_is_rejected() {
    for preflight in ["full", "load", "off"] {
        let mut lab = Lab::in_mode(&format!("aborting-{preflight}"), Mode::Auto);
        let tables = format!("[process]\nrestart_wait = \"10m\"\n[reload]\npreflight = \"{preflight}\"");
        lab.install_with(aborting(), &tables);
        lab.start();
        assert_eq!(runs_in(&lab), Some(Mode::Process), "{}", detail(&lab));
        let reason = demoted(&mut lab);
        assert!(reason.contains("`panic = \"abort\"`"), "{reason}");
        let error = lab.probe().panic("it ends its process").unwrap_err();
        assert!(matches!(error, CallError::Crashed { .. }), "{error}");
        assert_eq!(lab.probe().version(), Ok(1), "the process is started again");
        assert_eq!(runs_in(&lab), Some(Mode::Process));
        drop(lab);

        let mut lab = Lab::in_mode(&format!("aborting-{preflight}"), Mode::InProcess);
        lab.install_with(aborting(), &format!("[reload]\npreflight = \"{preflight}\""));
        lab.start();
        assert_eq!(runs_in(&lab), None);
        assert!(detail(&lab).contains("a panic in it would crash the host"), "{}", detail(&lab));
    }
}

#[test]
fn a_plugin_runs_in_the_host_if_the_host_cannot_start_shims() {
    // Unlike `Lab::in_mode`, this lab names no program that its host could start as a shim.
    let mut lab = Lab::new("no-program");
    lab.install(misbehave("version=1"));
    lab.start();
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!((info.mode, info.runs_in, info.process_id), (Mode::Auto, Some(Mode::InProcess), None));
}

#[test]
fn an_edit_of_the_mode_moves_the_plugin_with_its_state() {
    let mut lab = Lab::in_mode("edited-mode", Mode::Auto);
    lab.install(misbehave("version=1"));
    lab.start_watching();
    lab.reloaded();
    assert_eq!(lab.probe().increment(5), Ok(5));
    for (mode, place) in
        [("process", Mode::Process), ("in-process", Mode::InProcess), ("process", Mode::Process)]
    {
        lab.set_manifest(&format!("mode = \"{mode}\"\nbinary = \"plugin.so\""));
        lab.reloaded();
        assert_eq!((runs_in(&lab), lab.probe().value()), (Some(place), Ok(5)));
    }
}
