//! The cause of a reload: a saved file, a command, a start or a rollback.

use super::Worker;
use crate::{
    event::{BuildWay, Diagnostic, millis},
    id::Digest,
    job::Source,
    lifecycle::Aim,
    record::How,
    spans,
    watch::{Change, What},
};
use std::time::{Instant, SystemTime};
use tracing::Span;

/// The cause of a build or of a start from the store.
pub(super) struct Cause {
    pub(super) change: Option<Change>,
    began: Instant,
    pub(super) why: Why,
    /// If the build results in this artifact, the serving version continues to serve.
    pub(super) passes_over: Option<Digest>,
    /// The warnings of the compiler.
    pub(super) warnings: Vec<Diagnostic>,
    /// How the plugin was built.
    pub(super) way: Option<BuildWay>,
    /// The `tracing` span of the reload. It is disabled until the reload begins.
    span: Span,
}

/// The origin of the version that will serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The version is built. The aim says which result becomes a new generation.
    Build(Aim),
    /// The version is a stored artifact that is started or restarted.
    Resume,
    /// The version is the target of a rollback.
    GoBack,
}

impl Cause {
    pub(super) fn of(change: Change) -> Self {
        Self { change: Some(change), ..Self::to(Why::Build(Aim::Update)) }
    }

    pub(super) fn command() -> Self {
        Self::to(Why::Build(Aim::Renew))
    }

    /// A build at the start of the host or the plugin. The source may be newer than the serving version.
    pub(super) fn check() -> Self {
        Self::to(Why::Build(Aim::Check))
    }

    /// A start or restart of a stored artifact.
    pub(super) fn resume() -> Self {
        Self::to(Why::Resume)
    }

    /// A rollback to an earlier artifact.
    pub(super) fn go_back() -> Self {
        Self::to(Why::GoBack)
    }

    /// The aim of a build for this cause. `Resume` and `GoBack` install a stored artifact and cause no build.
    pub(super) fn aim(&self) -> Aim {
        match self.why {
            Why::Build(aim) => aim,
            Why::Resume | Why::GoBack => Aim::Update,
        }
    }

    /// How the record classifies a version from `source`.
    pub(super) fn how(&self, source: &Source) -> How {
        match (source, self.why) {
            (Source::Built(_) | Source::Rebuilt(_), _) => How::Built,
            (Source::Stored(_), Why::Resume) => How::Again,
            (Source::Stored(_), Why::GoBack | Why::Build(_)) => How::WentBack,
        }
    }

    fn to(why: Why) -> Self {
        let (began, span) = (Instant::now(), Span::none());
        Self { change: None, began, why, passes_over: None, warnings: Vec::new(), way: None, span }
    }

    pub(super) fn is_manifest(&self) -> bool {
        self.change.as_ref().is_some_and(|change| change.what == What::Manifest)
    }

    /// The span of the reload. The first use begins the span.
    pub(super) fn span(&mut self, worker: &Worker) -> Span {
        if self.span.is_none() {
            self.span = spans::reload(worker.id());
        }
        self.span.clone()
    }

    /// Ends the span of the reload. The next use of [`Cause::span`] begins a new span.
    pub(super) fn begins_again(&mut self) {
        self.span = Span::none();
    }

    /// Milliseconds since the save, or since the command.
    pub(super) fn age_ms(&self) -> f64 {
        let saved_at = self.change.as_ref().map(|change| change.saved_at);
        let age = saved_at.and_then(|at| SystemTime::now().duration_since(at).ok());
        millis(age.unwrap_or_else(|| self.began.elapsed()))
    }
}
