//! Plugins that end the program in which they run, and the crash record that remains. The crash record names the
//! *suspects*: the plugins that may have caused the crash.

use replug_runtime::crash::{Attribution, Crash, End, Suspect, note_end, read};
use replug_tests::{Hold, Lab, command::replug, lab, misbehave};
use rustix::process::Signal;
use std::{
    fs::{self, File},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

/// A program that runs the lab's plugins. It does not call `run_if_asked`, so its host cannot start helper processes
/// such as the recorder.
fn victim(lab: &Lab, directives: &[String]) -> Child {
    start(&mut victim_of(&[(lab, directives)]))
}

/// Like [`victim`], but the program calls `run_if_asked`, so its host can start helper processes.
fn offered_victim(lab: &Lab, directives: &[String]) -> Child {
    start(victim_of(&[(lab, directives)]).env("REPLUG_TEST_OFFERED", "1"))
}

fn victim_of(hosts: &[(&Lab, &[String])]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_victim"));
    for (number, (lab, directives)) in hosts.iter().enumerate() {
        lab.expect_leftover_files();
        command.args((number > 0).then_some("--"));
        command.arg(lab.plugins_dir()).arg(lab.state_dir()).args(*directives);
    }
    command
}

fn start(victim: &mut Command) -> Child {
    victim.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("the victim starts")
}

fn directive(id: &str, action: &str) -> String {
    format!("{id}={action}")
}

/// The lab's only run folder. A process that crashes leaves it behind.
fn left_behind(lab: &Lab) -> PathBuf {
    let runs: Vec<_> = fs::read_dir(lab.state_dir().join("run")).unwrap().flatten().collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].path()
}

pub(super) fn crash(lab: &Lab, victim: &Child) -> Crash {
    let crash = read(&left_behind(lab)).expect("the victim has left a record");
    assert_eq!(crash.pid, victim.id());
    crash
}

/// The only suspect, as (plugin, method or step, attribution).
pub(super) fn only(crash: &Crash) -> (String, String, Attribution) {
    let [suspect] = &crash.suspects[..] else { panic!("{crash}") };
    named(suspect)
}

fn named(suspect: &Suspect) -> (String, String, Attribution) {
    assert_eq!(suspect.generation.0, 1);
    let place = format!("{}.{}", suspect.interface, suspect.method);
    (suspect.plugin.to_string(), place, suspect.attribution)
}

/// Runs a plugin with these directives in a victim, and calls `misbehave` with this action. Returns when the process
/// has ended.
fn ended_by(name: &str, directives: &str, action: &str) -> (Lab, ExitStatus, Crash) {
    let mut lab = Lab::new(name);
    lab.install(misbehave(&format!("version=1 {directives}")));
    let mut victim = victim(&lab, &[directive(&lab.id(), action)]);
    let status = victim.wait().unwrap();
    let crash = crash(&lab, &victim);
    (lab, status, crash)
}

fn names_the_method(action: &str, end: End) -> ExitStatus {
    let (lab, status, crash) = ended_by(action, "", action);
    assert_eq!(crash.end, end);
    assert_eq!(only(&crash), (lab.id(), "Probe.misbehave".into(), Attribution::Raised));
    let digest = crash.suspects[0].digest.to_string();
    let artifacts = fs::read_dir(lab.state_dir().join("artifacts")).unwrap().flatten();
    assert!(artifacts.map(|it| it.file_name()).any(|name| name.to_string_lossy().starts_with(&digest)));
    status
}

fn names_the_step(step: &str, directives: &str) {
    let (lab, status, crash) = ended_by(&format!("in-{step}"), directives, "");
    assert_eq!(status.signal(), Some(sigabrt()));
    assert_eq!(crash.end, End::Signal("SIGABRT"));
    assert_eq!(only(&crash), (lab.id(), format!(".{step}"), Attribution::Raised));
}

fn sigabrt() -> i32 {
    Signal::ABORT.as_raw()
}

#[test]
fn a_write_to_null_names_the_method() {
    let status = names_the_method("write-to-null", End::Signal("SIGSEGV"));
    assert_eq!(status.signal(), Some(Signal::SEGV.as_raw()));
}

#[test]
fn an_abort_names_the_method() {
    assert_eq!(names_the_method("abort", End::Signal("SIGABRT")).signal(), Some(sigabrt()));
}

#[test]
fn an_abort_on_a_thread_that_the_generation_owns_names_the_method() {
    lab::unloading(|| {
        assert_eq!(names_the_method("abort", End::Signal("SIGABRT")).signal(), Some(sigabrt()))
    });
}

#[test]
fn an_exit_during_a_call_names_the_method_and_keeps_its_status() {
    assert_eq!(names_the_method("exit-0", End::Exit).code(), Some(0));
    assert_eq!(names_the_method("exit-3", End::Exit).code(), Some(3));
}

#[test]
fn an_exit_on_a_thread_of_the_plugin_names_the_plugin() {
    let (lab, status, crash) = ended_by("exits-elsewhere", "", "exit-0-on-a-thread");
    assert_eq!((status.code(), crash.end), (Some(0), End::Exit));
    assert_eq!(only(&crash), (lab.id(), ".a thread of its own".into(), Attribution::Raised));
}

#[test]
fn an_exit_that_skips_exit_handlers_makes_the_called_plugin_a_suspect() {
    let mut lab = Lab::new("exits-at-once");
    lab.install(misbehave("version=1"));
    let mut victim = offered_victim(&lab, &[directive(&lab.id(), "exit-0-at-once")]);
    let status = victim.wait().unwrap();
    let crash = crash(&lab, &victim);
    assert_eq!((status.code(), crash.end), (Some(0), End::Unknown));
    note_end(&left_behind(&lab), status).unwrap();
    let crash = read(&left_behind(&lab)).unwrap();
    assert_eq!(crash.end, End::Exit);
    assert_eq!(only(&crash), (lab.id(), "Probe.misbehave".into(), Attribution::InFlight));
}

#[test]
fn a_stack_overflow_names_the_method_and_records_sigsegv() {
    // The signal handler of the standard library prints a message and aborts, so the process ends with SIGABRT.
    let status = names_the_method("overflow-the-stack", End::Signal("SIGSEGV"));
    assert_eq!(status.signal(), Some(sigabrt()));
}

#[test]
fn a_crash_while_the_library_is_opened_names_the_load() {
    names_the_step("load", "do=constructor:abort");
}

#[test]
fn a_crash_in_a_lifecycle_step_names_the_step() {
    names_the_step("init", "do=init:abort");
    names_the_step("start", "do=start:abort");
    names_the_step("health", "do=health:abort");
}

#[test]
fn a_crash_on_a_thread_of_the_plugin_names_the_plugin() {
    let (lab, _, crash) = ended_by("elsewhere", "", "write-to-null-elsewhere");
    assert_eq!(crash.end, End::Signal("SIGSEGV"));
    assert_eq!(only(&crash), (lab.id(), ".a thread of its own".into(), Attribution::Raised));
}

#[test]
fn a_crash_in_a_call_by_name_names_the_method() {
    let mut lab = Lab::new("by-name");
    lab.install_with(misbehave("version=1 do=work:write-to-null"), "mode = \"in-process\"");
    lab.expect_leftover_files();
    let mut command = replug();
    command.args(["call", &lab.id(), "work", "--state-dir"]).arg(lab.state_dir()).current_dir(lab.dir());
    let mut called = command.stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(called.wait().unwrap().signal(), Some(Signal::SEGV.as_raw()));
    assert_eq!(only(&crash(&lab, &called)), (lab.id(), "Probe.work".into(), Attribution::Raised));
}

/// Two plugins, each with one running call. The call to the second plugin performs the action when the test drops the
/// second of the returned connections.
fn two_in_flight(name: &str, action: &str) -> (Lab, Child, [UnixStream; 2]) {
    two_in_flight_with(name, "", (action, ""))
}

/// Like [`two_in_flight`]. The neighbour's manifest also has these lines, and the program does `then` after its call.
pub(super) fn two_in_flight_with(
    name: &str,
    lines: &str,
    (action, then): (&str, &str),
) -> (Lab, Child, [UnixStream; 2]) {
    let mut lab = Lab::new(name);
    lab.install(misbehave("version=1"));
    let neighbour = neighbour(&lab);
    lab.neighbour(
        "neighbour",
        format!("id = \"{neighbour}\"\nbinary = \"plugin.so\"\n{lines}"),
        misbehave("version=2"),
    );
    let rooms = ["first", "second"].map(|name| lab.dir().join(name));
    let holds = rooms.each_ref().map(|room| {
        fs::create_dir(room).unwrap();
        Hold::new(room)
    });
    let victim = offered_victim(
        &lab,
        &[
            directive(&lab.id(), &format!("nothing@{}", holds[0].path())),
            directive(&neighbour, &format!("{action}@{}{then}", holds[1].path())),
        ],
    );
    let inside = holds.map(|hold| hold.entered());
    (lab, victim, inside)
}

pub(super) fn neighbour(lab: &Lab) -> String {
    format!("{}.neighbour", lab.id())
}

#[test]
fn a_crash_during_calls_of_two_plugins_names_the_crashing_plugin() {
    let (lab, mut victim, [first, second]) = two_in_flight("one-of-two", "write-to-null");
    drop(second);
    victim.wait().unwrap();
    drop(first);
    let named = only(&crash(&lab, &victim));
    assert_eq!(named, (neighbour(&lab), "Probe.misbehave".into(), Attribution::Raised));
}

#[test]
fn a_kill_makes_every_plugin_with_a_running_call_a_suspect() {
    let (lab, mut victim, _inside) = two_in_flight("killed", "nothing");
    victim.kill().unwrap();
    let status = victim.wait().unwrap();
    let expect = |crash: Crash, end: End| {
        assert_eq!(crash.end, end);
        let mut suspects: Vec<_> = crash.suspects.iter().map(named).collect();
        suspects.sort_by(|a, b| a.0.cmp(&b.0));
        let suspect = |id| (id, "Probe.misbehave".to_owned(), Attribution::InFlight);
        assert_eq!(suspects, [suspect(lab.id()), suspect(neighbour(&lab))]);
    };
    expect(crash(&lab, &victim), End::Unknown);
    // This process is the parent of the victim, so it knows the exit status of the victim.
    note_end(&left_behind(&lab), status).unwrap();
    expect(crash(&lab, &victim), End::Signal("SIGKILL"));
    note_end(&left_behind(&lab), ExitStatus::from_raw(sigabrt())).unwrap();
    expect(crash(&lab, &victim), End::Signal("SIGKILL"));
}

#[test]
fn a_program_that_exits_normally_records_no_crash() {
    let mut lab = Lab::new("by-itself");
    lab.install(misbehave("version=1"));
    let status = victim(&lab, &[directive(&lab.id(), "nothing")]).wait().unwrap();
    assert!(status.success());
    assert_eq!(read(&left_behind(&lab)), None);
}

#[test]
fn a_crash_of_a_forked_child_is_not_recorded_for_the_program() {
    let mut lab = Lab::new("forked");
    lab.install(misbehave("version=1"));
    let status = victim(&lab, &[directive(&lab.id(), "fork-one-that-aborts")]).wait().unwrap();
    assert!(status.success());
    assert_eq!(read(&left_behind(&lab)), None);
}

#[test]
fn the_next_host_removes_the_crash_record_with_the_run_folder() {
    let (mut lab, ..) = ended_by("removed", "", "abort");
    lab.start();
}

#[test]
fn a_host_with_the_crash_record_disabled_writes_none() {
    let mut lab = Lab::new("unrecorded");
    lab.install(misbehave("version=1"));
    lab.start_as(|builder| builder.crash_record(false)).unwrap();
    assert_eq!(lab.probe().version(), Ok(1));
    let names = fs::read_dir(left_behind(&lab)).unwrap().flatten().map(|it| it.file_name());
    let names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| name == "lock" || name.ends_with(".so")), "{names:?}");
}

#[test]
fn each_host_of_a_process_writes_the_crash_record_to_its_run_folder() {
    let lab = |name: &str| {
        let mut lab = Lab::new(name);
        lab.install(misbehave("version=1"));
        lab
    };
    let (first, second) = (lab("record-1"), lab("record-2"));
    let action = [directive(&second.id(), "write-to-null")];
    let mut victim = start(&mut victim_of(&[(&first, &[]), (&second, &action)]));
    victim.wait().unwrap();
    let named = only(&crash(&second, &victim));
    assert_eq!(named, (second.id(), "Probe.misbehave".into(), Attribution::Raised));
    let elsewhere = crash(&first, &victim);
    assert_eq!((elsewhere.end, elsewhere.suspects), (End::Signal("SIGSEGV"), Vec::new()));
}

#[test]
fn a_kill_of_a_host_without_a_recorder_leaves_no_suspects() {
    let mut lab = Lab::new("killed-alone");
    lab.install(misbehave("version=1"));
    let hold = Hold::new(lab.dir());
    let mut victim = victim(&lab, &[directive(&lab.id(), &format!("nothing@{}", hold.path()))]);
    let _inside = hold.entered();
    victim.kill().unwrap();
    victim.wait().unwrap();
    let crash = crash(&lab, &victim);
    assert_eq!((crash.end, crash.suspects), (End::Unknown, Vec::new()));
}

/// The file to which the crash record of the running host is written when the host ends.
fn file_of_crash_record(lab: &Lab) -> File {
    File::options().write(true).open(left_behind(lab).join("thread_slots")).unwrap()
}

#[test]
fn a_crash_record_truncated_during_a_call_is_complete_after_the_crash() {
    let mut lab = Lab::new("cut-off");
    lab.install(misbehave("version=1"));
    let hold = Hold::new(lab.dir());
    let mut victim = victim(&lab, &[directive(&lab.id(), &format!("write-to-null@{}", hold.path()))]);
    let inside = hold.entered();
    file_of_crash_record(&lab).set_len(0).unwrap();
    drop(inside);
    victim.wait().unwrap();
    assert_eq!(only(&crash(&lab, &victim)), (lab.id(), "Probe.misbehave".into(), Attribution::Raised));
}

#[test]
fn new_threads_can_call_after_the_crash_record_is_truncated_or_removed() {
    let mut lab = Lab::new("cut-off-calls");
    lab.install(misbehave("version=1"));
    lab.start();
    file_of_crash_record(&lab).set_len(0).unwrap();
    // The marks of so many threads also occupy pages of the crash record that were not used before.
    let many = || {
        thread::scope(|scope| {
            let callers: Vec<_> = (0..64).map(|_| scope.spawn(|| lab.probe().version())).collect();
            callers.into_iter().for_each(|caller| assert_eq!(caller.join().unwrap(), Ok(1)));
        });
    };
    many();
    fs::remove_file(left_behind(&lab).join("thread_slots")).unwrap();
    many();
}

#[test]
fn the_crash_record_is_mapped_from_memory_and_not_from_a_file() {
    let mut lab = Lab::new("unmapped");
    lab.install(misbehave("version=1"));
    lab.start();
    assert_eq!(lab.probe().version(), Ok(1));
    let run = left_behind(&lab);
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped: Vec<_> = maps.lines().filter(|line| line.contains(run.to_str().unwrap())).collect();
    assert!(mapped.iter().all(|line| line.ends_with(".so")), "{mapped:#?}");
    assert!(
        maps.lines().any(|line| line.contains("memfd:replug-thread_slots") && line.contains("rw-s")),
        "{maps}"
    );
}

#[test]
fn a_forked_child_does_not_clear_the_mark_of_its_parent() {
    let mut lab = Lab::new("forked-return");
    lab.install(misbehave("version=1"));
    let mut victim = offered_victim(&lab, &[directive(&lab.id(), "fork-one-that-returns")]);
    let status = victim.wait().unwrap();
    note_end(&left_behind(&lab), status).unwrap();
    assert_eq!(only(&crash(&lab, &victim)), (lab.id(), "Probe.misbehave".into(), Attribution::InFlight));
}

#[test]
fn a_signal_from_another_thread_is_not_attributed_to_its_target() {
    let (lab, mut victim, [first, second]) = two_in_flight("signalled", "abort-from-caller-0");
    drop(second);
    let status = victim.wait().unwrap();
    drop(first);
    assert_eq!(status.signal(), Some(sigabrt()));
    let crash = crash(&lab, &victim);
    assert_eq!(crash.end, End::Signal("SIGABRT"));
    assert!(crash.suspects.iter().all(|it| it.attribution == Attribution::InFlight), "{crash}");
    assert_eq!(crash.suspects.len(), 2, "{crash}");
}
