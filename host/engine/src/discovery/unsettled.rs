//! Problems with manifests that may be temporary, because a folder is still being copied.

use crate::worker::GRACE;
use std::{collections::BTreeMap, path::PathBuf};
use tokio::time::Instant;

/// For each path, its unreported problem, and since when the path has had this problem.
#[derive(Default)]
pub(super) struct Unsettled(BTreeMap<PathBuf, (String, Instant)>);

impl Unsettled {
    /// Takes all current problems that were not reported. Returns the problems that have lasted for [`GRACE`], keeps
    /// the other problems, and drops the problems that no longer exist.
    pub(super) fn sift(
        &mut self,
        problems: impl Iterator<Item = (PathBuf, String)>,
        now: Instant,
    ) -> Vec<(PathBuf, String)> {
        let mut before = std::mem::take(&mut self.0);
        let mut due = Vec::new();
        for (path, error) in problems {
            // A different problem with the same file means that the file is still being written.
            let since =
                before.remove(&path).filter(|(known, _)| *known == error).map_or(now, |(_, since)| since);
            if since + GRACE <= now {
                due.push((path, error));
            } else {
                self.0.insert(path, (error, since));
            }
        }
        due
    }

    /// The time at which the first of these problems has to be checked again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().map(|(_, since)| *since + GRACE).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_reported_after_it_persists_for_the_grace_period() {
        let (mut unsettled, begin) = (Unsettled::default(), Instant::now());
        let mut sift = |errors: &[&str], now| {
            let problems = errors.iter().map(|error| (PathBuf::from("plugin.toml"), (*error).to_owned()));
            let due = unsettled.sift(problems, now).into_iter().map(|(_, error)| error).collect::<Vec<_>>();
            (due, unsettled.due())
        };
        assert_eq!(sift(&["empty"], begin), (Vec::new(), Some(begin + GRACE)));
        assert_eq!(sift(&[], begin + GRACE), (Vec::new(), None), "the manifest is complete");
        assert_eq!(sift(&["empty"], begin).0, Vec::<String>::new());
        let later = begin + GRACE;
        assert_eq!(
            sift(&["no id"], later),
            (Vec::new(), Some(later + GRACE)),
            "the manifest is still being written"
        );
        assert_eq!(sift(&["no id"], later + GRACE), (vec!["no id".to_owned()], None));
    }
}
