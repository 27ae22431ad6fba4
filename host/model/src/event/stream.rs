//! The stream of events from the host to its readers. Emitting an event never waits, and each reader reads at its own
//! pace.

use super::{Event, EventKind, Tally};
use crate::id::{Digest, Generation, PluginId};
use std::{sync::Arc, time::SystemTime};
use tokio::sync::broadcast::{
    self,
    error::{RecvError, TryRecvError},
};

impl Event {
    fn of_host(kind: EventKind) -> Self {
        Self { at: now(), plugin: None, generation: None, digest: None, kind }
    }
}

/// The sink to which events are emitted. Cheap to clone. Emitting never blocks.
#[derive(Clone, Debug)]
pub struct EventSink {
    sender: broadcast::Sender<Arc<Event>>,
    tally: Tally,
}

impl EventSink {
    /// The maximum number of unread events of a reader. A reader with more unread events loses the oldest.
    pub const BACKLOG: usize = 4096;

    /// A sink without readers.
    pub fn new() -> Self {
        Self { sender: broadcast::Sender::new(Self::BACKLOG), tally: Tally::default() }
    }

    /// Emits an event that concerns the whole host.
    pub fn host(&self, kind: EventKind) {
        self.send(Event::of_host(kind));
    }

    /// Emits an event of a plugin.
    pub fn plugin(&self, plugin: &PluginId, kind: EventKind) {
        self.send(Event { at: now(), plugin: Some(plugin.clone()), generation: None, digest: None, kind });
    }

    /// Emits an event of one generation.
    pub fn generation(&self, of: (&PluginId, Generation, Digest), kind: EventKind) {
        let (plugin, generation, digest) = of;
        self.send(Event {
            at: now(),
            plugin: Some(plugin.clone()),
            generation: Some(generation),
            digest: Some(digest),
            kind,
        });
    }

    /// A reader of the events from now on.
    pub fn subscribe(&self) -> Events {
        Events { receiver: self.sender.subscribe(), tally: self.tally.clone() }
    }

    /// The totals of the emitted events.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// A weak reference to this sink, which does not keep the stream open for its readers.
    pub fn downgrade(&self) -> WeakEventSink {
        WeakEventSink { sender: self.sender.downgrade(), tally: self.tally.clone() }
    }

    fn send(&self, event: Event) {
        // The event is counted before it is sent, so that a reader of the event finds it counted.
        self.tally.count(&event);
        // An error means that there is no reader.
        let _ = self.sender.send(Arc::new(event));
    }
}

impl Default for EventSink {
    fn default() -> Self {
        Self::new()
    }
}

/// A weak reference to a sink, for a plugin's library, whose code stays mapped and may run after the host has ended. The
/// reference does not keep the stream open, so readers receive the end of the stream when the host ends.
#[derive(Clone, Debug)]
pub struct WeakEventSink {
    sender: broadcast::WeakSender<Arc<Event>>,
    tally: Tally,
}

impl WeakEventSink {
    /// The sink; `None` if the host no longer exists.
    pub fn upgrade(&self) -> Option<EventSink> {
        self.sender.upgrade().map(|sender| EventSink { sender, tally: self.tally.clone() })
    }
}

/// The events of a host, from the creation of this reader on.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Arc<Event>>,
    tally: Tally,
}

impl Events {
    /// Waits for the next event. Returns `None` when the host has ended.
    ///
    /// A reader that falls more than [`EventSink::BACKLOG`] events behind gets [`EventKind::EventsLost`], and continues
    /// with the oldest remaining event.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        let received = self.receiver.recv().await;
        self.event_of(received)
    }

    /// Like [`Events::next`], for a thread that may block.
    ///
    /// # Panics
    ///
    /// If called in async code on a tokio runtime.
    pub fn next_blocking(&mut self) -> Option<Arc<Event>> {
        let received = self.receiver.blocking_recv();
        self.event_of(received)
    }

    /// Like [`Events::next`], but does not wait. Returns `None` if there is no event yet, or if the host has ended.
    pub fn try_next(&mut self) -> Option<Arc<Event>> {
        let received = self.receiver.try_recv().map_err(|error| match error {
            TryRecvError::Lagged(count) => RecvError::Lagged(count),
            TryRecvError::Empty | TryRecvError::Closed => RecvError::Closed,
        });
        self.event_of(received)
    }

    fn event_of(&self, received: Result<Arc<Event>, RecvError>) -> Option<Arc<Event>> {
        match received {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(count)) => {
                self.tally.lost(count);
                Some(Arc::new(Event::of_host(EventKind::EventsLost { count })))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_gets_the_number_of_lost_events_and_then_continues() {
        let sink = EventSink::new();
        let mut events = sink.subscribe();
        for running in 0..EventSink::BACKLOG + 3 {
            sink.host(EventKind::HostStarted { plugins_dir: "/p".into(), running });
        }
        let lost = events.try_next().unwrap();
        assert!(matches!(lost.kind, EventKind::EventsLost { count: 3 }), "{lost:?}");
        let next = events.try_next().unwrap();
        assert!(matches!(next.kind, EventKind::HostStarted { running: 3, .. }), "{next:?}");
        assert_eq!(sink.tally().events_lost(), 3);
    }

    #[test]
    fn a_weak_sink_emits_events_but_does_not_keep_the_stream_open() {
        let sink = EventSink::new();
        let weak = sink.downgrade();
        let mut events = sink.subscribe();
        weak.upgrade().unwrap().host(EventKind::HostStopped);
        drop(sink);
        assert!(matches!(events.next_blocking().unwrap().kind, EventKind::HostStopped));
        assert!(events.next_blocking().is_none());
        assert!(weak.upgrade().is_none());
    }
}
