//! The start of a plugin. First, a stored version is started, so that the plugin serves before anything is built. Then
//! the source is built. If the result does not start and no version serves, the stored versions are tried once more.

use super::{Effects, Failures, Intent, Lifecycle, StoredVersion, Work};
use crate::id::Digest;
use std::collections::VecDeque;

/// The initiator of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartBy {
    /// A user or client, who gets the error if the version rejects its configuration.
    Command,
    /// The host. `same_program`: the version has served in the host's current program, which has the same interfaces,
    /// so the start is answered before the source is built.
    Host { same_program: bool },
}

/// A start that is in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    by: StartBy,
    stage: StartStage,
    /// The stored versions that have not been tried yet, the best first.
    rest: VecDeque<Digest>,
    trying: Option<Trying>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartStage {
    Stored,
    Source,
    Fallback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trying {
    /// A version, with the manifest that is in force.
    AsSaid(Digest),
    /// The last tried version, with the configuration that it has accepted before.
    AsAccepted,
}

impl Lifecycle {
    /// Begins a start. The worker then reports the stored versions.
    pub(super) fn start_begins(&mut self, by: StartBy) {
        self.start = Some(Start { by, stage: StartStage::Stored, rest: VecDeque::new(), trying: None });
    }

    /// Starts the plugin. `stored` lists the stored versions, the best first.
    pub(super) fn start(&mut self, stored: Vec<StoredVersion>, takes_time: bool) -> Effects {
        // A prebuilt artifact needs no build, so no stored version is started before it, unless the plugin was rolled
        // back from it.
        let stored_first = takes_time || self.history.rolled_back_from().is_some();
        let rest = if stored_first { self.that_may_run(stored) } else { Vec::new() };
        let Some(start) = &mut self.start else { return Effects::default() };
        start.rest = rest.into();
        self.try_next()
    }

    /// Starts the plugin for a user, and ends its quarantine.
    pub(super) fn start_asked(&mut self, serves: bool, kept_out: (bool, bool)) -> Effects {
        let lifts = self.lifts(kept_out);
        // The quarantine may be the reason why the newest source does not serve.
        let is_hindered = !lifts.is_empty() && self.faults.of_source();
        let work = match serves {
            _ if is_hindered => Work::BuildSource,
            true => Work::EndStart,
            false => Work::BringUp,
        };
        if work != Work::EndStart {
            self.failures = Failures::default();
        }
        if work == Work::BringUp {
            self.start_begins(StartBy::Command);
        }
        Effects::of(lifts).and_then(Some(work))
    }

    /// A stored version was tried. `is_unfit`: it has rejected its configuration.
    pub(super) fn tried(&mut self, serves: bool, is_unfit: bool) -> Effects {
        let Some(start) = &mut self.start else { return Effects::default() };
        match (start.trying.take(), start.stage, start.by) {
            (Some(_), StartStage::Stored, StartBy::Host { same_program: true }) if serves => {
                start.stage = StartStage::Source;
                Effects::work(Work::AnswerStart)
            }
            (Some(_), StartStage::Stored, _) if serves => self.build_source(),
            (Some(_), StartStage::Fallback, _) if serves => self.end_start(),
            (Some(Trying::AsSaid(digest)), _, StartBy::Host { .. }) if is_unfit => {
                start.trying = Some(Trying::AsAccepted);
                Effects::work(Work::ServeAccepted(digest))
            }
            _ => self.try_next(),
        }
    }

    /// The caller that waits for the start was answered.
    pub(super) fn start_is_answered(&mut self) -> Effects {
        self.build_source()
    }

    /// The source was built. If no version serves, the versions in `stored` are tried.
    pub(super) fn source_tried(&mut self, serves: bool, stored: Vec<StoredVersion>) -> Effects {
        let stored = self.that_may_run(stored);
        let Some(start) = &mut self.start else { return Effects::default() };
        if serves || self.intent == Intent::Rest {
            return self.end_start();
        }
        (start.stage, start.rest) = (StartStage::Fallback, stored.into());
        self.try_next()
    }

    /// Tries the next stored version. If none remains, builds the source or ends the start.
    fn try_next(&mut self) -> Effects {
        let refused = self.faults.refused();
        let Some(start) = &mut self.start else { return Effects::default() };
        while let Some(digest) = start.rest.pop_front() {
            // The build may have resulted in this artifact, and the artifact was rejected then.
            let unfit = refused
                .as_ref()
                .filter(|(refused, _)| *refused == digest && start.stage == StartStage::Fallback);
            let unfit = unfit.map(|(_, unfit)| unfit.is_some());
            match (unfit, start.by) {
                (None, _) => {
                    start.trying = Some(Trying::AsSaid(digest));
                    return Effects::work(Work::ServeStored(digest));
                }
                (Some(true), StartBy::Host { .. }) => {
                    start.trying = Some(Trying::AsAccepted);
                    return Effects::work(Work::ServeAccepted(digest));
                }
                (Some(_), _) => {}
            }
        }
        if start.stage == StartStage::Stored { self.build_source() } else { self.end_start() }
    }

    fn build_source(&mut self) -> Effects {
        if let Some(start) = &mut self.start {
            start.stage = StartStage::Source;
        }
        Effects::work(Work::BuildSource)
    }

    fn end_start(&mut self) -> Effects {
        self.start = None;
        Effects::work(Work::EndStart)
    }
}
