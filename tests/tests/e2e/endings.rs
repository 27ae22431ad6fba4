//! Plugins in child processes that misbehave while the host ends them. Their processes must end nevertheless, and
//! nothing else may be affected.

use replug::event::RetireOutcome;
use replug_tests::{
    Lab, Neighbour, misbehave,
    neighbour::running,
    wait::{poll_until, poll_within},
};
use std::{collections::BTreeSet, time::Duration};

/// Ends a version by a stop, by a reload and by a shutdown. The version performs this action in `entry`.
fn ends_when(entry: &str, action: &str) {
    // Only a step that hangs needs a limit, but the limit also applies to the steps that must succeed.
    let limit = if action == "sleep" { "8s" } else { "10m" };
    let tables = format!("[reload]\npreflight = \"off\"\n[process]\nstep_timeout = \"{limit}\"");
    let directives = format!("do={entry}:{action}");
    let (mut lab, neighbour) = running(&format!("{action}-in-{entry}"), &directives, &tables);
    let only = |lab: &Lab, ids: &[&String]| {
        let number = |id: &&String| lab.host().info(id).unwrap().process_id.unwrap();
        let expected: BTreeSet<u32> = ids.iter().map(number).collect();
        let found = || {
            let pids = lab.processes().into_iter();
            pids.map(|pid| pid.as_raw_nonzero().get().unsigned_abs()).collect::<BTreeSet<u32>>()
        };
        // A process that was killed may still be listed for a moment.
        poll_within(Duration::from_secs(20), || found() == expected);
        assert_eq!(found(), expected, "{entry}: {action}");
    };
    let (id, beside) = (lab.id(), Neighbour::id(&lab));

    lab.host().stop(&id).wait().unwrap();
    only(&lab, &[&beside]);
    lab.host().start(&id).wait().unwrap();
    assert_eq!(lab.probe().version(), Ok(1));

    lab.retired();
    lab.install(misbehave(&format!("version=2 {directives}")));
    lab.reload().unwrap();
    lab.retired();
    only(&lab, &[&beside, &id]);
    assert_eq!(lab.probe().version(), Ok(2));

    neighbour.assert_unharmed();
    // The drop of the lab shuts the host down, which ends the last version.
}

#[test]
fn an_abort_in_stop_ends_only_the_plugins_process() {
    ends_when("stop", "abort");
}

#[test]
fn an_abort_in_drop_ends_only_the_plugins_process() {
    ends_when("drop", "abort");
}

#[test]
fn a_stop_that_hangs_ends_when_the_process_is_killed() {
    ends_when("stop", "sleep");
}

#[test]
fn a_drop_that_hangs_ends_when_the_process_is_killed() {
    ends_when("drop", "sleep");
}

#[test]
fn child_processes_of_a_plugin_end_when_the_host_shuts_down() {
    let (lab, neighbour) = running("takes-along", "", "");
    // The plugin and its neighbour. The process of a trial may still be listed for a moment.
    poll_until(|| lab.processes().len() == 2);
    assert_eq!(lab.probe().misbehave("fork"), Ok(1));
    poll_until(|| lab.processes().len() == 4);
    neighbour.assert_unharmed();
}

#[test]
fn the_process_of_a_version_that_panics_in_drop_ends() {
    let (mut lab, neighbour) = running("panics-in-drop", "panic=drop", "[reload]\npreflight = \"load\"");
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    assert_eq!(lab.retired().1, RetireOutcome::Ended);
    assert_eq!(lab.probe().version(), Ok(2));
    neighbour.assert_unharmed();
}

#[test]
fn a_replaced_version_that_ignores_sigterm_is_killed() {
    let (mut lab, neighbour) = running("ignores", "", "");
    assert_eq!(lab.probe().misbehave("ignore-sigterm"), Ok(1));
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    assert_eq!(lab.retired().1, RetireOutcome::Ended);
    neighbour.assert_unharmed();
}

#[test]
fn a_thread_that_outlives_stop_ends_with_the_process() {
    let (mut lab, neighbour) = running("outlives-stop", "thread=forever", "");
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    assert_eq!(lab.retired().1, RetireOutcome::Ended);
    // The plugin and its neighbour. The process of a trial may still be listed for a moment.
    poll_until(|| lab.processes().len() == 2);
    neighbour.assert_unharmed();
}
