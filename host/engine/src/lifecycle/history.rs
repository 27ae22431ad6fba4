//! The versions that have served: the possible targets of a rollback, and the version that was confirmed last.

use super::{Effects, Lifecycle, Work};
use crate::{
    id::{Digest, Generation},
    record::How,
};
use std::collections::BTreeSet;

/// The versions that have served.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The versions that can serve again, in the order in which they first served.
    pub(crate) served: Vec<Digest>,
    /// The version that was confirmed last.
    pub(crate) good: Option<Digest>,
    /// The versions that `confirm` has rolled back, and that have not been confirmed since.
    pub(crate) taken_back: BTreeSet<Digest>,
    /// The version that serves, or served last.
    pub(crate) last: Option<Digest>,
    /// The last version that was built from the source and then served.
    pub(crate) newest: Option<Digest>,
    /// Whether the plugin was rolled back from `newest`, and serves an earlier version since.
    pub(crate) is_rolled_back: bool,
}

/// The result of a command to roll back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rollback {
    /// The plugin is rolled back from this generation to this artifact.
    To { from: Generation, digest: Digest },
    /// The plugin does not run.
    NotRunning,
    /// There is no earlier version to roll back to.
    NothingEarlier,
}

impl History {
    /// The latest version that first served before this artifact first served. Because the versions are ordered by
    /// their first service, each further rollback leads to an older version. Versions that `confirm` has rolled back
    /// are skipped.
    pub(super) fn earlier_than(&self, digest: Digest) -> Option<Digest> {
        let before = self.served.iter().take_while(|it| **it != digest);
        before.filter(|it| !self.taken_back.contains(it)).last().copied()
    }

    /// The newest version, if the plugin was rolled back from it. A build that only checks the source does not install
    /// this version again, because the source has not been edited since.
    pub(super) fn rolled_back_from(&self) -> Option<Digest> {
        self.newest.filter(|_| self.is_rolled_back)
    }

    /// Records that a version serves.
    pub(super) fn serves(&mut self, digest: Digest, how: How) {
        self.is_rolled_back = match how {
            How::Built => false,
            How::Again => self.is_rolled_back && self.last == Some(digest),
            How::WentBack => self.newest != Some(digest),
        };
        if how == How::Built {
            self.newest = Some(digest);
        }
        self.last = Some(digest);
    }

    /// Records that a build has resulted in the version that serves, so the plugin is not rolled back any more.
    pub(super) fn is_unchanged(&mut self) {
        (self.newest, self.is_rolled_back) = (self.last, false);
    }

    /// Whether the version that was confirmed last is a different one.
    pub(super) fn is_unconfirmed(&self, digest: Digest) -> bool {
        self.good.is_some_and(|good| good != digest)
    }
}

impl Lifecycle {
    /// Determines the target of a command to roll back: the artifact `to`, or the previous version if `to` is `None`.
    pub(super) fn roll_back(&mut self, to: Option<Digest>) -> Effects {
        self.service.is_unwatched();
        // A version that has crashed counts as the current version, too, so that it can be rolled back.
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
    use crate::record::{Record, Served};
    use serde_json::Map;
    use std::time::SystemTime;

    #[test]
    fn each_further_rollback_leads_to_an_older_version() {
        let [first, second, third] = [1, 2, 3].map(|byte| Digest([byte; 32]));
        let history = History { served: vec![first, second], good: Some(second), ..History::default() };
        assert_eq!(history.earlier_than(third), Some(second), "an unknown version is the newest");
        assert_eq!(history.earlier_than(second), Some(first));
        assert_eq!(history.earlier_than(first), None);
        assert!(history.is_unconfirmed(first) && !history.is_unconfirmed(second));
        assert!(!History::default().is_unconfirmed(first), "no other version is confirmed");
    }

    #[test]
    fn a_rollback_skips_versions_that_confirm_has_rolled_back() {
        let [good, bad, worse] = [1, 2, 3].map(|byte| Digest([byte; 32]));
        let (served, taken_back) = (vec![good, bad, worse], BTreeSet::from([bad]));
        let history = History { served, good: Some(good), taken_back, ..History::default() };
        assert_eq!(history.earlier_than(worse), Some(good));
        assert_eq!(history.earlier_than(bad), Some(good));
    }

    #[test]
    fn a_restart_keeps_a_rollback_and_a_new_version_ends_it() {
        let [old, new, newer] = [1, 2, 3].map(|byte| Digest([byte; 32]));
        let mut history = History::default();
        let mut after = |digest, how| {
            history.serves(digest, how);
            history.rolled_back_from()
        };
        assert_eq!(after(old, How::Built), None);
        assert_eq!(after(new, How::Built), None);
        assert_eq!(after(old, How::WentBack), Some(new));
        assert_eq!(after(old, How::Again), Some(new));
        assert_eq!(after(new, How::WentBack), None, "the newest version serves again");
        assert_eq!(after(old, How::WentBack), Some(new));
        assert_eq!(after(newer, How::Built), None);
    }

    #[test]
    fn a_build_that_results_in_the_serving_version_ends_a_rollback() {
        let [old, new] = [1, 2].map(|byte| Digest([byte; 32]));
        let mut history = History::default();
        history.serves(old, How::Built);
        history.serves(new, How::Built);
        history.serves(old, How::WentBack);
        history.is_unchanged();
        assert_eq!(history.rolled_back_from(), None);
        history.serves(old, How::Again);
        assert_eq!(history.rolled_back_from(), None, "after a restart, too");
        history.serves(new, How::WentBack);
        assert_eq!(history.rolled_back_from(), Some(old), "the source is that of the old version");
    }

    /// An event that changes the history of a plugin, and its record. `None`: a build results in the serving version.
    type Happens = Option<(Digest, How)>;

    fn takes(history: &mut History, record: &mut Record, happens: Happens) {
        let Some((digest, how)) = happens else {
            history.is_unchanged();
            return record.is_unchanged();
        };
        let (generation, at) = (Generation(1), SystemTime::UNIX_EPOCH);
        let served = Served { digest, generation, later: Vec::new(), at, taken_back: false };
        history.serves(digest, how);
        record.serves(served, how, (Map::new(), None));
    }

    #[test]
    fn the_record_agrees_with_the_history() {
        let versions = [1, 2, 3].map(|byte| Digest([byte; 32]));
        let ways = [How::Built, How::Again, How::WentBack];
        let serves = versions.into_iter().flat_map(|digest| ways.map(|how| Some((digest, how))));
        let all: Vec<Happens> = serves.chain([None]).collect();
        for number in 0..all.len().pow(4) {
            // Each digit of the number is an event.
            let digits = (0..4).map(|place| number / all.len().pow(place) % all.len());
            let first = Some((versions[0], How::Built));
            let events: Vec<Happens> = [first].into_iter().chain(digits.map(|digit| all[digit])).collect();
            let (mut history, mut record) =
                (History::default(), Record::new("dev.test.history".parse().unwrap()));
            for happens in &events {
                takes(&mut history, &mut record, *happens);
            }
            let of_record = (record.newest(), record.is_rolled_back());
            assert_eq!((history.newest, history.is_rolled_back), of_record, "{events:?}");
        }
    }
}
