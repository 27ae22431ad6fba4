//! Observes changed files and the results of compilations for the lifecycle, which decides what they require.

use super::Worker;
use crate::{
    artifact::is_cut_off,
    build::{BuildError, Built, Moment, OwnWrites},
    error::{ReloadCause, ReloadError},
    lifecycle::{CompileFailure, Compiled, Contents, NeededFile, Observation},
    watch::{Change, Content, Stamps, changed_at},
};
use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

impl Worker {
    /// Observes a changed file.
    pub(super) fn observe(&self, change: Change, moment: Moment) -> Observation {
        let path = &change.path;
        let own = self.context.builder.own_writes(&self.latest_manifest(), (moment, path));
        let times: Option<Vec<SystemTime>> = path.ancestors().map(changed_at).collect();
        Observation {
            own,
            content: (own != OwnWrites::None || moment == Moment::During).then(|| Content::of(path)),
            changed: changed_at(path),
            changed_or_moved: times.and_then(|times| times.into_iter().max()),
            at: SystemTime::now(),
            change,
        }
    }

    /// The contents of the files that have changed during the build.
    pub(super) fn contents(&self) -> Contents {
        self.lifecycle.held().map(|path| (path.clone(), Content::of(path))).collect()
    }

    /// Observes the result of a compilation. `before`: the inputs before the compilation.
    pub(super) fn observe_compiled(&self, before: &Stamps, built: &Result<Built, ReloadError>) -> Compiled {
        Compiled {
            is_missing: self.is_missing(),
            needed: self.needed_file(built),
            failure: built.as_ref().err().map(|error| self.observe_failure(before, error)),
        }
    }

    /// Observes the file that the build requires and that another program makes, if there is one.
    fn needed_file(&self, built: &Result<Built, ReloadError>) -> Option<NeededFile> {
        let manifest = self.latest_manifest();
        let observe = |path: &Path, is_complete| NeededFile {
            is_complete,
            changed: changed_at(path),
            manifest_changed: changed_at(&manifest.file),
            at: SystemTime::now(),
        };
        let is_compiled = self.context.builder.takes_time(&manifest);
        match built.as_ref().map_err(|error| &*error.cause) {
            Err(ReloadCause::Build(BuildError::NoSource { root })) => {
                Some(observe(&root.join("Cargo.toml"), false))
            }
            Err(ReloadCause::Build(BuildError::NoBinary { path, .. })) if !is_compiled => {
                Some(observe(path, false))
            }
            Ok(built) if !is_compiled => Some(observe(&built.artifact, !is_cut_off(&built.artifact))),
            _ => None,
        }
    }

    fn observe_failure(&self, before: &Stamps, error: &ReloadError) -> CompileFailure {
        let manifest = self.latest_manifest();
        let own_writes =
            |path: PathBuf| self.context.builder.own_writes(&manifest, (Moment::After, path.as_path()));
        let (lacks_input, changed) = self.sources.changes_since(before);
        CompileFailure {
            timed_out: matches!(&*error.cause, ReloadCause::Build(BuildError::TimedOut { .. })),
            lacks_input,
            changed: changed.into_iter().map(own_writes).collect(),
        }
    }
}
