//! The service connection. It carries urgent requests of the host, which do not wait for the plugin.
//!
//! The thread of the connection never runs the author's code, and never waits for a thread that does. So further calls
//! reach a plugin that hangs in a call, and a call can be marked as cancelled.

use super::{lane, reporter::Reporter, serve::Shared};
use crate::{body::Body as _, load::in_process::Cancellation};
use replug_wire::{Channel, Command, DescriptorReceiver, Kind, LaneId, Message, WireError};
use std::{
    collections::BTreeMap,
    io,
    os::unix::net::UnixStream,
    sync::{Arc, Weak},
    thread,
};

/// The end of the service connection in a shim.
pub(super) struct Service {
    channel: Channel<DescriptorReceiver>,
    instance: Shared,
    reporter: Reporter,
    /// All open lanes, and some closed ones.
    lanes: BTreeMap<LaneId, Weak<Cancellation>>,
}

impl Service {
    pub(super) fn new(stream: UnixStream, instance: Shared, reporter: Reporter) -> Self {
        Self {
            channel: Channel::new(DescriptorReceiver::new(stream)),
            instance,
            reporter,
            lanes: BTreeMap::new(),
        }
    }

    /// Executes the host's commands on a thread of its own, until the host closes the connection.
    pub(super) fn run(mut self) -> io::Result<()> {
        // The end of this closure closes the connection, so the host learns of the end of the service.
        let serve = move || while self.one().is_ok() {};
        thread::Builder::new().name("replug-service".into()).spawn(serve).map(drop)
    }

    fn one(&mut self) -> Result<(), WireError> {
        match Command::decode(self.channel.receive()?.of_kind(Kind::Command)?)? {
            Command::OpenLane(id) => {
                let stream = self.channel.stream_mut().take().ok_or(WireError::NoDescriptor("open_lane"))?;
                let calls = Arc::<Cancellation>::default();
                self.lanes.retain(|_, calls| calls.strong_count() > 0);
                self.lanes.insert(id, Arc::downgrade(&calls));
                lane::open(UnixStream::from(stream), (self.instance.clone(), calls))?;
            }
            Command::Cancel { lane, call } => {
                if let Some(calls) = self.lanes.get(&lane).and_then(Weak::upgrade) {
                    calls.cancel(call.0);
                }
            }
            Command::SetMaxLevel(level) => {
                self.reporter.set_max_level(level);
                // A new instance asks for the level itself. An instance that is being dropped logs no more.
                if let Some(instance) = self.instance.try_read() {
                    instance.iter().for_each(|it| it.set_max_level(level));
                }
            }
        }
        Ok(())
    }
}
