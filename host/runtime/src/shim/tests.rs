//! Tests a shim that runs on a thread of the test and loads a real plugin.

use super::*;
use replug_api::abi::Encoding;
use replug_model::{
    id::{Generation, PluginId},
    step::Step,
};
use replug_wire::{
    self as wire, Answer, Call, Channel, ControlConnection, Create, Failure, Greeting, Lane, Level, Limits,
    Load, Report, Reports, RequestError, RequestId, Service, WireError,
};
use serve::{Ended, Shim};
use std::{
    env, fs,
    io::{PipeWriter, pipe},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    thread::{self, JoinHandle},
    time::Duration,
};

/// The host's side of a shim that serves on a thread.
struct Served {
    control: ControlConnection,
    service: Service,
    reports: Reports<UnixStream>,
    thread: JoinHandle<Result<Ended, ShimError>>,
    /// The shim has the other end. These tests never close it early.
    _lifeline: PipeWriter,
}

fn serve() -> Served {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (events, their_events) = UnixStream::pair().unwrap();
    // With a timeout, a missing report fails the test instead of blocking it.
    events.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (service, their_service) = UnixStream::pair().unwrap();
    let (their_lifeline, lifeline) = pipe().unwrap();
    let thread = thread::spawn(move || {
        let (mut shim, _lifeline, service) = Shim::meet(theirs)?;
        service.run().unwrap();
        shim.serve()
    });
    let lifeline_end = OwnedFd::from(their_lifeline);
    let greeting = Greeting { events: their_events, lifeline: lifeline_end, service: their_service };
    let control = ControlConnection::greet(ours, greeting).unwrap();
    let service = Service::new(service);
    Served { control, service, reports: Reports::new(events), thread, _lifeline: lifeline }
}

fn open_lane(service: &mut Service) -> Lane<Channel<UnixStream>> {
    Lane::new(service.open_lane().unwrap().1)
}

/// Builds the calculator as its author does, and returns a private copy of it.
fn calculator(state: &Path) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `--package replug-cli` makes cargo select the same features as for the command `replug`, so that it uses the
    // dependencies that it has already compiled for that command.
    let cargo =
        cargo.args(["build", "--quiet", "--lib", "--package", "calculator", "--package", "replug-cli"]);
    assert!(cargo.current_dir(workspace).status().unwrap().success(), "the calculator builds");
    let (test, copy) = (env::current_exe().unwrap(), state.join("calculator.so"));
    let built = test.ancestors().nth(2).expect("the test is in `deps` of the target folder");
    fs::copy(built.join("libcalculator.so"), &copy).unwrap();
    copy
}

fn create(state: &Path) -> Create {
    Create {
        id: "dev.replug.calculator".parse::<PluginId>().unwrap(),
        generation: Generation(3),
        data_dir: state.to_owned(),
        config: "{}".into(),
        trial: false,
        max_level: Level(5),
    }
}

fn call<'a>(method: u32, arguments: &'a str) -> Call<'a> {
    Call { interface: 0, method, encoding: Encoding::Json, arguments: arguments.as_bytes() }
}

#[test]
fn a_plugin_runs_through_its_lifecycle_in_a_shim() {
    let state = tempfile::tempdir().unwrap();
    let path = calculator(state.path());
    let Served { mut control, mut service, mut reports, thread, .. } = serve();

    let limits = Limits { open_files: Some(4096), ..Limits::default() };
    let loaded = control.load(Load { path, shared_std: None, limits }).unwrap();
    assert_eq!((loaded.package.as_str(), loaded.stateful), ("calculator", true));
    let described: replug_api::describe::Interface =
        serde_json::from_str(&loaded.interfaces[0].description).unwrap();
    let method = |name: &str| described.methods.iter().position(|it| it.name == name).unwrap() as u32;

    let mut lane = open_lane(&mut service);
    assert_eq!(lane.call(call(0, "[1,2]")).unwrap(), Answer::NotRunning);
    control.create(create(state.path())).unwrap();
    control.start().unwrap();
    let first = reports.next_blocking().unwrap().unwrap();
    assert!(
        matches!(&first, Report::Log { level: Level(3), message, .. } if message == "the calculator is on"),
        "{first:?}"
    );
    assert!(control.health().unwrap().healthy);

    let sum = lane.call(call(method("add"), r#"{"a": 1, "b": 2}"#)).unwrap();
    assert_eq!(sum, Answer::Returned(b"3.0"));
    let refused = lane.call(call(method("divide"), "[1, 0]")).unwrap();
    assert!(matches!(refused, Answer::Refused(json) if json.starts_with(b"{")), "{refused:?}");
    let bad = lane.call(call(method("add"), "[1]")).unwrap();
    assert_eq!(bad, Answer::BadArguments("takes 2 arguments (a, b), 1 given"));
    assert_eq!(lane.call(call(1000, "[]")).unwrap(), Answer::NoSuchMethod);
    assert_eq!(lane.call(Call { interface: 9, ..call(0, "[]") }).unwrap(), Answer::NoSuchMethod);

    let saved = control.save().unwrap();
    control.restore(loaded.state_version, saved).unwrap();
    let garbage = control.restore(loaded.state_version, vec![0xc1]).unwrap_err();
    assert!(
        matches!(&garbage, RequestError::Failed(Failure::Life { step, .. }) if *step == Step::Restore),
        "{garbage}"
    );
    control.configure(r#"{"history_limit": 1}"#).unwrap();
    let unknown = control.configure(r#"{"histroy": 1}"#).unwrap_err();
    assert!(unknown.to_string().contains("histroy"), "{unknown}");
    service.set_max_level(Level(0)).unwrap();

    control.stop().unwrap();
    control.destroy().unwrap();
    assert_eq!(lane.call(call(0, "[1,2]")).unwrap(), Answer::NotRunning);
    assert!(control.start().unwrap_err().to_string().contains("`start` is out of turn"));
    control.exit().unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), Ended::Asked);
}

#[test]
fn a_shim_rejects_an_invalid_load_and_still_serves() {
    let mut served = serve();
    let state = tempfile::tempdir().unwrap();
    let early = served.control.create(create(state.path())).unwrap_err();
    assert!(early.to_string().contains("`create` is out of turn: there is no library"), "{early}");

    let path = state.path().join("none.so");
    let refused = served.control.load(Load { path, ..Load::default() }).unwrap_err();
    assert!(matches!(&refused, RequestError::Failed(Failure::Load { .. })), "{refused}");
    assert!(refused.to_string().contains("none.so"), "{refused}");
    let second = served.control.load(Load::default()).unwrap_err();
    assert!(second.to_string().contains("has already opened a library"), "{second}");

    drop((served.control, served.service));
    assert_eq!(served.thread.join().unwrap().unwrap(), Ended::HungUp);
    assert!(served.reports.next_blocking().unwrap().is_none());
}

/// Runs a shim whose host sends these frames and then closes its end. Returns the result of the shim, and the bytes
/// that it has sent.
fn run_with(
    frames: impl FnOnce(&mut Channel<wire::DescriptorSender>),
) -> (Result<Ended, ShimError>, Vec<u8>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut host = Channel::new(wire::DescriptorSender::new(ours));
    let thread = thread::spawn(move || Shim::meet(theirs)?.0.serve());
    frames(&mut host);
    let ours = host.stream_mut().stream_mut();
    // An error means that the shim has already closed the connection.
    let _ = ours.connection().upgrade().unwrap().shutdown(std::net::Shutdown::Write);
    let mut received = Vec::new();
    let _ = io::Read::read_to_end(ours, &mut received);
    (thread.join().unwrap(), received)
}

#[test]
fn a_shim_exits_with_the_reason_if_its_host_breaks_the_protocol() {
    use wire::{Hello, Kind, Message};
    let hello = |protocol| Hello { protocol, api: "9.9.9".into() }.encode().unwrap();
    let send = |host: &mut Channel<wire::DescriptorSender>, kind, payload: &[u8]| {
        host.send(kind, RequestId(0), [payload, &[]]).unwrap();
    };
    let (end, received) = run_with(|host| send(host, Kind::Hello, &hello(99)));
    assert!(matches!(end, Err(ShimError::Wire(WireError::OtherProtocol { theirs: 99, .. }))));
    let answer = Channel::new(io::Cursor::new(received)).receive().map(|frame| frame.kind);
    assert_eq!(answer.unwrap(), Kind::Hello, "the shim sends its protocol version");

    let (end, _) = run_with(|host| send(host, Kind::Hello, &hello(wire::PROTOCOL)));
    assert!(matches!(end, Err(ShimError::Wire(WireError::NoDescriptor("hello")))));
    let (end, _) = run_with(|host| send(host, Kind::Request, &hello(wire::PROTOCOL)));
    assert!(matches!(end, Err(ShimError::Wire(WireError::UnexpectedKind { .. }))));

    let (end, _) = run_with(|host| {
        for _ in 0..3 {
            host.stream_mut().attach(UnixStream::pair().unwrap().0);
        }
        send(host, Kind::Hello, &hello(wire::PROTOCOL));
        send(host, Kind::Request, &[0xff; 100]);
    });
    assert!(matches!(end, Err(ShimError::Wire(WireError::Garbled { .. }))));
}

#[test]
fn a_lane_whose_memory_cannot_be_mapped_serves_over_its_socket() {
    use crate::lane::{HostMemory, LANE_BYTES, Line};
    let mut served = serve();
    let bytes = LANE_BYTES as u32;
    let memory = || HostMemory::make().unwrap();
    let pipes = pipe().map(|(read, write)| [OwnedFd::from(read), OwnedFd::from(write)]).unwrap();
    let ((usable, files), (too_short, short_files), (no_memory, _)) = (memory(), memory(), memory());
    for (memory, files, bytes, is_used) in [
        (usable, files, bytes, true),
        (too_short, short_files, 2 * bytes, false),
        (no_memory, pipes, bytes, false),
    ] {
        let (_, stream) = served.service.open_memory_lane(files, bytes).unwrap();
        let mut lane = Lane::over(Line::of_host(stream.into(), Some(memory)));
        for _ in 0..3 {
            assert_eq!(lane.call(call(0, "[]")).unwrap(), Answer::NotRunning);
        }
        assert_eq!(lane.carrier().uses_memory(), is_used);
    }
}

#[test]
fn a_lane_closes_on_garbage_and_other_lanes_still_serve() {
    use wire::Kind;
    let mut served = serve();
    let mut wild = open_lane(&mut served.service);
    io::Write::write_all(&mut wild.carrier().stream(), &[0xff; 64]).unwrap();
    assert!(matches!(wild.call(call(0, "[]")), Err(WireError::Closed | WireError::Unread)));
    let mut good = open_lane(&mut served.service);
    assert_eq!(good.call(call(0, "[]")).unwrap(), Answer::NotRunning);
    let kind = Kind::Call;
    let mut raw = Channel::new(served.service.open_lane().unwrap().1);
    raw.send(kind, RequestId(7), [b"short", &[]]).unwrap();
    assert!(matches!(raw.receive(), Err(WireError::Closed)));
}
