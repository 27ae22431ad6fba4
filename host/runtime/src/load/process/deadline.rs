//! How long one call may take, where its caller says so: a note that a handle leaves with its thread, and the call on
//! that thread into that plugin finds.

use replug_model::id::PluginId;
use std::{
    cell::RefCell,
    mem::ManuallyDrop,
    time::{Duration, Instant},
};

/// When a call is to be back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    pub(crate) until: Instant,
    /// How long after its beginning that is.
    pub(crate) after: Duration,
}

type Note = Option<(PluginId, Deadline)>;

thread_local! {
    /// Without a destructor, so that it is there as long as the thread is: destructors of other thread-locals make calls.
    /// Whoever notes something takes it back, so that nothing is lost.
    static NOTED: RefCell<ManuallyDrop<Note>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

impl Deadline {
    /// So much later than now.
    pub(crate) fn after(after: Duration) -> Self {
        let now = Instant::now();
        // One that no clock can show never comes; a century is as good.
        let until = now.checked_add(after).unwrap_or(now + Duration::from_secs(100 * 365 * 86_400));
        Self { until, after }
    }

    /// Makes it that of the calls into a plugin that the thread makes in `work`. Calls into other plugins on the way have
    /// their own.
    pub(crate) fn hold<T>(self, plugin: &PluginId, work: impl FnOnce() -> T) -> T {
        let _noted = self.note(plugin);
        work()
    }

    /// The same, for as long as what is returned is there.
    pub(crate) fn note(self, plugin: &PluginId) -> Noted {
        Noted(replace(Some((plugin.clone(), self))))
    }

    /// What the thread's call into this plugin has, if anyone said so.
    pub(crate) fn of(plugin: &str) -> Option<Self> {
        NOTED.with_borrow(|noted| {
            noted.as_ref().filter(|(of, _)| of.as_str() == plugin).map(|(_, deadline)| *deadline)
        })
    }

    /// As whole milliseconds, for errors.
    pub(crate) fn after_ms(self) -> u64 {
        self.after.as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// A note that is in force. Dropped, it puts the note of a call around this one back.
#[must_use = "dropped, it is no longer in force"]
pub(crate) struct Noted(Note);

impl Drop for Noted {
    fn drop(&mut self) {
        replace(self.0.take());
    }
}

fn replace(note: Note) -> Note {
    ManuallyDrop::into_inner(NOTED.replace(ManuallyDrop::new(note)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_that_of_its_plugin_and_of_no_call_after() {
        let (one, other): (PluginId, PluginId) = ("a.one".parse().unwrap(), "a.other".parse().unwrap());
        let (long, short) = (Deadline::after(Duration::MAX), Deadline::after(Duration::from_secs(1)));
        long.hold(&one, || {
            assert_eq!(Deadline::of("a.one"), Some(long));
            assert_eq!(Deadline::of("a.other"), None);
            short.hold(&other, || assert_eq!(Deadline::of("a.one"), None));
            assert_eq!(Deadline::of("a.one"), Some(long));
        });
        assert_eq!(Deadline::of("a.one"), None);
    }
}
