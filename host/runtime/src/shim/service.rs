//! The service connection. It carries service commands of the host, which do not wait for the plugin.
//!
//! The thread of the connection never runs the author's code, and never waits for a thread that does. So the host can
//! make further calls, and can mark a call as cancelled, even if the plugin hangs in a call.

use super::{lane, reporter::Reporter, serve::SharedInstance};
use crate::{lane::ShimMemory, load::in_process::Cancellation, registry::body::Body as _};
use replug_wire::{Channel, Command, DescriptorReceiver, Kind, LaneId, Message, WireError};
use std::{
    collections::BTreeMap,
    io,
    os::unix::net::UnixStream,
    sync::{Arc, Weak},
    thread,
};

/// The shim's side of the service connection.
pub(super) struct Service {
    channel: Channel<DescriptorReceiver>,
    instance: SharedInstance,
    reporter: Reporter,
    /// All open lanes. A closed lane is removed when the next lane is opened.
    lanes: BTreeMap<LaneId, Weak<Cancellation>>,
}

impl Service {
    pub(super) fn new(stream: UnixStream, instance: SharedInstance, reporter: Reporter) -> Self {
        Self {
            channel: Channel::new(DescriptorReceiver::new(stream)),
            instance,
            reporter,
            lanes: BTreeMap::new(),
        }
    }

    /// Executes the host's service commands on a thread of its own, until the host closes the connection.
    pub(super) fn run(mut self) -> io::Result<()> {
        // When this closure returns, the connection is closed, so that the host notices that no commands are served any
        // more.
        let serve = move || while self.one().is_ok() {};
        thread::Builder::new().name("replug-service".into()).spawn(serve).map(drop)
    }

    fn one(&mut self) -> Result<(), WireError> {
        match Command::decode(self.channel.receive()?.of_kind(Kind::Command)?)? {
            Command::OpenLane(lane) => self.open(lane, None)?,
            Command::OpenMemoryLane { lane, bytes } => self.open(lane, Some(bytes))?,
            Command::Cancel { lane, call } => {
                if let Some(calls) = self.lanes.get(&lane).and_then(Weak::upgrade) {
                    calls.cancel(call.0);
                }
            }
            Command::SetMaxLevel(level) => {
                self.reporter.set_max_level(level);
                // The lock is not available while an instance is made or dropped. A new instance reads the level from
                // the reporter. An instance that is being dropped does not need the level.
                if let Some(instance) = self.instance.try_read() {
                    instance.iter().for_each(|it| it.set_max_level(level));
                }
            }
        }
        Ok(())
    }

    /// Serves calls on a new lane. `memory` is the size of the lane's memory in bytes, if the lane has memory.
    fn open(&mut self, id: LaneId, memory: Option<u32>) -> Result<(), WireError> {
        let descriptors = self.channel.stream_mut();
        let stream = descriptors.take().ok_or(WireError::NoDescriptor("open_lane"))?;
        let memory = memory.and_then(|bytes| {
            // If this process has reached its limit on open files, the kernel has dropped the last descriptors.
            let files = [descriptors.take(), descriptors.take()];
            let [Some(calls), Some(answers)] = files else { return None };
            Some(ShimMemory { files: [calls, answers], bytes })
        });
        let calls = Arc::<Cancellation>::default();
        self.lanes.retain(|_, calls| calls.strong_count() > 0);
        self.lanes.insert(id, Arc::downgrade(&calls));
        lane::open((stream.into(), memory), (self.instance.clone(), calls))
    }
}
