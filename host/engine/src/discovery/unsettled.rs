//! Problems with manifests that may be gone in a moment: a folder that is copied is not whole at once.

use crate::worker::GRACE;
use std::{collections::BTreeMap, path::PathBuf};
use tokio::time::Instant;

/// What is wrong, by the path that it is about, and since when it is just that, until it is believed.
#[derive(Default)]
pub(super) struct Unsettled(BTreeMap<PathBuf, (String, Instant)>);

impl Unsettled {
    /// Of all problems that there are and were not reported, those that have stood for long enough. The others are kept, and
    /// what is no problem any more is forgotten.
    pub(super) fn sift(
        &mut self,
        problems: impl Iterator<Item = (PathBuf, String)>,
        now: Instant,
    ) -> Vec<(PathBuf, String)> {
        let mut before = std::mem::take(&mut self.0);
        let mut believed = Vec::new();
        for (path, error) in problems {
            // Another problem with the same file is one of a file that is still being written.
            let since =
                before.remove(&path).filter(|(known, _)| *known == error).map_or(now, |(_, since)| since);
            if since + GRACE <= now {
                believed.push((path, error));
            } else {
                self.0.insert(path, (error, since));
            }
        }
        believed
    }

    /// When the first of them is to be looked at again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().map(|(_, since)| *since + GRACE).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_believed_when_it_has_stood_for_a_moment_and_is_the_same() {
        let (mut unsettled, begin) = (Unsettled::default(), Instant::now());
        let mut sift = |errors: &[&str], now| {
            let problems = errors.iter().map(|error| (PathBuf::from("plugin.toml"), (*error).to_owned()));
            let believed =
                unsettled.sift(problems, now).into_iter().map(|(_, error)| error).collect::<Vec<_>>();
            (believed, unsettled.due())
        };
        assert_eq!(sift(&["empty"], begin), (Vec::new(), Some(begin + GRACE)));
        assert_eq!(sift(&[], begin + GRACE), (Vec::new(), None), "it has come to be whole");
        assert_eq!(sift(&["empty"], begin).0, Vec::<String>::new());
        let later = begin + GRACE;
        assert_eq!(sift(&["no id"], later), (Vec::new(), Some(later + GRACE)), "it is still being written");
        assert_eq!(sift(&["no id"], later + GRACE), (vec!["no id".to_owned()], None));
    }
}
