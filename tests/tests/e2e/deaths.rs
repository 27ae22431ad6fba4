//! Plugin processes that end while something else happens to the plugin: a build, a command, a rejection, or an edit of
//! its manifest. If a process ends while the worker executes a command, the host decides after the command,
//! by the state at that time, whether it starts the process again. A restart does not wait for a build.

use replug::{
    CallError, Event, EventKind, Generation, Handle, HostError, Status, event::Stage, manifest::Mode,
};
use replug_tests::{Hold, Lab, hold::Hang, misbehave, stateless};
use std::fs;

/// Waits for the end of this generation's process, and returns whether the host will start the process again.
fn starts_again(lab: &mut Lab, generation: u64) -> bool {
    loop {
        let crashed = lab.crashed();
        if crashed.generation == Some(Generation(generation)) {
            return crashed.restart_in_ms.is_some();
        }
    }
}

#[test]
fn a_plugin_that_dies_during_a_build_restarts_before_the_build_ends() {
    let mut lab = Lab::in_mode("dies-in-a-build", Mode::Process);
    lab.install(misbehave("version=1"));
    lab.start_watching();
    let hang = Hang::save(&lab);
    lab.set_manifest("binary = \"out/plugin.so\"");
    hang.started(&lab);
    lab.kill();
    assert!(starts_again(&mut lab, 1));
    lab.restarted();
    assert_eq!(lab.probe().version(), Ok(1));
    lab.host().stop(&lab.id()).wait().unwrap();
}

#[test]
fn a_crash_during_a_successors_trial_is_reported_without_a_restart() {
    let mut lab = Lab::in_mode("dies-in-a-trial", Mode::Process);
    // With this limit, one crash would quarantine the plugin if it counted.
    lab.install_with(stateless("version=1"), "[process]\nmax_deaths = 1");
    lab.start();
    let hold = Hold::new(lab.dir());
    lab.install(stateless(&format!("version=2 do=init:linger@{}", hold.path())));
    let reloading = lab.host().reload(&lab.id());
    let on_trial = hold.entered();
    lab.kill();
    assert!(!starts_again(&mut lab, 1));
    drop(on_trial);
    // The second `init` belongs to the start of the new version. The first `init` was in the trial.
    drop(hold.entered());
    assert_eq!(reloading.wait().unwrap(), Generation(2));
    assert_eq!(lab.probe().version(), Ok(2));
    // The worker executes commands in order. When `configure` returns, the worker has handled the crash.
    lab.host().configure(&lab.id(), serde_json::Map::new()).wait().unwrap();
    assert_eq!((lab.probe().version(), Handle::generation(&lab.probe())), (Ok(2), Some(Generation(2))));
}

#[test]
fn a_crash_in_stop_is_reported_without_a_restart() {
    let mut lab = Lab::in_mode("dies-in-stop", Mode::Process);
    lab.install(stateless("version=1 do=stop:abort"));
    lab.start();
    lab.host().stop(&lab.id()).wait().unwrap();
    assert!(!starts_again(&mut lab, 1), "a stopped plugin is not started again");
}

#[test]
fn a_version_that_rejects_the_state_leaves_the_checkpoint_in_place() {
    let mut lab = Lab::in_mode("checkpoint-kept", Mode::Process);
    let lines = "[reload]\ncheckpoint = \"1ms\"\n[process]\nrestart_pause = \"1ms\"";
    lab.install_with(misbehave("version=1"), lines);
    lab.start();
    let checkpoint = lab.state_dir().join("checkpoints").join(lab.id());
    let probe = lab.probe();
    probe.increment(5).unwrap();
    // This waits for the first checkpoint.
    while !checkpoint.exists() {
        probe.value().unwrap();
    }
    let error = lab.refused(misbehave("version=2 knows_state=9"));
    assert!(error.contains("cannot read a state"), "{error}");
    let told = lab.told_since();
    assert!(!told.iter().any(|event| matches!(event.kind, EventKind::CheckpointLost { .. })), "{told:?}");
    let refusals = told.iter().filter(|event| matches!(event.kind, EventKind::ReloadFailed { .. }));
    assert_eq!(refusals.count(), 1);
    assert!(!lab.state_dir().join("checkpoints").join(format!("{}_refused", lab.id())).exists());
}

#[test]
fn a_version_that_dies_in_its_confirm_window_is_rolled_back() {
    let mut lab = Lab::in_mode("dies-unconfirmed", Mode::Process);
    let lines = "[reload]\nconfirm = { window = \"10m\", min_calls = 1000, max_error_rate = 0.3 }";
    lab.install_with(stateless("version=1"), lines);
    lab.start();
    lab.install(stateless("version=2"));
    lab.reload().unwrap();
    lab.kill();
    assert!(starts_again(&mut lab, 2));
    let (from, reason) = lab.wait_for(|event| match &event.kind {
        EventKind::RolledBack { from, reason } => Some((*from, reason.clone())),
        _ => None,
    });
    assert_eq!((from, reason.as_str()), (Generation(2), "its process ended in the `confirm` window"));
    assert_eq!(lab.probe().version(), Ok(1));
}

#[test]
fn a_restart_does_not_apply_a_rejected_configuration() {
    let mut lab = Lab::in_mode("refused-stays-out", Mode::Process);
    lab.install_with(stateless("version=1"), "[process]\nrestart_pause = \"1ms\"\n[config]\nword = \"good\"");
    lab.start_watching();
    let base = "binary = \"plugin.so\"\n[process]\nrestart_pause = \"1ms\"\n";
    lab.set_manifest(&format!("{base}[config]\nword = 1"));
    lab.configure_failed();
    lab.kill();
    lab.restarted();
    assert_eq!(lab.probe().word().as_deref(), Ok("good"));
    lab.set_manifest(&format!("{base}[config]\nword = 2\n[limits]\nopen_files = 300"));
    assert_eq!(lab.reload_failed().0, Stage::Preflight);
    lab.kill();
    lab.restarted();
    assert_eq!(lab.probe().word().as_deref(), Ok("good"));
    lab.set_manifest(&format!("name = \"another\"\n{base}[config]\nword = \"good\""));
    lab.wait_for(|event| matches!(event.kind, EventKind::BuildUnchanged { .. }).then_some(()));
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!((info.status, info.detail.as_str()), (Status::Ready, ""));
}

#[test]
fn a_pending_restart_is_reported_and_the_plugin_can_be_rolled_back() {
    let mut lab = Lab::in_mode("waits-for-restart", Mode::Process);
    lab.install_with(stateless("version=1"), "[process]\nrestart_pause = \"1h\"");
    lab.start();
    let nothing_earlier = |error: HostError| assert!(error.to_string().contains("earlier"), "{error}");
    nothing_earlier(lab.host().rollback(&lab.id(), None).wait().unwrap_err());
    lab.install(stateless("version=2"));
    lab.reload().unwrap();
    lab.kill();
    assert!(starts_again(&mut lab, 2));
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!(info.status, Status::Error);
    assert!(info.detail.starts_with("restarting in "), "{}", info.detail);
    lab.host().rollback(&lab.id(), None).wait().unwrap();
    assert_eq!(lab.probe().version(), Ok(1));
}

#[test]
fn checkpoints_start_and_stop_when_the_manifest_is_edited() {
    let mut lab = Lab::in_mode("checkpoint-edited", Mode::Process);
    lab.install_with(misbehave("version=1"), "[process]\nrestart_pause = \"1ms\"");
    lab.start_watching();
    let base = "binary = \"plugin.so\"\n[process]\nrestart_pause = \"1ms\"\n";
    let checkpoint = lab.state_dir().join("checkpoints").join(lab.id());
    let probe = lab.probe();
    probe.increment(5).unwrap();
    let unchanged = |event: &Event| matches!(event.kind, EventKind::BuildUnchanged { .. }).then_some(());
    lab.set_manifest(&format!("{base}[reload]\ncheckpoint = \"1ms\""));
    lab.wait_for(unchanged);
    while !checkpoint.exists() {
        probe.value().unwrap();
    }
    lab.set_manifest(base);
    lab.wait_for(unchanged);
    assert!(fs::metadata(&checkpoint).is_err(), "the outdated checkpoint is removed");
    lab.kill();
    lab.restarted();
    assert_eq!(probe.value(), Ok(0), "without a checkpoint, the state starts empty");
}

#[test]
fn an_edit_of_restart_wait_applies_to_the_running_process() {
    let mut lab = Lab::in_mode("wait-edited", Mode::Process);
    let lines = |wait: &str| format!("[process]\nrestart_pause = \"1h\"\nrestart_wait = \"{wait}\"");
    lab.install_with(stateless("version=1"), &lines("1h"));
    lab.start_watching();
    lab.set_manifest(&format!("binary = \"plugin.so\"\n{}", lines("1ms")));
    lab.wait_for(|event| matches!(event.kind, EventKind::BuildUnchanged { .. }).then_some(()));
    lab.kill();
    assert!(starts_again(&mut lab, 1));
    assert!(matches!(lab.probe().version(), Err(CallError::Restarting { .. })));
}
