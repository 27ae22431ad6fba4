//! The service connection: what the host wants at once, whatever the plugin is busy with.
//!
//! Its thread never runs the author's code and never waits for a thread that does, so that a plugin that hangs can
//! still be called elsewhere, and told that it is no longer waited for.

use super::{lane, reporter::Reporter, serve::Shared};
use crate::load::in_process::Cancellation;
use replug_wire::{Channel, Kind, LaneId, Message, Order, Taking, WireError};
use std::{
    collections::BTreeMap,
    io,
    os::unix::net::UnixStream,
    sync::{Arc, Weak},
    thread,
};

/// The end of the service connection in a shim.
pub(super) struct Service {
    channel: Channel<Taking>,
    instance: Shared,
    reporter: Reporter,
    /// The lanes that are open, and some that are not.
    lanes: BTreeMap<LaneId, Weak<Cancellation>>,
}

impl Service {
    pub(super) fn new(stream: UnixStream, instance: Shared, reporter: Reporter) -> Self {
        Self { channel: Channel::new(Taking::new(stream)), instance, reporter, lanes: BTreeMap::new() }
    }

    /// Does what the host orders, on a thread of its own, until it hangs up.
    pub(super) fn run(mut self) -> io::Result<()> {
        // However this ends, the host sees the connection hang up.
        let serve = move || while self.one().is_ok() {};
        thread::Builder::new().name("replug-service".into()).spawn(serve).map(drop)
    }

    fn one(&mut self) -> Result<(), WireError> {
        match Order::decode(self.channel.receive()?.of_kind(Kind::Order)?)? {
            Order::OpenLane(id) => {
                let stream = self.channel.stream_mut().take().ok_or(WireError::NoDescriptor("open_lane"))?;
                let calls = Arc::<Cancellation>::default();
                self.lanes.retain(|_, calls| calls.strong_count() > 0);
                self.lanes.insert(id, Arc::downgrade(&calls));
                lane::open(UnixStream::from(stream), (self.instance.clone(), calls))?;
            }
            Order::Cancel { lane, call } => {
                if let Some(calls) = self.lanes.get(&lane).and_then(Weak::upgrade) {
                    calls.cancel(call.0);
                }
            }
            Order::SetMaxLevel(level) => {
                self.reporter.set_max_level(level);
                // An instance that is just made asks by itself, and one that is just dropped has no more to say.
                if let Some(instance) = self.instance.try_read() {
                    instance.iter().for_each(|it| it.set_max_level(level));
                }
            }
        }
        Ok(())
    }
}
