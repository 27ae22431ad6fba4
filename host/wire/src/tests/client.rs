//! Tests the host's end with a simulated shim.

use super::*;
use replug_api::abi::Encoding;
use replug_model::step::Step;
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    fs::File,
    io::pipe,
    os::{fd::OwnedFd, unix::net::UnixStream},
    thread,
    time::{Duration, Instant},
};

const CALL: Call<'static> = Call { interface: 0, method: 0, encoding: Encoding::Json, arguments: b"[]" };

/// The result of the host's `greet` if the shim first sends this message.
fn greeted_with(kind: Kind, message: &[u8]) -> WireError {
    let (ours, theirs) = UnixStream::pair().unwrap();
    Channel::new(theirs.try_clone().unwrap()).send(kind, RequestId(0), [message, &[]]).unwrap();
    ControlConnection::greet(ours, greeting()).unwrap_err()
}

fn greeting() -> Greeting {
    let connection = || UnixStream::pair().unwrap().0;
    let lifeline = OwnedFd::from(pipe().unwrap().0);
    Greeting { events: connection(), lifeline, service: connection() }
}

#[test]
fn greet_rejects_another_protocol_and_an_invalid_hello() {
    let later = Hello { protocol: PROTOCOL + 1, api: "9.9.9".into() }.encode().unwrap();
    let refused = greeted_with(Kind::Hello, &later);
    assert!(matches!(refused, WireError::OtherProtocol { theirs, .. } if theirs == PROTOCOL + 1));
    assert!(matches!(greeted_with(Kind::Reply, &later), WireError::UnexpectedKind { .. }));
    assert!(matches!(greeted_with(Kind::Hello, &[0xff; 40]), WireError::Garbled { .. }));
}

/// A control connection whose shim sends `Hello`, and directly after it these frames, as the replies to the first
/// requests.
fn control_answered_with(frames: Vec<u8>) -> ControlConnection {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let hello = frame(Kind::Hello as u8, 0, &Hello::own().encode().unwrap());
    let mut theirs_first = theirs.try_clone().unwrap();
    theirs_first.write_all(&[hello, frames].concat()).unwrap();
    let control = ControlConnection::greet(ours, greeting()).unwrap();
    // Reads what the host sends until the host closes the connection, so that the connection is not reset.
    thread::spawn(move || io::copy(&mut &theirs, &mut io::sink()));
    control
}

fn reply(id: u64, reply: &Reply) -> Vec<u8> {
    frame(Kind::Reply as u8, id, &reply.encode().unwrap())
}

#[test]
fn a_reply_to_another_request_or_of_another_type_is_an_error() {
    let mut control = control_answered_with(reply(2, &Reply::Done));
    let error = control.start().unwrap_err();
    assert!(matches!(error, RequestError::Wire(WireError::OtherRequest { .. })), "{error}");
    let mut control = control_answered_with(reply(1, &Reply::Saved(State::default())));
    assert_eq!(control.start().unwrap_err().to_string(), "the reply to `start` has the wrong type");
    let mut control = control_answered_with(reply(1, &Reply::Done));
    assert_eq!(control.save().unwrap_err().to_string(), "the reply to `save` has the wrong type");
}

#[test]
fn a_failed_request_returns_its_failure_and_the_next_succeeds() {
    let failure = Failure::Life {
        step: Step::Start,
        code: "no_disk".into(),
        message: "the disk is full".into(),
        details: String::new(),
    };
    let replies = [reply(1, &Reply::Failed(failure)), reply(2, &Reply::Done)].concat();
    let mut control = control_answered_with(replies);
    assert_eq!(control.start().unwrap_err().to_string(), "`start` failed: the disk is full [no_disk]");
    control.start().unwrap();
}

#[test]
fn a_request_times_out_at_its_deadline_despite_partial_progress() {
    let greeted = || {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&frame(Kind::Hello as u8, 0, &Hello::own().encode().unwrap())).unwrap();
        let mut control = ControlConnection::greet(ours, greeting()).unwrap();
        control.until(Instant::now() + Duration::from_millis(50));
        (control, theirs)
    };
    let (mut control, mut theirs) = greeted();
    // The shim keeps sending parts of a reply that never ends.
    let head = [&MAX_FRAME.to_le_bytes()[..], &[Kind::Reply as u8], &[0; 8]].concat();
    theirs.write_all(&head).unwrap();
    let drip = thread::spawn(move || while theirs.write_all(&[0]).is_ok() {});
    assert!(matches!(control.start(), Err(RequestError::Wire(WireError::TimedOut))));
    drop(control);
    drip.join().unwrap();
    let (mut control, theirs) = greeted();
    let refused = control.restore(1, vec![0; 8 << 20]);
    assert!(matches!(refused, Err(RequestError::Wire(WireError::TimedOut))), "the shim does not read");
    drop(theirs);
}

#[test]
fn descriptors_arrive_in_order_with_their_frames() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut sender, mut receiver) =
        (Channel::new(DescriptorSender::new(ours)), Channel::new(DescriptorReceiver::new(theirs)));
    let mut writers = Vec::new();
    for id in 0..3 {
        let (reader, writer) = pipe().unwrap();
        writers.push(writer);
        sender.stream_mut().attach(reader);
        sender.send(Kind::Request, RequestId(id), [&[0; 9000], &[]]).unwrap();
    }
    for (id, mut writer) in writers.into_iter().enumerate() {
        assert_eq!(receiver.receive().unwrap().id, RequestId(id as u64));
        let mut reader = File::from(receiver.stream_mut().take().unwrap());
        writer.write_all(&[id as u8]).unwrap();
        drop(writer);
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert_eq!(got, [id as u8]);
    }
    assert!(receiver.stream_mut().take().is_none());
}

#[test]
fn a_descriptor_of_an_unsent_frame_is_not_sent_with_the_next_frame() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut sender, mut receiver) =
        (Channel::new(DescriptorSender::new(ours)), Channel::new(DescriptorReceiver::new(theirs)));
    sender.stream_mut().attach(pipe().unwrap().0);
    sender.stream_mut().stream_mut().until(Some(Instant::now()));
    assert!(matches!(sender.send(Kind::Command, RequestId(0), [b"", b""]), Err(WireError::TimedOut)));
    sender.stream_mut().stream_mut().until(None);
    sender.send(Kind::Command, RequestId(0), [b"", b""]).unwrap();
    receiver.receive().unwrap();
    assert!(receiver.stream_mut().take().is_none());
}

#[test]
fn a_lane_returns_only_the_answer_to_its_own_call() {
    let answered = |id: u64| {
        let mut lane = Lane::new(Memory::of(frame(Kind::Answer as u8, id, b"\0[1]")));
        lane.call(CALL).map(|answer| format!("{answer:?}"))
    };
    assert_eq!(answered(1).unwrap(), format!("{:?}", Answer::Returned(b"[1]")));
    assert!(matches!(answered(2), Err(WireError::OtherRequest { .. })));
    let mut lane = Lane::new(Memory::default());
    assert!(matches!(lane.call(CALL), Err(WireError::Closed)));
}

#[test]
fn a_call_that_could_not_be_sent_is_not_awaited() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut lane = Lane::new(ours);
    lane.carrier().stream().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(matches!(lane.call(CALL), Err(WireError::TimedOut)));
    assert_eq!(lane.awaited(), Some(RequestId(1)));
    drop(theirs);
    assert!(matches!(lane.call(CALL), Err(WireError::Closed | WireError::Unread)));
    assert_eq!(lane.awaited(), None);
}

#[test]
fn a_lane_reports_whether_the_peer_read_the_call_before_it_exited() {
    for (reads, left_to_read) in [(CALL.head().len() + 2 + 13, 0), (20, 2), (0, 22)] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut lane = Lane::new(ours);
        let end = thread::spawn(move || {
            theirs.read_exact(&mut vec![0; reads]).unwrap();
            // Waits until the rest of the call has arrived, and does not read it.
            while rustix::io::ioctl_fionread(&theirs).unwrap() < left_to_read {
                poll(&mut [PollFd::new(&theirs, PollFlags::IN)], None).unwrap();
            }
        });
        let error = lane.call(CALL).unwrap_err();
        end.join().unwrap();
        let was_read = left_to_read == 0;
        assert_eq!(matches!(error, WireError::Closed), was_read, "{error}");
        assert_eq!(lane.awaited().is_some(), was_read);
    }
}

#[test]
fn a_lane_resumes_a_late_answer_and_serves_the_next_call() {
    for len in [10, 20_000, 3 << 20] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut lane = Lane::new(ours);
        lane.carrier().stream().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let answer = frame(Kind::Answer as u8, 1, &[&[0][..], &vec![7; len]].concat());
        // The answer arrives in three parts. The first part ends within the header, and the second within the payload.
        let mut parts = [&answer[..5], &answer[5..17], &answer[17..]].into_iter();
        theirs.write_all(parts.next().unwrap()).unwrap();
        assert!(matches!(lane.call(CALL), Err(WireError::TimedOut)));
        theirs.write_all(parts.next().unwrap()).unwrap();
        assert!(matches!(lane.late_answer(), Err(WireError::TimedOut)));
        assert_eq!(lane.awaited(), Some(RequestId(1)));
        lane.carrier().stream().set_read_timeout(None).unwrap();
        let rest = parts.next().unwrap();
        let late = thread::scope(|scope| {
            scope.spawn(|| theirs.write_all(rest).unwrap());
            matches!(lane.late_answer(), Ok(Answer::Returned(bytes)) if bytes == vec![7; len])
        });
        assert!(late, "{len}");
        assert_eq!(lane.awaited(), None);
        theirs.write_all(&frame(Kind::Answer as u8, 2, b"\0next")).unwrap();
        assert_eq!(lane.call(CALL).unwrap(), Answer::Returned(b"next"));
    }
}

#[test]
fn service_commands_carry_descriptors_and_get_no_reply() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut service = Service::new(ours);
    let (first, mut lane) = service.open_lane().unwrap();
    service.cancel(first, RequestId(4)).unwrap();
    service.set_max_level(Level(5)).unwrap();
    let (second, _) = service.open_lane().unwrap();
    assert_ne!(first, second);
    let mut receiver = Channel::new(DescriptorReceiver::new(theirs));
    let mut next = || Command::decode(receiver.receive().unwrap().of_kind(Kind::Command).unwrap()).unwrap();
    assert_eq!(next(), Command::OpenLane(first));
    assert_eq!(next(), Command::Cancel { lane: first, call: RequestId(4) });
    assert_eq!([next(), next()], [Command::SetMaxLevel(Level(5)), Command::OpenLane(second)]);
    let mut theirs = UnixStream::from(receiver.stream_mut().take().unwrap());
    lane.write_all(b"hello").unwrap();
    let mut received = [0; 5];
    theirs.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"hello");
}

#[test]
fn reports_end_when_the_shim_exits_and_an_invalid_frame_is_an_error() {
    let sent = messages::reports();
    let bytes: Vec<u8> =
        sent.iter().flat_map(|report| frame(Kind::Report as u8, 0, &report.encode().unwrap())).collect();
    let mut reports = Reports::new(Memory::of(bytes.clone()));
    let received: Vec<_> = std::iter::from_fn(|| reports.next_blocking().unwrap()).collect();
    assert_eq!(received, sent);

    let mut reports = Reports::new(Memory::of([&bytes[..], b"what a wild plugin writes"].concat()));
    assert!(reports.next_blocking().is_ok() && reports.next_blocking().is_ok());
    assert!(reports.next_blocking().is_err());
}
