//! How the host handles crashing plugins. A version that crashes in its trial never serves. The process of a plugin
//! that crashes later is started again. A plugin that crashes too often is quarantined. No process of a killed host
//! is left.

use replug::{CallError, Digest, EventKind, Generation, Handle, Status, manifest::Mode};
use replug_tests::{Hold, Lab, Neighbour, command::Dev, misbehave, wait::ProcessEnd};
use serde_json::json;
use std::{fs, thread};

/// Asserts that the trial rejects a new version with these directives in both modes, and that the old version keeps
/// serving.
fn caught_by_the_trial(directives: &str, words: &[&str]) {
    // The timeout is long, because a process that panics on a busy machine needs time to find and report the location.
    caught_by_a_trial_of("1m", (directives, words));
}

/// Like [`caught_by_the_trial`], with another step timeout.
fn caught_by_a_trial_of(step_timeout: &str, version: (&str, &[&str])) {
    let (directives, words) = version;
    for mode in [Mode::InProcess, Mode::Process] {
        let name = directives.replace(|it: char| !it.is_ascii_alphanumeric(), "-");
        let mut lab = Lab::in_mode(&name, mode);
        let lines = format!("[process]\nstep_timeout = \"{step_timeout}\"");
        lab.install_with(misbehave("version=1"), &lines);
        let neighbour = Neighbour::start(&mut lab);
        assert_eq!(lab.probe().increment(5).unwrap(), 5);
        let error = lab.refused(misbehave(&format!("version=2 {directives}")));
        for word in [&["preflight failed: in the trial, "], words].concat() {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
        let probe = lab.probe();
        assert_eq!((probe.version(), probe.value()), (Ok(1), Ok(5)), "{mode:?}");
        assert_eq!(Handle::generation(&probe), Some(Generation(1)));
        assert_eq!(lab.host().info(&lab.id()).unwrap().status, Status::Ready);
        neighbour.assert_unharmed();
    }
}

#[test]
fn a_crash_in_a_constructor_is_caught_by_the_trial() {
    let words = ["killed by SIGSEGV in `load`", "its last output: about to write-to-null"];
    caught_by_the_trial("do=constructor:write-to-null", &words);
}

#[test]
fn a_crash_in_init_is_caught_by_the_trial() {
    let words = ["killed by SIGSEGV in `init`", "its last output: about to write-to-null"];
    caught_by_the_trial("do=init:write-to-null", &words);
    caught_by_the_trial("do=init:abort", &["killed by SIGABRT in `init`", "its last output: about to abort"]);
    caught_by_the_trial("do=init:exit-3", &["exited with status 3 in `init`"]);
    caught_by_the_trial("do=init:exit-0", &["exited with status 0 in `init`"]);
}

#[test]
fn a_hanging_init_is_caught_by_the_trial() {
    let words = ["`init` did not end within 8s: its process was killed"];
    caught_by_a_trial_of("8s", ("do=init:loop", &words));
}

#[test]
fn a_panic_in_init_is_caught_by_the_trial() {
    caught_by_the_trial("panic=init", &["panicked: init was told to panic (src/lib.rs:"]);
}

#[test]
fn a_crash_in_restore_is_caught_by_the_trial() {
    caught_by_the_trial("do=restore:write-to-null", &["killed by SIGSEGV in `restore`"]);
}

#[test]
fn a_crash_in_health_is_caught_by_the_trial() {
    caught_by_the_trial("do=health:abort", &["killed by SIGABRT in `health`"]);
}

#[test]
fn a_plugin_in_a_crash_loop_is_quarantined_until_start_or_new_artifact() {
    let mut lab = Lab::in_mode("quarantined", Mode::Process);
    lab.install_with(misbehave("version=1"), "[process]\nmax_deaths = 2\nrestart_wait = \"10m\"");
    lab.start();
    let probe = lab.probe();
    for round in 0..2 {
        lab.kill();
        assert!(lab.crashed().restart_in_ms.is_some(), "the first death is followed by a restart");
        assert_eq!(probe.version(), Ok(1), "a call waits for the restart");
        lab.kill();
        assert!(lab.crashed().restart_in_ms.is_none(), "the second death is not followed by a restart");
        let reason = lab.quarantined();
        assert!(reason.starts_with("its process ended 2 times within 10m: it is quarantined"), "{reason}");
        let error = probe.version().unwrap_err();
        assert!(matches!(&error, CallError::NotRunning { .. }), "{error}");
        assert!(error.to_string().contains("quarantined"), "{error}");
        if round == 0 {
            lab.host().start(&lab.id()).wait().unwrap();
            assert_eq!(probe.version(), Ok(1), "`start` lifts the quarantine");
        }
    }
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    assert_eq!(probe.version(), Ok(2), "another artifact may run");
    lab.kill();
    assert!(lab.crashed().restart_in_ms.is_some(), "the deaths of the other artifact do not count");
    assert_eq!(probe.version(), Ok(2));
}

#[test]
fn only_start_lifts_the_quarantine_of_the_same_artifact() {
    let mut lab = Lab::in_mode("same-again", Mode::Process);
    lab.install_with(misbehave("version=1"), "[process]\nmax_deaths = 1");
    lab.start_watching();
    let probe = lab.probe();
    lab.kill();
    let reason = lab.quarantined();
    let refused = |error: String| assert!(error.contains(&reason), "{error}");
    refused(lab.reload().unwrap_err().to_string());
    refused(lab.reload_failed().1);
    lab.set_manifest("binary = \"plugin.so\"\n[process]\nmax_deaths = 1\n# an afterthought");
    refused(lab.reload_failed().1);
    lab.host().stop(&lab.id()).wait().unwrap();
    refused(lab.reload().unwrap_err().to_string());
    refused(probe.version().unwrap_err().to_string());
    lab.install(misbehave("version=2"));
    // The reports of the two rejected reloads come first.
    lab.wait_for(|event| matches!(event.kind, EventKind::Reloaded { .. }).then_some(()));
    assert_eq!(probe.version(), Ok(2), "another artifact is accepted");
    lab.install(misbehave("version=1"));
    refused(lab.reload_failed().1);
    refused(lab.host().rollback(&lab.id(), Some(first_of(&lab))).wait().unwrap_err().to_string());
    assert_eq!(probe.version(), Ok(2), "the serving version keeps running");
    lab.host().start(&lab.id()).wait().unwrap();
    lab.reload().unwrap();
    assert_eq!(probe.version(), Ok(1), "`start` lifts the quarantine");
}

/// The digest of the artifact that served first.
fn first_of(lab: &Lab) -> Digest {
    lab.host().versions(&lab.id()).unwrap()[0].digest
}

#[test]
fn callers_wait_for_a_restart_and_all_of_them_succeed() {
    let mut lab = Lab::in_mode("waited-for", Mode::Process);
    lab.install_with(misbehave("version=1"), "[process]\nrestart_wait = \"1m\"");
    lab.start();
    lab.kill();
    lab.crashed();
    thread::scope(|scope| {
        for _ in 0..8 {
            let probe = lab.probe();
            scope.spawn(move || assert_eq!(probe.version(), Ok(1)));
        }
    });
}

#[test]
fn a_caller_without_restart_wait_gets_the_restart_error() {
    let mut lab = Lab::in_mode("not-waited-for", Mode::Process);
    lab.install_with(misbehave("version=1"), "[process]\nrestart_wait = \"0s\"\nrestart_pause = \"1h\"");
    lab.start();
    lab.kill();
    let restart_in = lab.crashed().restart_in_ms.unwrap();
    match lab.probe().version().unwrap_err() {
        CallError::Restarting { retry_in_ms, .. } => {
            assert!((1..=restart_in).contains(&retry_in_ms), "{retry_in_ms} of {restart_in}");
        }
        other => panic!("{other}"),
    }
    lab.host().start(&lab.id()).wait().unwrap();
    assert_eq!(lab.probe().version(), Ok(1));
}

#[test]
fn a_call_into_a_just_killed_process_runs_in_the_next_process() {
    let mut lab = Lab::in_mode("dead-already", Mode::Process);
    lab.install_with(misbehave("version=1"), "[process]\nrestart_wait = \"10m\"");
    lab.start();
    let (probe, handle) = (lab.probe(), lab.handle());
    for _ in 0..3 {
        // The call opens connections, which are still open when the process is killed.
        assert_eq!(probe.version(), Ok(1));
        let end = ProcessEnd::of(lab.pid()).unwrap();
        lab.kill();
        end.wait();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert_eq!(probe.version(), Ok(1)));
                scope.spawn(|| assert_eq!(handle.invoke_json("version", json!([])).wait(), Ok(json!(1))));
            }
        });
        lab.restarted();
    }
}

#[test]
fn a_state_is_restored_from_its_checkpoint_after_a_kill() {
    let mut lab = Lab::in_mode("checkpoint", Mode::Process);
    let hold = Hold::new(lab.dir());
    let directives = format!("version=1 hold={}", hold.path());
    let tables = "[process]\nrestart_wait = \"10m\"\n[reload]\ncheckpoint = \"1ms\"";
    lab.install_with(misbehave(&directives), tables);
    lab.start();
    let probe = lab.probe();
    let caller = thread::spawn(move || probe.increment(5).unwrap());
    while !caller.is_finished() {
        drop(hold.entered());
    }
    // The next two checkpoints. The first one begins after the increment, and is on disk when the second one begins.
    drop(hold.entered());
    let next = hold.entered();
    lab.probe().increment(1).unwrap();
    lab.kill();
    lab.crashed();
    drop((next, hold));
    assert_eq!(lab.probe().value(), Ok(5), "only the change after the last checkpoint is lost");
}

#[test]
fn a_failed_checkpoint_is_written_after_the_cause_is_removed() {
    let mut lab = Lab::in_mode("checkpoint-unwritten", Mode::Process);
    let hold = Hold::new(lab.dir());
    lab.install_with(misbehave(&format!("version=1 hold={}", hold.path())), "[reload]\ncheckpoint = \"1ms\"");
    // The folder of the checkpoints cannot be created, because there is a file of that name.
    let states = lab.state_dir().join("checkpoints");
    fs::create_dir_all(lab.state_dir()).unwrap();
    fs::write(&states, "").unwrap();
    lab.start();
    // When the next checkpoint begins, the previous one has failed.
    drop(hold.entered());
    let next = hold.entered();
    fs::remove_file(&states).unwrap();
    drop(next);
    // The checkpoint is written although the state is unchanged.
    while !states.join(lab.id()).exists() {
        drop(hold.entered());
    }
    drop(hold);
}

/// Kills the host, and waits for the end of all its processes, of which there must be at least `least`.
fn kill_the_host(lab: &Lab, host: Dev, least: usize) {
    let ends = lab.process_ends();
    assert!(ends.len() >= least, "{:?}", lab.children());
    host.kill();
    ends.iter().for_each(ProcessEnd::wait);
    lab.expect_leftover_files();
}

fn installed(name: &str, directives: &str) -> Lab {
    let mut lab = Lab::in_mode(name, Mode::Process);
    lab.install(misbehave(&format!("version=1 {directives}")));
    lab
}

#[test]
fn a_host_kill_ends_all_processes_of_the_host() {
    let lab = installed("host-killed", "");
    let mut host = Dev::start_as(&lab, "run", &[]);
    host.wait_for("host_started");
    kill_the_host(&lab, host, 2);
}

#[test]
fn a_host_kill_at_the_start_ends_all_processes_of_the_host() {
    let lab = installed("host-killed-early", "");
    let mut host = Dev::start_as(&lab, "run", &[]);
    host.wait_for("plugin_discovered");
    kill_the_host(&lab, host, 1);
}

#[test]
fn a_host_kill_during_a_trial_ends_all_processes_of_the_host() {
    let mut lab = installed("host-killed-in-a-trial", "");
    let hold = Hold::new(lab.dir());
    lab.install(misbehave(&format!("do=init:wait@{}", hold.path())));
    let host = Dev::start_as(&lab, "run", &[]);
    let _inside = hold.entered();
    kill_the_host(&lab, host, 2);
}

#[test]
fn a_host_kill_ends_suspended_plugins_and_forked_processes() {
    for (name, action, least) in [("host-killed-forked", "fork", 4), ("host-killed-looping", "loop", 2)] {
        let lab = installed(name, &format!("do=start:{action}"));
        let mut host = Dev::start_as(&lab, "run", &[]);
        if action == "fork" {
            host.wait_for("host_started");
        } else {
            while !host.wait_for("log")["message"].as_str().is_some_and(|it| it.starts_with("about to")) {}
        }
        kill_the_host(&lab, host, least);
    }
    let lab = installed("host-killed-stopped", "do=start:stop-itself");
    let mut host = Dev::start_as(&lab, "run", &[]);
    while host.wait_for("log")["message"] != "about to stop-itself" {}
    kill_the_host(&lab, host, 2);
}
