//! The deadline of one call, if its caller sets one. A handle stores the deadline in a thread-local, together with the
//! plugin. A call from the same thread into that plugin reads the deadline.

use replug_model::id::PluginId;
use std::{
    cell::RefCell,
    mem::ManuallyDrop,
    time::{Duration, Instant},
};

/// The time by which a call has to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    pub(crate) until: Instant,
    /// The time from the beginning of the call to the deadline.
    pub(crate) after: Duration,
}

pub(crate) type CurrentDeadline = Option<(PluginId, Deadline)>;

thread_local! {
    /// The value has no destructor, so that it exists until the thread exits: destructors of other thread-locals may
    /// make calls. Each [`Noted`] restores the previous value, so at the end of the thread, the thread-local holds no
    /// plugin id, which would never be freed.
    static NOTED: RefCell<ManuallyDrop<CurrentDeadline>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

impl Deadline {
    /// A deadline that is this much later than now.
    pub(crate) fn after(after: Duration) -> Self {
        let now = Instant::now();
        // If an `Instant` cannot represent the sum, the deadline is in a century.
        let until = now.checked_add(after).unwrap_or(now + Duration::from_secs(100 * 365 * 86_400));
        Self { until, after }
    }

    /// Runs `work`. During `work`, the deadline applies to the thread's calls into this plugin, and not to its calls
    /// into other plugins.
    pub(crate) fn hold<T>(self, plugin: &PluginId, work: impl FnOnce() -> T) -> T {
        let _noted = self.note(plugin);
        work()
    }

    /// Sets the deadline like [`Deadline::hold`], for as long as the returned guard exists.
    pub(crate) fn note(self, plugin: &PluginId) -> Noted {
        Noted(replace(Some((plugin.clone(), self))))
    }

    /// The deadline of the thread's call into this plugin, if one was set.
    pub(crate) fn of(plugin: &str) -> Option<Self> {
        NOTED.with_borrow(|noted| {
            noted.as_ref().filter(|(of, _)| of.as_str() == plugin).map(|(_, deadline)| *deadline)
        })
    }

    /// The deadline that the calling thread holds, and the plugin to which it applies.
    pub(crate) fn current() -> CurrentDeadline {
        NOTED.with_borrow(|noted| (**noted).clone())
    }

    /// The time limit in whole milliseconds, for errors.
    pub(crate) fn after_ms(self) -> u64 {
        self.after.as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// A deadline that is in force. Dropping it restores the deadline of the outer call.
#[must_use = "the deadline ends when this is dropped"]
pub(crate) struct Noted(CurrentDeadline);

impl Drop for Noted {
    fn drop(&mut self) {
        replace(self.0.take());
    }
}

fn replace(note: CurrentDeadline) -> CurrentDeadline {
    ManuallyDrop::into_inner(NOTED.replace(ManuallyDrop::new(note)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_applies_only_to_its_plugin_and_only_while_it_is_held() {
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
