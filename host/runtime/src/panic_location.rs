//! The locations of panics in plugins. A plugin reports each panic to the host before the panic unwinds. If the panic
//! ends a call, the error of that call takes the location.

use std::{cell::RefCell, collections::VecDeque};

thread_local! {
    /// The messages and locations of this thread's panics that no call's error has taken yet.
    static PANICS: RefCell<VecDeque<(String, String)>> = const { RefCell::new(VecDeque::new()) };
}

/// How many panics of a thread are remembered. The number has to be limited, because no call takes the location of a
/// panic that the plugin catches itself.
const PANICS_REMEMBERED: usize = 8;

/// The location of the calling thread's last panic with this message, as `file:line:column`. Forgets all panics of
/// the thread. A panic for which no panic hook ran has no location: for example, a panic that a plugin has caught and
/// resumed with a different message.
pub(crate) fn take(message: &str) -> Option<String> {
    // If the thread-locals of the thread are already destroyed, no location is known.
    let panics = PANICS.try_with(RefCell::take).ok()?;
    panics.into_iter().rev().find(|(known, _)| known == message).map(|(_, location)| location)
}

/// Remembers a panic of the calling thread.
pub(crate) fn note(message: &str, location: &str) {
    let _ = PANICS.try_with(|panics| {
        let mut panics = panics.borrow_mut();
        if panics.len() == PANICS_REMEMBERED {
            panics.pop_front();
        }
        panics.push_back((message.into(), location.into()));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_found_only_for_a_panic_with_the_same_message() {
        note("caught", "a.rs:1:1");
        note("asked about", "a.rs:2:1");
        // A caught panic has a payload, whose destructor may panic, too.
        note("while it was dropped", "a.rs:3:1");
        assert_eq!(take("asked about").as_deref(), Some("a.rs:2:1"));
        assert_eq!(take("caught"), None, "the panic belongs to an earlier call");
        note("caught", "a.rs:1:1");
        assert_eq!(take("resumed"), None);
    }

    #[test]
    fn only_the_last_panics_are_remembered() {
        for line in 0..1000 {
            note(&format!("number {line}"), &format!("a.rs:{line}:1"));
        }
        assert_eq!(PANICS.with_borrow(VecDeque::len), PANICS_REMEMBERED);
        assert_eq!(take("number 999").as_deref(), Some("a.rs:999:1"));
    }
}
