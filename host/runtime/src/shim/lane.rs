//! A lane: one connection on which calls come one after another, and the thread that runs them.

use super::serve::SharedInstance;
use crate::{
    lane::{Line, ShimMemory},
    load::in_process::Cancellation,
    panic_location,
};
use abi_stable::std_types::RVec;
use replug_api::abi::{Outcome, Refusal};
use replug_wire::{Answer, Call, Carrier, Channel, Kind, RequestId, WireError};
use std::{
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

/// If no thread can be started for a lane, how long the shim waits for the first call, to answer it with the error.
const FIRST_CALL: Duration = Duration::from_secs(1);

/// The instance to call, and the cancellation of the calls on this lane.
pub(super) type Served = (SharedInstance, Arc<Cancellation>);

/// Serves calls on a thread of its own until the host closes the connection.
pub(crate) fn open(lane: (UnixStream, Option<ShimMemory>), served: Served) -> Result<(), WireError> {
    let (stream, memory) = lane;
    let kept = stream.try_clone()?;
    let serve = move || {
        let mut line = Line::of_shim(stream, memory);
        // When this closure returns, the connection is closed, so that the host notices that the lane is not served any
        // more.
        while one(&mut line, &served).is_ok() {}
    };
    match thread::Builder::new().name("replug-lane".into()).spawn(serve) {
        Ok(_) => Ok(()),
        Err(error) => {
            refuse(kept, &format!("the plugin's process cannot start a thread for the call: {error}"))
        }
    }
}

/// Rejects the first call of a lane that cannot be served.
fn refuse(stream: UnixStream, reason: &str) -> Result<(), WireError> {
    // The host opens a lane for a call, which it is about to send.
    stream.set_read_timeout(Some(FIRST_CALL))?;
    let mut channel = Channel::new(stream);
    if let Ok(frame) = channel.receive() {
        let id = frame.id;
        // If the caller is gone, it needs no answer.
        let _ = answer(&mut channel, id, Answer::Broken(reason));
    }
    Ok(())
}

/// The outcome of a call, before it is converted to the `Answer` that is sent to the host.
enum Done {
    Called(Outcome<RVec<u8>, Refusal>),
    NoSuchMethod,
    NotRunning,
    Broken,
}

/// Serves one call.
pub(super) fn one(channel: &mut impl Carrier, served: &Served) -> Result<(), WireError> {
    let (instance, calls) = served;
    let frame = channel.receive()?;
    let id = frame.id;
    let call = Call::decode(frame.of_kind(Kind::Call)?)?;
    // The plugin's own panics are contained. A panic that is caught here comes from the shim itself.
    let done = catch_unwind(AssertUnwindSafe(|| calls.during(id.0, || run(&call, instance))));
    let done = done.unwrap_or(Done::Broken);
    let answered = match &done {
        Done::Called(Outcome::Returned(bytes)) => answer(channel, id, Answer::Returned(bytes)),
        Done::Called(Outcome::Refused(Refusal::Error(bytes))) => answer(channel, id, Answer::Refused(bytes)),
        Done::Called(Outcome::Refused(Refusal::BadArguments(text))) => {
            answer(channel, id, Answer::BadArguments(text))
        }
        Done::Called(Outcome::Refused(Refusal::BadResult(text))) => {
            answer(channel, id, Answer::BadResult(text))
        }
        Done::Called(Outcome::Panicked(panic)) => {
            let location = panic_location::take(panic.message()).unwrap_or_default();
            answer(channel, id, Answer::Panicked { location: &location, message: panic.message() })
        }
        // This does not happen: only the remote edges with which the host calls a shim return `Lost`. Here, the
        // plugin's own edges are called.
        Done::Called(Outcome::Lost) => answer(channel, id, Answer::Broken("its edge returned no result")),
        Done::NoSuchMethod => answer(channel, id, Answer::NoSuchMethod),
        Done::NotRunning => answer(channel, id, Answer::NotRunning),
        Done::Broken => answer(channel, id, Answer::Broken("its process panicked while it served a call")),
    };
    match answered {
        Err(error @ WireError::TooLarge { .. }) => answer(channel, id, Answer::BadResult(&error.to_string())),
        other => other,
    }
}

fn run(call: &Call<'_>, instance: &SharedInstance) -> Done {
    // The lock is held during the call, so that the instance is not dropped before its last call has returned.
    match &*instance.read() {
        Some(instance) => instance.invoke(call).map_or(Done::NoSuchMethod, Done::Called),
        None => Done::NotRunning,
    }
}

fn answer(channel: &mut impl Carrier, id: RequestId, answer: Answer<'_>) -> Result<(), WireError> {
    let (outcome, body) = answer.encode();
    channel.send(Kind::Answer, id, [&[outcome], body.bytes()])
}
