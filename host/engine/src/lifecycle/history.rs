//! The versions that have served: those to which the plugin can go back, and the one that has proved itself last.

use super::{Effects, Lifecycle, Work};
use crate::id::{Digest, Generation};
use std::collections::BTreeSet;

/// The versions that have served.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The versions that can serve again, in the order in which they first served.
    pub(super) served: Vec<Digest>,
    /// The version that has proved itself last.
    pub(super) good: Option<Digest>,
    /// The versions from which the plugin went back, and which have not proved themselves since.
    pub(super) taken_back: BTreeSet<Digest>,
}

/// What follows from an order to go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rollback {
    /// The plugin goes back from this generation to this artifact.
    To { from: Generation, digest: Digest },
    /// The plugin does not run.
    NotRunning,
    /// No other version served before.
    NothingEarlier,
}

impl History {
    /// The version that served before this artifact first served, so that two rollbacks do not lead forward. Versions
    /// from which the plugin went back are skipped.
    pub(super) fn earlier_than(&self, digest: Digest) -> Option<Digest> {
        let before = self.served.iter().take_while(|it| **it != digest);
        before.filter(|it| !self.taken_back.contains(it)).last().copied()
    }

    /// Whether another version was the last to prove itself.
    pub(super) fn is_unconfirmed(&self, digest: Digest) -> bool {
        self.good.is_some_and(|good| good != digest)
    }
}

impl Lifecycle {
    /// Carries out an order to go back, to this artifact or to the previous one.
    pub(super) fn roll_back(&mut self, to: Option<Digest>) -> Effects {
        self.service.is_unwatched();
        // A version that has crashed counts as the current one, too: the plugin can go back from it.
        let target = match self.service.last() {
            None => Rollback::NotRunning,
            Some(last) => match to.or_else(|| self.history.earlier_than(last.digest)) {
                Some(digest) => Rollback::To { from: last.generation, digest },
                None => Rollback::NothingEarlier,
            },
        };
        Effects::work(Work::RollBack(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_twice_does_not_lead_forward() {
        let [first, second, third] = [1, 2, 3].map(|byte| Digest([byte; 32]));
        let history =
            History { served: vec![first, second], good: Some(second), taken_back: BTreeSet::new() };
        assert_eq!(history.earlier_than(third), Some(second), "one that is not known is the newest");
        assert_eq!(history.earlier_than(second), Some(first));
        assert_eq!(history.earlier_than(first), None);
        assert!(history.is_unconfirmed(first) && !history.is_unconfirmed(second));
        assert!(!History::default().is_unconfirmed(first), "no other has proved itself");
    }

    #[test]
    fn a_plugin_does_not_go_back_to_a_version_that_was_taken_back() {
        let [good, bad, worse] = [1, 2, 3].map(|byte| Digest([byte; 32]));
        let history =
            History { served: vec![good, bad, worse], good: Some(good), taken_back: BTreeSet::from([bad]) };
        assert_eq!(history.earlier_than(worse), Some(good));
        assert_eq!(history.earlier_than(bad), Some(good));
    }
}
