//! The wire protocol between a host and the process of a plugin: answers, errors, and the end of the process.

use replug::{Generation, PluginId};
use replug_builder::artifact::inspect;
use replug_tests::{command::replug, misbehave};
use replug_wire::{
    Answer, Call, ControlConnection, Create, Encoding, Greeting, Lane, Level, Limits, Load, Report, Reports,
    SHIM_MARKER, Service, WireError,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs, io,
    os::{fd::OwnedFd, unix::net::UnixListener, unix::net::UnixStream, unix::process::ExitStatusExt},
    process::Child,
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// A shim that runs a version of the fixture.
struct Shim {
    child: Child,
    control: ControlConnection,
    service: Service,
    reports: Reports<UnixStream>,
    methods: Vec<String>,
    dir: TempDir,
    _lifeline: io::PipeWriter,
}

impl Shim {
    fn with(directives: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("misbehave.so");
        fs::write(&path, misbehave(directives)).unwrap();
        let shared_std = inspect(&path).unwrap().shared_std().map(Into::into);

        let (ours, theirs) = UnixStream::pair().unwrap();
        let (events, their_events) = UnixStream::pair().unwrap();
        // If a message does not arrive, the test fails and does not hang.
        for stream in [&ours, &events] {
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        }
        let (their_lifeline, lifeline) = io::pipe().unwrap();
        let host = std::process::id().to_string();
        let child = replug().args([SHIM_MARKER, &host]).stdin(OwnedFd::from(theirs)).spawn().unwrap();
        let (service, their_service) = UnixStream::pair().unwrap();
        let greeting =
            Greeting { events: their_events, lifeline: their_lifeline.into(), service: their_service };
        let mut control = ControlConnection::greet(ours, greeting).unwrap();
        let limits = Limits { open_files: Some(256), ..Limits::default() };
        let loaded = control.load(Load { path, shared_std, limits }).unwrap();
        let described: replug_api::describe::Interface =
            serde_json::from_str(&loaded.interfaces[0].description).unwrap();
        let methods = described.methods.into_iter().map(|method| method.name).collect();
        let (service, reports) = (Service::new(service), Reports::new(events));
        Self { child, control, service, reports, methods, dir, _lifeline: lifeline }
    }

    fn create(&mut self) -> Result<(), String> {
        let create = Create {
            id: "dev.test.misbehave".parse::<PluginId>().unwrap(),
            generation: Generation(1),
            data_dir: self.dir.path().into(),
            config: "{}".into(),
            trial: true,
            max_level: Level(3),
        };
        self.control.create(create).map_err(|error| error.to_string())
    }

    fn up(directives: &str) -> Self {
        let mut shim = Self::with(directives);
        shim.create().unwrap();
        shim
    }

    fn method(&self, name: &str) -> u32 {
        self.methods.iter().position(|known| known == name).unwrap().try_into().unwrap()
    }

    fn report(&mut self) -> Report {
        self.reports.next_blocking().unwrap().unwrap()
    }
}

fn call(method: u32, arguments: &str) -> Call<'_> {
    Call { interface: 0, method, encoding: Encoding::Json, arguments: arguments.as_bytes() }
}

#[test]
fn a_panic_in_a_shim_is_reported_before_the_answer_to_the_call() {
    let mut shim = Shim::up("version=1");
    let mut lane = Lane::new(shim.service.open_lane().unwrap().1);
    let answer = lane.call(call(shim.method("panic"), r#"["on a lane"]"#)).unwrap();
    let Answer::Panicked { location, message } = answer else { panic!("{answer:?}") };
    assert_eq!(message, "on a lane");
    assert!(location.contains("src/lib.rs:"), "{location}");
    let location = location.to_owned();
    let Report::Panic { message, location: reported, thread, .. } = shim.report() else { panic!() };
    assert_eq!((message.as_str(), reported, thread.as_str()), ("on a lane", location, "replug-lane"));

    let answer = lane.call(call(shim.method("panic_elsewhere"), r#"["far away"]"#)).unwrap();
    assert_eq!(answer, Answer::Returned(b"null"));
    let Report::Panic { message, thread, .. } = shim.report() else { panic!() };
    assert_eq!((message.as_str(), thread.as_str()), ("far away", "elsewhere"));
    assert_eq!(lane.call(call(shim.method("version"), "[]")).unwrap(), Answer::Returned(b"1"));
}

#[test]
fn a_shim_reports_plugin_logs_up_to_the_max_level() {
    let mut shim = Shim::up("");
    let mut lane = Lane::new(shim.service.open_lane().unwrap().1);
    let log = shim.method("log");
    for level in ["debug", "warn"] {
        lane.call(call(log, &format!(r#"["{level}", "it is {level}"]"#))).unwrap();
    }
    let Report::Log { level, message, fields, spans, .. } = shim.report() else { panic!() };
    assert_eq!((level, message.as_str(), fields.as_str()), (Level(2), "it is warn", r#"{"number":7}"#));
    assert!(spans.contains("outer"), "{spans}");
    shim.service.set_max_level(Level(5)).unwrap();
    // `set_max_level` has no answer. The shim executes service commands in order, so it has set the level when it has
    // accepted a connection that is opened afterwards.
    let mut lane = Lane::new(shim.service.open_lane().unwrap().1);
    lane.call(call(log, r#"["debug", "now it is wanted"]"#)).unwrap();
    assert!(matches!(shim.report(), Report::Log { message, .. } if message == "now it is wanted"));
}

#[test]
fn a_failure_or_panic_in_a_shim_names_its_step() {
    let mut shim = Shim::with("panic=init");
    let error = shim.create().unwrap_err();
    assert!(error.contains("`init` failed: init was told to panic [panicked]"), "{error}");
    let mut shim = Shim::with("fail=init");
    assert!(shim.create().unwrap_err().contains("[told_to_fail]"));
    let mut shim = Shim::up("fail=start panic=save panic=drop");
    let told = |outcome: Result<(), replug_wire::RequestError>| outcome.unwrap_err().to_string();
    assert_eq!(told(shim.control.start()), "`start` failed: start was told to fail [told_to_fail]");
    assert_eq!(told(shim.control.save().map(drop)), "`save` failed: save was told to panic [panicked]");
    assert_eq!(told(shim.control.destroy()), "`drop` failed: drop was told to panic [panicked]");
    assert!(told(shim.control.destroy()).contains("out of turn"));
    shim.control.exit().unwrap();
    assert!(shim.child.wait().unwrap().success());
}

#[test]
fn a_large_call_succeeds_and_a_result_over_the_limit_is_an_error() {
    let mut shim = Shim::up("version=3");
    let mut lane = Lane::new(shim.service.open_lane().unwrap().1);
    let text = "x".repeat(3 << 20);
    let answer = lane.call(call(shim.method("echo"), &format!(r#"["{text}"]"#))).unwrap();
    assert!(matches!(answer, Answer::Returned(bytes) if bytes.len() == text.len() + 2));
    let many = format!(r#"["{text}", 100]"#);
    let answer = lane.call(call(shim.method("repeat"), &many)).unwrap();
    assert!(matches!(answer, Answer::BadResult(why) if why.contains("exceeds the limit")), "{answer:?}");
    assert_eq!(lane.call(call(shim.method("version"), "[]")).unwrap(), Answer::Returned(b"3"));
}

#[test]
fn lanes_run_calls_concurrently_and_close_when_the_shim_is_killed() {
    let mut shim = Shim::up("version=4");
    let listener = UnixListener::bind(shim.dir.path().join("held")).unwrap();
    let held = format!("[{:?}]", shim.dir.path().join("held"));
    let (hold, version) = (shim.method("hold"), shim.method("version"));
    let mut first = Lane::new(shim.service.open_lane().unwrap().1);
    let mut second = Lane::new(shim.service.open_lane().unwrap().1);
    for stream in [first.carrier().stream(), second.carrier().stream()] {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    }
    thread::scope(|scope| {
        let caller = scope.spawn(move || first.call(call(hold, &held)).map(|answer| format!("{answer:?}")));
        let (_inside, _) = listener.accept().unwrap();
        assert_eq!(second.call(call(version, "[]")).unwrap(), Answer::Returned(b"4"));
        kill_process(Pid::from_child(&shim.child), Signal::ABORT).unwrap();
        assert!(matches!(caller.join().unwrap(), Err(WireError::Closed)));
        assert!(matches!(second.call(call(version, "[]")), Err(WireError::Closed)));
    });
    assert_eq!(shim.child.wait().unwrap().signal(), Some(Signal::ABORT.as_raw()));
    assert!(shim.reports.next_blocking().unwrap().is_none());
}
