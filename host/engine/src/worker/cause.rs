//! Why something is done with a plugin, from the save or the order on.

use super::Worker;
use crate::{
    event::{Diagnostic, millis},
    lifecycle::Aim,
    record::How,
    reload::Source,
    spans,
    watch::{Change, What},
};
use std::time::{Instant, SystemTime};
use tracing::Span;

/// Why a build or what follows it is done.
pub(super) struct Cause {
    pub(super) change: Option<Change>,
    began: Instant,
    pub(super) why: Why,
    /// The warnings of the compiler.
    pub(super) warnings: Vec<Diagnostic>,
    /// What `tracing` shows of it; none until it begins.
    span: Span,
}

/// Where what is to serve comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is built, with this aim.
    Build(Aim),
    /// It is the artifact from which the plugin starts, or was started again.
    Resume,
    /// The plugin goes back to it.
    GoBack,
}

impl Cause {
    pub(super) fn of(change: Change) -> Self {
        Self { change: Some(change), ..Self::to(Why::Build(Aim::Update)) }
    }

    pub(super) fn order() -> Self {
        Self::to(Why::Build(Aim::Renew))
    }

    /// The host or the plugin starts, and its source may be newer than what serves.
    pub(super) fn check() -> Self {
        Self::to(Why::Build(Aim::Check))
    }

    /// What serves, or served last, is to serve again.
    pub(super) fn resume() -> Self {
        Self::to(Why::Resume)
    }

    /// An earlier artifact is to serve.
    pub(super) fn go_back() -> Self {
        Self::to(Why::GoBack)
    }

    /// What is to come of a build for it.
    pub(super) fn aim(&self) -> Aim {
        match self.why {
            Why::Build(aim) => aim,
            Why::Resume | Why::GoBack => Aim::Update,
        }
    }

    /// How a version from that source comes to serve.
    pub(super) fn how(&self, source: &Source) -> How {
        match (source, self.why) {
            (Source::Built(_) | Source::Rebuilt(_), _) => How::Built,
            (Source::Stored(_), Why::Resume) => How::Again,
            (Source::Stored(_), Why::GoBack | Why::Build(_)) => How::WentBack,
        }
    }

    fn to(why: Why) -> Self {
        let (began, span) = (Instant::now(), Span::none());
        Self { change: None, began, why, warnings: Vec::new(), span }
    }

    pub(super) fn is_manifest(&self) -> bool {
        self.change.as_ref().is_some_and(|change| change.what == What::Manifest)
    }

    /// The span of the reload, which begins if it has not yet.
    pub(super) fn span(&mut self, worker: &Worker) -> Span {
        if self.span.is_none() {
            self.span = spans::reload(worker.id());
        }
        self.span.clone()
    }

    /// What `tracing` has shown of it is at an end.
    pub(super) fn begins_again(&mut self) {
        self.span = Span::none();
    }

    /// Milliseconds since the save, or since the order.
    pub(super) fn age_ms(&self) -> f64 {
        let saved_at = self.change.as_ref().map(|change| change.saved_at);
        let age = saved_at.and_then(|at| SystemTime::now().duration_since(at).ok());
        millis(age.unwrap_or_else(|| self.began.elapsed()))
    }
}
