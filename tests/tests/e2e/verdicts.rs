//! Trials that are not held twice: what has come up before is started without one.

use replug::{EventKind, manifest::Mode};
use replug_tests::{Lab, misbehave, stateless};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;

/// What `init` was run for, in its order.
fn inits(lab: &Lab) -> Vec<String> {
    fs::read_to_string(lab.dir().join("note")).unwrap_or_default().lines().map(Into::into).collect()
}

fn noting(lab: &Lab, version: u64) -> String {
    format!("version={version} note={}", lab.dir().join("note").display())
}

#[test]
fn a_version_is_tried_once_however_often_it_is_started() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = Lab::in_mode("tried-once", mode);
        lab.install(stateless(&noting(&lab, 1)));
        lab.start();
        assert_eq!(inits(&lab), ["trial", "serve"]);
        lab.host().stop(&lab.id()).wait().unwrap();
        lab.host().start(&lab.id()).wait().unwrap();
        assert_eq!(inits(&lab), ["trial", "serve", "serve"], "{mode:?}: a start after a stop");
        lab.install(stateless(&noting(&lab, 2)));
        lab.reload().unwrap();
        assert_eq!(inits(&lab)[3..], ["trial", "serve"], "{mode:?}: another artifact");
        lab.host().rollback(&lab.id(), None).wait().unwrap();
        assert_eq!(inits(&lab)[5..], ["serve"], "{mode:?}: a rollback");
        assert_eq!(lab.probe().version(), Ok(1));
        lab.finish();
    }
}

#[test]
fn a_process_that_died_is_started_again_without_a_trial() {
    let mut lab = Lab::in_mode("restarted-at-once", Mode::Process);
    lab.install(misbehave(&noting(&lab, 1)));
    lab.start();
    let pid = lab.host().info(&lab.id()).unwrap().process_id.unwrap();
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    lab.wait_for(|event| matches!(event.kind, EventKind::PluginRestarted { .. }).then_some(()));
    assert_eq!(inits(&lab), ["trial", "serve", "serve"]);
    lab.finish();
}

#[test]
fn another_configuration_is_another_trial() {
    let mut lab = Lab::in_mode("configured-anew", Mode::InProcess);
    lab.install(stateless(&noting(&lab, 1)));
    lab.start_watching();
    for (word, since) in [("one", 2), ("two", 4)] {
        let config = format!("[config]\nword = \"{word}\"\nrestart = true");
        lab.set_manifest(&format!("binary = \"plugin.so\"\n{config}"));
        lab.wait_for(|event| matches!(event.kind, EventKind::Configured { .. }).then_some(()));
        assert_eq!(inits(&lab)[since..], ["trial", "serve"]);
        assert_eq!(lab.probe().word().as_deref(), Ok(word));
    }
    lab.finish();
}

#[test]
fn a_state_is_restored_on_trial_every_time() {
    let mut lab = Lab::in_mode("with-state", Mode::InProcess);
    lab.install(misbehave(&noting(&lab, 1)));
    lab.start();
    lab.probe().increment(3).unwrap();
    lab.reload().unwrap();
    assert_eq!(inits(&lab), ["trial", "serve", "trial", "serve"]);
    assert_eq!(lab.probe().value(), Ok(3));
    lab.finish();
}

#[test]
fn a_trial_that_failed_is_held_again() {
    let mut lab = Lab::in_mode("failed-before", Mode::InProcess);
    lab.install(stateless(&format!("{} unwell=tired", noting(&lab, 1))));
    lab.start();
    assert!(lab.reload().unwrap_err().to_string().contains("tired"));
    assert_eq!(inits(&lab), ["trial", "trial"]);
    lab.finish();
}
