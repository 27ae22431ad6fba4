//! Plugins in child processes that misbehave. Only the call fails, and nothing else in the host is affected.

use replug::{
    CallError, EventKind, Handle,
    manifest::{LaneKind, Mode},
};
use replug_api::call::Death;
use replug_tests::{
    Hold, Lab, Neighbour, Probe,
    lab::{self, Crashed},
    misbehave,
    neighbour::running,
    stateless,
};
use rustix::process::{Pid, Signal, getpid, kill_process};
use std::{fs, thread, time::Duration};

/// Runs tests again with a plugin whose calls go over a socket only.
macro_rules! again_over_a_socket {
    ($($test:ident,)*) => {
        mod over_a_socket {
            $(#[test] fn $test() { super::lab::over(super::LaneKind::Socket, super::$test) })*
        }
    };
}

again_over_a_socket! {
    a_panic_fails_one_call_and_does_not_end_the_process,
    an_abort_fails_one_call,
    an_exit_during_a_call_is_a_crash_regardless_of_its_status,
    a_write_to_null_fails_one_call,
    a_stack_overflow_fails_one_call,
    a_plugin_that_closes_all_descriptors_fails_at_most_one_call,
    a_plugin_that_writes_garbage_to_all_descriptors_fails_one_call,
    processes_forked_by_a_plugin_end_when_the_plugin_crashes,
    an_endless_loop_times_out,
    a_call_of_a_plugin_that_suspends_itself_times_out,
    a_crash_after_a_thousand_calls_fails_one_call,
}

/// Asserts that a call in which the plugin performs this action fails because its process ends in one of these ways,
/// and that everything else keeps working.
fn costs_one_call(action: &str, tables: &str, deaths: &[Death]) {
    let (lab, neighbour) = running(action, "", tables);
    let error = lab.probe().misbehave(action).unwrap_err();
    assert_process_lost(lab, neighbour, (action, deaths), Some(error));
}

/// Asserts that the process has died in one of these ways, that the error of the call reports this death if the call has
/// failed, and that everything else keeps working.
fn assert_process_lost(
    mut lab: Lab,
    neighbour: Neighbour,
    (action, deaths): (&str, &[Death]),
    error: Option<CallError>,
) {
    // If backtraces are enabled, the standard library prints more lines after a failed allocation than the host keeps.
    let about_to = format!("about to {action}");
    let last_words = if action == "allocate" { "" } else { &about_to };
    match error {
        Some(CallError::Crashed { plugin, generation, method, death, stderr_tail }) => {
            assert_eq!((plugin, generation, method.as_str()), (lab.id(), 1, "misbehave"));
            assert!(deaths.contains(&death), "{death:?}");
            assert!(stderr_tail.contains(last_words), "{stderr_tail}");
        }
        Some(other) => panic!("{other}"),
        None => {}
    }
    let Crashed { signal, exit, stderr_tail, .. } = lab.crashed();
    let told = match (signal, exit) {
        (Some(signal), None) => Death::Signal(signal),
        (None, Some(status)) => Death::Exit(status),
        both => panic!("{both:?}"),
    };
    let killed = deaths.contains(&Death::Disconnected) && told == Death::Signal("SIGKILL".into());
    assert!(deaths.contains(&told) || killed, "{told:?}");
    assert!(stderr_tail.contains(last_words), "{stderr_tail}");
    assert_recovered(lab, neighbour);
}

/// Asserts that the plugin answers again, that no call of its neighbour has failed, and that nothing is left behind.
fn assert_recovered(mut lab: Lab, neighbour: Neighbour) {
    // On a busy machine, the restart may take longer than a call waits for it.
    assert_eq!(lab.restarted(), 1);
    assert_eq!(lab.probe().version(), Ok(1));
    assert!(Handle::generation(&lab.probe()).unwrap().0 > 1);
    neighbour.assert_unharmed();
}

fn signal(name: &str) -> Death {
    Death::Signal(name.into())
}

#[test]
fn a_panic_fails_one_call_and_does_not_end_the_process() {
    let (lab, neighbour) = running("panics", "", "");
    let error = lab.probe().panic("so it goes").unwrap_err();
    assert!(matches!(&error, CallError::Panicked { message, .. } if message == "so it goes"), "{error}");
    assert_eq!((lab.probe().version(), Handle::generation(&lab.probe()).unwrap().0), (Ok(1), 1));
    neighbour.assert_unharmed();
}

#[test]
fn an_abort_fails_one_call() {
    costs_one_call("abort", "", &[signal("SIGABRT")]);
}

#[test]
fn an_exit_during_a_call_is_a_crash_regardless_of_its_status() {
    costs_one_call("exit-0", "", &[Death::Exit(0)]);
    costs_one_call("exit-3", "", &[Death::Exit(3)]);
}

#[test]
fn a_write_to_null_fails_one_call() {
    costs_one_call("write-to-null", "", &[signal("SIGSEGV")]);
}

#[test]
fn a_stack_overflow_fails_one_call() {
    let deaths = [signal("SIGABRT"), signal("SIGSEGV")];
    costs_one_call("overflow-the-stack", "", &deaths);
    costs_one_call("overflow-the-stack-of-a-thread", "", &deaths);
}

#[test]
fn a_plugin_that_reaches_its_memory_limit_ends() {
    costs_one_call("allocate", "[limits]\nmemory = \"1GiB\"", &[signal("SIGABRT")]);
}

/// The ways in which a process that breaks its connections may die.
fn disconnected() -> [Death; 3] {
    [Death::Disconnected, signal("SIGKILL"), signal("SIGABRT")]
}

#[test]
fn a_plugin_that_closes_all_descriptors_fails_at_most_one_call() {
    let (action, deaths) = ("close-descriptors", disconnected());
    let (lab, neighbour) = running(action, "", "");
    let outcome = lab.probe().misbehave(action);
    // An answer in shared memory still arrives, unless the host has noticed that the socket is closed.
    if lab.lane() == Some(LaneKind::Socket) {
        assert!(outcome.is_err(), "{outcome:?}");
    }
    assert_process_lost(lab, neighbour, (action, &deaths), outcome.err());
}

#[test]
fn a_plugin_that_writes_garbage_to_all_descriptors_fails_one_call() {
    let (action, deaths) = ("write-garbage", disconnected());
    let (lab, neighbour) = running(action, "", "");
    let outcome = lab.probe().misbehave(action);
    // An answer in shared memory still arrives, unless the host has read the garbage in the socket. The host reads the
    // socket only in a call that takes longer than the host spins. The next call does, because it never returns.
    let error = outcome.err().unwrap_or_else(|| {
        assert_ne!(lab.lane(), Some(LaneKind::Socket));
        let hold = Hold::new(lab.dir());
        lab.probe().misbehave(&format!("say@{}", hold.path())).unwrap_err()
    });
    assert_process_lost(lab, neighbour, (action, &deaths), Some(error));
}

#[test]
fn processes_forked_by_a_plugin_end_when_the_plugin_crashes() {
    costs_one_call("fork-and-abort", "", &[signal("SIGABRT")]);
}

/// Asserts that a call in which the plugin performs this action times out.
fn times_out(action: &str) {
    // The cgroup is off, so that the host must find the processes of the plugin without it.
    let tables = "[process]\ncall_timeout = \"5s\"\n[limits]\ncgroup = \"off\"";
    let (mut lab, neighbour) = running(action, "", tables);
    // This call opens the connection, so that the next one begins well within its timeout.
    Handle::within(&lab.probe(), Duration::from_secs(600)).version().unwrap();
    let error = lab.probe().misbehave(action).unwrap_err();
    let expected =
        CallError::Timeout { plugin: lab.id(), generation: 1, method: "misbehave".into(), after_ms: 5000 };
    assert_eq!(error, expected);
    let Crashed { signal, exit, stderr_tail, .. } = lab.crashed();
    assert_eq!((signal.as_deref(), exit), (Some("SIGKILL"), None));
    assert!(stderr_tail.contains(&format!("about to {action}")), "{stderr_tail}");
    // A call into a process that is starting may take longer than the `call_timeout` of this test.
    lab.restarted();
    Handle::within(&lab.probe(), Duration::from_secs(600)).version().unwrap();
    neighbour.assert_unharmed();
}

#[test]
fn an_endless_loop_times_out() {
    times_out("loop");
}

#[test]
fn a_sleeping_call_times_out() {
    times_out("sleep");
}

#[test]
fn a_call_of_a_plugin_that_suspends_itself_times_out() {
    times_out("stop-itself");
}

#[test]
fn a_call_of_a_plugin_that_leaves_its_process_group_times_out() {
    times_out("join-the-group-of-the-host");
}

#[test]
fn a_program_that_is_no_shim_is_killed() {
    let mut lab = Lab::in_mode("no-shim", Mode::Process);
    lab.install_with(misbehave("version=1"), "[limits]\ncgroup = \"off\"");
    // The working directory of the script is in the test's folder, so the lab finds the process if it is left behind.
    lab.write_script(
        "no-shim",
        "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho this is no shim >&0\nexec sleep 100000\n",
    );
    let program = lab.path("no-shim");
    lab.start_as(|builder| builder.shim_program(program)).unwrap();
    let (_, error) = lab.reload_failed();
    assert!(error.contains("its process was killed, because it broke the protocol"), "{error}");
}

#[test]
fn a_part_of_a_flood_of_output_is_reported_and_the_rest_is_counted() {
    flood("flood", |lab| lab.host().stop(&lab.id()).wait().unwrap());
    flood("flood-and-silence", |_| ());
}

fn flood(name: &str, then: impl FnOnce(&Lab)) {
    let (mut lab, neighbour) = running(name, "", "");
    assert_eq!(lab.probe().misbehave("flood-stdout"), Ok(1));
    then(&lab);
    let (mut told, mut left_out) = (0, 0);
    while told + left_out < 10_000 {
        let line = lab.wait_for(|event| match &event.kind {
            EventKind::Log { target, message, .. } if target == "stdout" => Some(message.clone()),
            _ => None,
        });
        match line.strip_prefix('(').and_then(|line| line.strip_suffix(" lines left out)")) {
            Some(count) => left_out += count.parse::<u32>().unwrap(),
            None => told += 1,
        }
    }
    assert_eq!(told + left_out, 10_000);
    assert!(left_out > 0, "every line was reported");
    neighbour.assert_unharmed();
}

#[test]
fn a_flood_of_log_events_does_not_hide_a_crash_of_another_plugin() {
    for mode in [Mode::Process, Mode::InProcess] {
        let mut lab = Lab::in_mode("flood-of-events", mode);
        lab.install(misbehave("version=1"));
        Neighbour::install(&lab);
        lab.start();
        // This makes more events than the host buffers for a reader.
        assert_eq!(lab.probe().misbehave("flood-log"), Ok(1));
        let neighbour: Handle<dyn Probe> = lab.host().get(&Neighbour::id(&lab)).unwrap();
        assert!(neighbour.misbehave("abort").is_err());
        // Events are read only from here on.
        let (mut told, mut left_out, mut crashed) = (0, 0, false);
        while told + left_out < 10_000 || !crashed {
            let event = lab.wait_for(|event| Some(event.kind.clone()));
            match event {
                EventKind::EventsLost { count } => panic!("{mode:?}: {count} events are lost"),
                EventKind::PluginCrashed { .. } => crashed = true,
                EventKind::Log { message, .. } if message == "flood" => told += 1,
                EventKind::Log { message, .. } => {
                    let count = message.strip_prefix('(').and_then(|it| it.strip_suffix(" events left out)"));
                    left_out += count.map_or(0, |count| count.parse::<u32>().unwrap());
                }
                _ => {}
            }
        }
        assert_eq!(told + left_out, 10_000, "{mode:?}");
    }
}

/// Whether the process leads a session and is not a child of this process. In `/proc/PID/stat`, the name in parentheses
/// is followed by state, parent, group and session. A process whose session began outside this pid namespace has
/// session 0, which is not a pid.
fn is_detached(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<_> =
        stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
    let is = |field: usize, number: Pid| fields.get(field).is_some_and(|it| *it == number.to_string());
    is(3, pid) && !is(1, getpid())
}

#[test]
fn a_crash_is_reported_while_a_process_outside_the_group_lives() {
    let (mut lab, neighbour) = running("leaves-the-group", "", "[limits]\ncgroup = \"off\"");
    let error = lab.probe().misbehave("fork-away-and-abort").unwrap_err();
    let CallError::Crashed { death, stderr_tail, .. } = error else { panic!("{error}") };
    assert_eq!((death, stderr_tail.lines().last()), (signal("SIGABRT"), Some("last words")));
    assert_eq!(lab.crashed().signal.as_deref(), Some("SIGABRT"));
    // The host does not know these processes, so the test kills them. They lead their own sessions, as shims do, but
    // their parent has ended.
    let away: Vec<_> = lab.processes().into_iter().filter(|pid| is_detached(*pid)).collect();
    assert_eq!(away.len(), 2);
    for pid in away {
        kill_process(pid, Signal::KILL).unwrap();
    }
    assert_recovered(lab, neighbour);
}

#[test]
fn a_crash_after_a_thousand_calls_fails_one_call() {
    let (mut lab, neighbour) =
        running("a-thousand", "do=work:abort after=1000", "[process]\nrestart_wait = \"10m\"");
    let probe = lab.probe();
    for _ in 0..1000 {
        assert_eq!(probe.work(), Ok(1));
    }
    assert!(matches!(probe.work(), Err(CallError::Crashed { .. })));
    assert_eq!(lab.crashed().signal.as_deref(), Some("SIGABRT"));
    assert_eq!(probe.work(), Ok(1));
    assert_recovered(lab, neighbour);
}

#[test]
fn a_crash_of_a_draining_version_affects_no_other_version() {
    let mut lab = Lab::in_mode("drained", Mode::Process);
    lab.install(stateless("version=1"));
    let neighbour = Neighbour::start(&mut lab);
    let hold = Hold::new(lab.dir());
    let (probe, action) = (lab.probe(), format!("abort@{}", hold.path()));
    let caller = thread::spawn(move || probe.misbehave(&action));
    let inside = hold.entered();
    lab.install(stateless("version=2"));
    lab.reload().unwrap();
    drop(inside);
    assert!(matches!(caller.join().unwrap(), Err(CallError::Crashed { generation: 1, .. })));
    let ends: Vec<_> = (0..2)
        .map(|_| {
            lab.wait_for(|event| match event.kind {
                EventKind::PluginCrashed { restart_in_ms, .. } => Some(format!("crashed, {restart_in_ms:?}")),
                EventKind::GenerationRetired { outcome } => Some(format!("retired, {outcome:?}")),
                _ => None,
            })
        })
        .collect();
    for end in ["crashed, None", "retired, Ended"] {
        assert!(ends.iter().any(|it| it == end), "{ends:?}");
    }
    assert_eq!((lab.probe().version(), Handle::generation(&lab.probe()).unwrap().0), (Ok(2), 2));
    neighbour.assert_unharmed();
}

#[test]
fn a_crash_while_a_reload_pauses_calls_leaves_a_version_serving() {
    let tables = "[process]\nrestart_wait = \"10m\"\n[reload]\ndrain_timeout = \"10s\"";
    let (mut lab, neighbour) = running("crashes-in-the-pause", "", tables);
    let hold = Hold::new(lab.dir());
    let (probe, action) = (lab.probe(), format!("abort@{}", hold.path()));
    let caller = thread::spawn(move || probe.misbehave(&action));
    let inside = hold.entered();
    lab.install(misbehave("version=2"));
    let reloading = lab.host().reload(&lab.id());
    drop(inside);
    assert!(matches!(caller.join().unwrap(), Err(CallError::Crashed { .. })));
    let expected = if reloading.wait().is_ok() { 2 } else { 1 };
    assert_eq!(lab.probe().version(), Ok(expected));
    neighbour.assert_unharmed();
}

#[test]
fn a_crash_in_save_abandons_the_reload_and_the_version_is_started_again() {
    let (mut lab, neighbour) = running("crashes-in-save", "do=save:abort", "");
    let error = lab.refused(misbehave("version=2"));
    assert!(error.contains("was killed by SIGABRT in `save`; its last output: about to abort"), "{error}");
    assert_recovered(lab, neighbour);
}

/// Asserts that the host kills the process of a serving version that misbehaves in a step, and that nothing else is
/// affected.
fn costs_the_process(directives: &str, step: impl FnOnce(&mut Lab) -> String) {
    let name = directives.replace([':', '_'], "-").replace("do=", "in-");
    let (mut lab, neighbour) = running(&name, directives, "[process]\nstep_timeout = \"8s\"");
    let error = step(&mut lab);
    let (entry, action) = directives.trim_start_matches("do=").split_once(':').unwrap();
    let words = match action {
        "sleep" => {
            format!(
                "`{entry}` did not end within 8s: its process was killed; its last output: about to {action}"
            )
        }
        _ => "its process was killed, because it broke the protocol: ".into(),
    };
    assert!(error.contains(&words), "{error}");
    let Crashed { signal, exit, stderr_tail, .. } = lab.crashed();
    assert_eq!((signal.as_deref(), exit), (Some("SIGKILL"), None));
    assert!(stderr_tail.contains(&format!("about to {action}")), "{stderr_tail}");
    assert_recovered(lab, neighbour);
}

#[test]
fn a_save_that_hangs_abandons_the_reload_and_restarts_the_version() {
    costs_the_process("do=save:sleep", |lab| lab.refused(misbehave("version=2")));
}

#[test]
fn a_save_writing_garbage_abandons_the_reload_and_restarts_the_version() {
    costs_the_process("do=save:write-garbage", |lab| lab.refused(misbehave("version=2")));
}

#[test]
fn an_on_config_that_hangs_fails_and_the_version_is_restarted() {
    costs_the_process("do=on_config:sleep", |lab| {
        let config = serde_json::Map::from_iter([("word".to_owned(), "new".into())]);
        lab.host().configure(&lab.id(), config).wait().unwrap_err().to_string()
    });
}

#[test]
fn a_process_that_hangs_in_a_checkpoint_is_killed_and_restarted() {
    let tables = "[process]\nstep_timeout = \"8s\"\n[reload]\ncheckpoint = \"1ms\"";
    let (mut lab, neighbour) = running("hangs-in-a-checkpoint", "do=save:sleep", tables);
    let Crashed { signal, stderr_tail, .. } = lab.crashed();
    assert_eq!(signal.as_deref(), Some("SIGKILL"));
    let why = "about to sleep\nreplug: killed, because `save` did not end within 8s";
    assert_eq!(stderr_tail, why);
    lab.restarted();
    assert_eq!(lab.probe().version(), Ok(1));
    neighbour.assert_unharmed();
}

#[test]
fn a_process_that_reads_nothing_does_not_block_the_host() {
    let (mut lab, neighbour) = running("takes-nothing", "", "[process]\nstep_timeout = \"8s\"");
    kill_process(lab.pid(), Signal::STOP).unwrap();
    // This is more than the buffer of a connection holds.
    let config = serde_json::Map::from_iter([("word".to_owned(), "x".repeat(1 << 20).into())]);
    let error = lab.host().configure(&lab.id(), config).wait().unwrap_err().to_string();
    assert!(error.contains("`on_config` did not end within 8s: its process was killed"), "{error}");
    assert_eq!(lab.crashed().signal.as_deref(), Some("SIGKILL"));
    assert_recovered(lab, neighbour);
}
