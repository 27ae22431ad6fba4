//! The host's end against another that is played by the test.

use super::*;
use replug_api::abi::Encoding;
use std::{
    fs::File,
    io::pipe,
    os::{fd::OwnedFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

const CALL: Call<'static> = Call { interface: 0, method: 0, encoding: Encoding::Json, arguments: b"[]" };

/// What the host gets if the shim's first message is that.
fn greeted_with(kind: Kind, message: &[u8]) -> WireError {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (events, _) = UnixStream::pair().unwrap();
    Channel::new(theirs.try_clone().unwrap()).send(kind, RequestId(0), [message, &[]]).unwrap();
    let lifeline = OwnedFd::from(pipe().unwrap().0);
    Control::greet(ours, events, lifeline).unwrap_err()
}

#[test]
fn a_host_goes_on_with_no_shim_of_another_version_and_with_nothing_that_is_no_shim() {
    let later = Hello { protocol: 2, api: "9.9.9".into() }.encode().unwrap();
    assert!(matches!(greeted_with(Kind::Hello, &later), WireError::OtherProtocol { theirs: 2, .. }));
    assert!(matches!(greeted_with(Kind::Reply, &later), WireError::UnexpectedKind { .. }));
    assert!(matches!(greeted_with(Kind::Hello, &[0xff; 40]), WireError::Garbled { .. }));
}

/// A control connection whose shim greets and then answers to the first request with these frames.
fn control_answered_with(frames: Vec<u8>) -> Control {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (events, _) = UnixStream::pair().unwrap();
    let hello = frame(Kind::Hello as u8, 0, &Hello::own().encode().unwrap());
    let mut theirs_first = theirs.try_clone().unwrap();
    theirs_first.write_all(&[hello, frames].concat()).unwrap();
    let control = Control::greet(ours, events, OwnedFd::from(pipe().unwrap().0)).unwrap();
    // Reads what the host sends until it hangs up, so that nothing is reset.
    thread::spawn(move || io::copy(&mut &theirs, &mut io::sink()));
    control
}

fn reply(id: u64, reply: &Reply) -> Vec<u8> {
    frame(Kind::Reply as u8, id, &reply.encode().unwrap())
}

#[test]
fn a_reply_to_another_request_breaks_the_conversation_off() {
    let mut control = control_answered_with(reply(2, &Reply::Done));
    let error = control.start().unwrap_err();
    assert!(matches!(error, ControlError::Wire(WireError::OtherRequest { .. })), "{error}");
    let mut control = control_answered_with(reply(1, &Reply::Saved(State::default())));
    assert_eq!(control.start().unwrap_err().to_string(), "the reply to `start` is one to another request");
    let mut control = control_answered_with(reply(1, &Reply::Done));
    assert_eq!(control.save().unwrap_err().to_string(), "the reply to `save` is one to another request");
}

#[test]
fn a_failure_comes_back_as_what_it_was_and_the_conversation_goes_on() {
    let failure = Failure::Life {
        step: "start".into(),
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
fn descriptors_arrive_with_their_frame_in_order_and_the_host_takes_none() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut giving, mut taking) = (Channel::new(Giving::new(ours)), Channel::new(Taking::new(theirs)));
    let mut writers = Vec::new();
    for id in 0..3 {
        let (reader, writer) = pipe().unwrap();
        writers.push(writer);
        giving.stream_mut().give(reader);
        giving.send(Kind::Request, RequestId(id), [&[0; 9000], &[]]).unwrap();
    }
    for (id, mut writer) in writers.into_iter().enumerate() {
        assert_eq!(taking.receive().unwrap().id, RequestId(id as u64));
        let mut reader = File::from(taking.stream_mut().take().unwrap());
        writer.write_all(&[id as u8]).unwrap();
        drop(writer);
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert_eq!(got, [id as u8]);
    }
    assert!(taking.stream_mut().take().is_none());
}

#[test]
fn a_lane_gives_the_answer_to_its_own_call_only() {
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
fn a_lane_whose_deadline_passes_says_so() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut lane = Lane::new(ours);
    lane.stream().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(matches!(lane.call(CALL), Err(WireError::TimedOut)));
}

#[test]
fn reports_end_with_the_shim_and_garbage_among_them_is_an_error() {
    let said = messages::reports();
    let bytes: Vec<u8> =
        said.iter().flat_map(|report| frame(Kind::Report as u8, 0, &report.encode().unwrap())).collect();
    let mut reports = Reports::new(Memory::of(bytes.clone()));
    let heard: Vec<_> = std::iter::from_fn(|| reports.next_blocking().unwrap()).collect();
    assert_eq!(heard, said);

    let mut reports = Reports::new(Memory::of([&bytes[..], b"what a wild plugin writes"].concat()));
    assert!(reports.next_blocking().is_ok() && reports.next_blocking().is_ok());
    assert!(reports.next_blocking().is_err());
}
