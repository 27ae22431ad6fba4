//! Saved files: which of them cause a build, begin a running build again, or require that the manifest is read.
//! [`Overlap`](super::overlap::Overlap) decides whether a change during a build counts as an edit.

use super::{
    Activity, Contents, Effect, Effects, Intent, Lifecycle, Observation, Work,
    overlap::{Judgment, Settled},
};
use crate::watch::{Change, What};
use std::{
    path::PathBuf,
    time::{Instant, SystemTime},
};

impl Lifecycle {
    /// Decides whether a change that is reported while no build runs causes a build.
    pub(super) fn changed(&mut self, now: Instant, seen: &Observation) -> Effects {
        if seen.change.before.is_some() {
            self.failed_builds = 0;
        }
        let is_manifest = seen.change.what == What::Manifest;
        if self.intent == Intent::Rest {
            // A stopped plugin is not built. So no build can have made the change, and it counts as an edit by a user.
            // The edit causes no build now: the next start builds the source.
            self.overlap.edited();
            let change = seen.change.clone();
            let work = is_manifest.then_some(Work::ReadManifest { change, builds: true });
            return Effects::default().and_then(work);
        }
        let settled = self.overlap.judge_late(now, seen);
        match settled {
            Settled::Repeat(change) if is_manifest => {
                Effects::work(Work::ReadManifest { change, builds: true })
            }
            Settled::Repeat(change) => Effects::work(Work::BuildChange(change)),
            settled => {
                let change = seen.change.clone();
                // If every build writes the manifest, or is suspected of it, this change causes no build.
                let builds = !self.overlap.is_unstable(&change.path);
                warning(settled).and_then(is_manifest.then_some(Work::ReadManifest { change, builds }))
            }
        }
    }

    /// Continues the compilation after a change was observed, or begins again if the change supersedes it. `is_unread`:
    /// the manifest differs from the manifest that was read last.
    pub(super) fn considered(&mut self, seen: &Observation, is_unread: bool) -> Effects {
        let Some(build) = self.activity.build() else { return Effects::default() };
        let judgment =
            if build.considers_again() { self.overlap.judge_again(seen) } else { self.overlap.judge(seen) };
        let judgment = match judgment {
            // The manifest was last changed before the build began. But the build uses the manifest that was read last,
            // which differs from the file.
            Judgment::Included if is_unread => self.overlap.cuts(&seen.change),
            judgment => judgment,
        };
        match judgment {
            Judgment::Included | Judgment::Held => {
                self.build_goes_on(build.compiles());
                Effects::default()
            }
            Judgment::SupersedesIfItLasts => {
                self.build_goes_on(build.is_to_consider_again());
                Effects::work(Work::ConsiderAgain)
            }
            Judgment::Supersedes => self.begin_again(build.for_an_edit(), Some(seen.change.clone())),
        }
    }

    /// The compiler has ended at the time `at`. Decides whether the build is repeated, because files have changed.
    pub(super) fn compiler_ended(
        &mut self,
        now: Instant,
        (at, contents): (SystemTime, &Contents),
    ) -> Effects {
        let Some(build) = self.activity.build() else { return Effects::default() };
        let settled = self.overlap.build_ends(now, at, contents);
        if let Settled::Repeat(change) = settled {
            return self.begin_again(build, Some(change));
        }
        // If the manifest has changed during each of the repeated builds, the build itself probably writes it. The
        // current content of the manifest then takes effect without another build.
        let reads_manifest = self.overlap.has_changed(&self.manifests.latest().file, contents);
        self.build_goes_on(build.is_examined());
        warning(settled).and_then(Some(Work::Examine { reads_manifest }))
    }

    /// The files whose contents the worker has to observe when the compiler has ended.
    pub(crate) fn held(&self) -> impl Iterator<Item = &PathBuf> {
        self.overlap.held()
    }

    /// When the last compilation began.
    pub(crate) fn compile_began(&self) -> Option<SystemTime> {
        self.overlap.began()
    }

    /// When to check the files that [`Overlap`](super::overlap::Overlap) suspects to be written by every build. The
    /// check is a build, so it begins only while the plugin is idle. Any other build that begins first cancels it.
    pub(super) fn check_due(&self) -> Option<Instant> {
        let is_idle = matches!(self.activity, Activity::Idle);
        self.overlap.check_due().filter(|_| is_idle)
    }

    /// Begins the check of the suspected files, if it is due.
    pub(super) fn check(&mut self, now: Instant) -> Option<Change> {
        self.check_due().filter(|due| *due <= now)?;
        self.overlap.check()
    }
}

/// The effect of changes that cause no build.
fn warning(settled: Settled) -> Effects {
    match settled {
        Settled::Unstable(paths) => Effects::of([Effect::WarnOfUnstable(paths)]),
        Settled::Nothing | Settled::Suspected | Settled::Repeat(_) => Effects::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        build::OwnWrites,
        lifecycle::{Past, Processes},
        manifest,
        watch::Content,
    };
    use std::{fs, sync::Arc, time::Duration};

    #[test]
    fn a_manifest_that_every_build_may_write_causes_no_build() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plugin.toml"), "id = 'dev.test.changes'\n").unwrap();
        let manifest = Arc::new(manifest::read(folder.path()).unwrap());
        let (plugin, path) = (manifest.id.clone(), manifest.file.clone());
        let mut lifecycle = Lifecycle::new(manifest, Past::default(), (Processes::Possible, 1));
        lifecycle.intent = Intent::Run;
        let (now, mut at) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
        let mut causes_build = Vec::new();
        for text in 0..4 {
            let began = at;
            at += Duration::from_secs(10);
            lifecycle.overlap.build_begins(began);
            lifecycle.overlap.build_ends(now, at, &Contents::new());
            // The change was made during the build, and is reported after it.
            let changed = began + Duration::from_secs(5);
            let change = Change {
                plugin: plugin.clone(),
                path: path.clone(),
                saved_at: changed,
                what: What::Manifest,
                before: Some(Content::Hash(text)),
            };
            let seen = Observation {
                change,
                own: OwnWrites::Possible,
                content: Some(Content::Hash(text + 1)),
                changed: Some(changed),
                changed_or_moved: Some(changed),
                at,
            };
            match lifecycle.changed(now, &seen).then {
                Some(Work::ReadManifest { builds, .. }) => causes_build.push(builds),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(causes_build, [true, true, false, false]);
    }
}
