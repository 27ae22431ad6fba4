//! Tests of the start and the exit of the shim, which runs as a separate process.
//!
//! The lifeline of a shim is a pipe, whose write end only the host has. The pipe closes when the host exits.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use replug_runtime::shim::EXIT_UNFIT;
use replug_wire::{Answer, Call, ControlConnection, Encoding, Greeting, Lane, SHIM_MARKER, Service};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::{
    io::{self, PipeWriter, Read},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    process::{Child, Command, Output, Stdio},
};

struct Started {
    child: Child,
    control: ControlConnection,
    service: Service,
    lifeline: PipeWriter,
}

fn shim(host: u32) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replug"));
    command.args([SHIM_MARKER, &host.to_string()]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start() -> Started {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = shim(std::process::id()).stdin(OwnedFd::from(theirs)).spawn().unwrap();
    let (_events, their_events) = UnixStream::pair().unwrap();
    let (their_lifeline, lifeline) = io::pipe().unwrap();
    let (service, their_service) = UnixStream::pair().unwrap();
    let greeting = Greeting { events: their_events, lifeline: their_lifeline.into(), service: their_service };
    let control = ControlConnection::greet(ours, greeting).unwrap();
    Started { child, control, service: Service::new(service), lifeline }
}

fn stderr_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(EXIT_UNFIT));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_shim_serves_lanes_and_exits_on_request() {
    let Started { mut child, control, mut service, lifeline: _lifeline } = start();
    let mut lane = Lane::new(service.open_lane().unwrap().1);
    let call = Call { interface: 0, method: 0, encoding: Encoding::Json, arguments: b"[]" };
    assert_eq!(lane.call(call).unwrap(), Answer::NotRunning);
    control.exit().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(lane.call(call).is_err(), "the lane is closed when the shim exits");
}

#[test]
fn a_shim_is_killed_when_its_lifeline_or_connection_closes() {
    let Started { mut child, control: _control, lifeline, .. } = start();
    drop(lifeline);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));

    let Started { mut child, control, lifeline: _lifeline, .. } = start();
    drop(control);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
}

#[test]
fn a_stopped_shim_is_killed_when_its_host_exits() {
    // The kernel sends the parent-death signal when the thread that started the process exits.
    let host = std::thread::spawn(|| {
        let started = start();
        let pid = Pid::from_child(&started.child);
        kill_process(pid, Signal::STOP).unwrap();
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped());
        started.child
    });
    let mut child = host.join().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
}

#[test]
fn a_shim_rejects_a_manual_start_and_a_dead_host() {
    let output = shim(std::process::id()).stdin(Stdio::null()).output().unwrap();
    assert!(stderr_of(&output).contains("this command is internal"), "{}", stderr_of(&output));

    let (mut ours, theirs) = UnixStream::pair().unwrap();
    // Process 1 is not the parent of this shim, so the shim must reject it.
    let output = shim(1).stdin(OwnedFd::from(theirs)).output().unwrap();
    assert!(
        stderr_of(&output).contains("the host that started this process is gone"),
        "{}",
        stderr_of(&output)
    );
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);
}
