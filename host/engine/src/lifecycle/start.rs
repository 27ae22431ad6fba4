//! The start of a plugin. First, a stored version is started, so that the plugin serves before anything is built. Then
//! the source is built. If the result does not start and no version serves, the stored versions are tried once more.

use super::{Because, Effect, Effects, Failures, Intent, Lifecycle, NotInstalled, StoredVersion, Work};
use crate::{manifest::Manifest, record::How};
use std::{collections::VecDeque, sync::Arc};

/// The initiator of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartBy {
    /// A user or client, who gets the error if the version rejects its configuration.
    Command,
    /// The host. `same_program`: the version that served last has served in this same program, so the interfaces of the
    /// program have not changed, and the start is answered before the source is built.
    Host { same_program: bool },
}

/// A start that is in progress.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Start {
    by: StartBy,
    stage: StartStage,
    /// The stored versions that have not been tried yet, the best first.
    rest: VecDeque<StoredVersion>,
    trying: Option<Trying>,
    /// Whether the report of a failure was postponed.
    postpones: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartStage {
    Stored,
    Source,
    Fallback,
}

/// The stored version that is being tried.
#[derive(Clone, Debug, PartialEq)]
enum Trying {
    /// The version starts with the manifest that is in force. `refusal`: the error, if the version has rejected its
    /// configuration.
    AsSaid { version: StoredVersion, refusal: Option<String> },
    /// The version starts with the configuration that it has accepted before, because it has rejected the manifest
    /// `rejected` with the error `refusal`.
    AsAccepted { rejected: Arc<Manifest>, refusal: String },
}

impl Start {
    /// Whether the report of a failure is postponed. `how`: why the version was installed.
    pub(super) fn postpones(&mut self, how: How) -> bool {
        let is_of_start = match self.stage {
            // A restart during the build does not belong to the start.
            StartStage::Source => how == How::Built,
            StartStage::Stored | StartStage::Fallback => true,
        };
        self.postpones |= is_of_start;
        is_of_start
    }
}

impl Lifecycle {
    /// Begins a start. The worker then reports the stored versions.
    pub(super) fn start_begins(&mut self, by: StartBy) {
        let (stage, rest) = (StartStage::Stored, VecDeque::new());
        self.start = Some(Start { by, stage, rest, trying: None, postpones: false });
    }

    /// Starts the plugin. `stored` lists the stored versions, the best first.
    pub(super) fn start(&mut self, stored: Vec<StoredVersion>, takes_time: bool) -> Effects {
        // A prebuilt artifact needs no build, so it is started before any stored version, except after a rollback of
        // the plugin.
        let stored_first = takes_time || self.history.rolled_back_from().is_some();
        let rest = if stored_first { self.that_may_run(stored) } else { VecDeque::new() };
        let Some(start) = &mut self.start else { return Effects::default() };
        start.rest = rest;
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

    /// A version has failed to start. Stores the error if the start is trying this version and the version has rejected
    /// its configuration.
    pub(super) fn start_is_refused(&mut self, failed: &NotInstalled) {
        if let Some(Start { trying: Some(Trying::AsSaid { refusal, .. }), .. }) = &mut self.start
            && failed.because == Because::ConfigRefused
        {
            *refusal = Some(failed.text.clone());
        }
    }

    /// The effect that makes the postponed reports, if there are any.
    fn postponed_reports(&mut self) -> Effects {
        let postpones = self.start.as_mut().is_some_and(|start| std::mem::take(&mut start.postpones));
        Effects::of(postpones.then_some(Effect::ReportFailures))
    }

    /// A stored version was tried.
    pub(super) fn tried(&mut self, serves: bool) -> Effects {
        let Some(start) = &mut self.start else { return Effects::default() };
        let (tried, stage, by) = (start.trying.take(), start.stage, start.by);
        if let (true, Some(Trying::AsAccepted { rejected, refusal })) = (serves, &tried) {
            self.manifest_refused(rejected.clone(), refusal.clone());
        }
        match (tried, stage, by) {
            (Some(_), StartStage::Stored, StartBy::Host { same_program: true }) if serves => {
                self.postponed_reports().and_then(Some(Work::AnswerStart))
            }
            (Some(_), StartStage::Stored, _) if serves => self.build_source(),
            (Some(_), StartStage::Fallback, _) if serves => self.end_start(),
            (Some(Trying::AsSaid { version, refusal: Some(refusal) }), ..) => {
                self.try_accepted(&version, refusal).unwrap_or_else(|| self.try_next())
            }
            _ => self.try_next(),
        }
    }

    /// If the version has accepted a different configuration before, starts it with that configuration. The result is
    /// the same as if the host had not been restarted. A user who starts the plugin gets the error instead.
    fn try_accepted(&mut self, version: &StoredVersion, refusal: String) -> Option<Effects> {
        let rejected = self.manifests.in_force().clone();
        let start = self.start.as_mut().filter(|start| start.by != StartBy::Command)?;
        let config = version.accepted.clone().filter(|accepted| *accepted != rejected.config)?;
        let manifest = Arc::new(Manifest { config, ..(*rejected).clone() });
        start.trying = Some(Trying::AsAccepted { rejected, refusal });
        Some(Effects::work(Work::ServeStored { digest: version.digest, manifest }))
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
        (start.stage, start.rest) = (StartStage::Fallback, stored);
        self.try_next()
    }

    /// Tries the next stored version. If none remains, builds the source or ends the start.
    fn try_next(&mut self) -> Effects {
        let refused = self.faults.refused();
        let manifest = self.manifests.in_force().clone();
        while let Some(start) = &mut self.start
            && let Some(version) = start.rest.pop_front()
        {
            // The build may have resulted in this artifact, and the artifact was rejected then.
            let refused = refused.as_ref().filter(|_| start.stage == StartStage::Fallback);
            match refused.filter(|(refused, _)| *refused == version.digest) {
                None => {
                    let digest = version.digest;
                    start.trying = Some(Trying::AsSaid { version, refusal: None });
                    return Effects::work(Work::ServeStored { digest, manifest });
                }
                Some((_, Some(refusal))) => {
                    if let Some(effects) = self.try_accepted(&version, refusal.clone()) {
                        return effects;
                    }
                }
                Some((_, None)) => {}
            }
        }
        let is_built = self.start.as_ref().is_some_and(|start| start.stage != StartStage::Stored);
        if is_built { self.end_start() } else { self.build_source() }
    }

    fn build_source(&mut self) -> Effects {
        let reports = self.postponed_reports();
        if let Some(start) = &mut self.start {
            start.stage = StartStage::Source;
        }
        reports.and_then(Some(Work::BuildSource))
    }

    fn end_start(&mut self) -> Effects {
        let reports = self.postponed_reports();
        self.start = None;
        reports.and_then(Some(Work::EndStart))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::Digest,
        lifecycle::{Config, Input, Installation, Past, Processes, Programs, ReportTime},
        manifest,
    };
    use serde_json::json;
    use std::{fs, time::Instant};

    const OLD: Digest = Digest([1; 32]);

    fn word(word: &str) -> Config {
        Config::from_iter([("word".to_owned(), json!(word))])
    }

    /// A plugin with `word = "new"` in its configuration, whose start was begun by `begin`. Its stored version has
    /// accepted `accepted`, and rejects the current configuration. Returns the work that follows.
    fn rejected(begin: Input, accepted: Option<Config>) -> (Lifecycle, Option<Work>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plugin.toml"), "id = 'dev.test.start'\n[config]\nword = 'new'\n")
            .unwrap();
        let manifest = Arc::new(manifest::read(folder.path()).unwrap());
        let mut lifecycle = Lifecycle::new(manifest.clone(), Past::default(), (Processes::Possible, 1));
        let mut step = |input| lifecycle.step(Instant::now(), input);
        step(Input::Wanted);
        assert_eq!(step(begin).then, Some(Work::BringUp));
        let stored = StoredVersion { digest: OLD, is_quarantined: false, has_crashed: false, accepted };
        let work = step(Input::Start { stored: vec![stored], takes_time: true }).then;
        assert_eq!(work, Some(Work::ServeStored { digest: OLD, manifest: manifest.clone() }));
        step(Input::Install(Installation { how: How::Again, manifest, replaces: false }));
        let ended = step(Input::NotInstalled(NotInstalled {
            text: "`word` is rejected".into(),
            artifact: Some(OLD),
            because: Because::ConfigRefused,
            made_room: false,
            is_announced: false,
        }));
        assert_eq!(ended.then, Some(Work::EndInstall(ReportTime::Later)), "another version may serve");
        let Effects { now, then } = step(Input::Tried { serves: false });
        let is_reported = matches!(now.as_slice(), [Effect::ReportFailures]);
        assert_eq!(
            is_reported,
            then == Some(Work::BuildSource),
            "no version is left to try before the build"
        );
        (lifecycle, then)
    }

    fn by_host() -> Input {
        Input::HostStarts(Programs::default())
    }

    #[test]
    fn a_start_by_the_host_falls_back_to_the_accepted_configuration() {
        let (mut lifecycle, work) = rejected(by_host(), Some(word("old")));
        let Some(Work::ServeStored { digest: OLD, manifest }) = work else { panic!("{work:?}") };
        assert_eq!(manifest.config, word("old"));
        let Effects { now, then } = lifecycle.step(Instant::now(), Input::Tried { serves: true });
        assert!(matches!(now.as_slice(), [Effect::ReportFailures]), "{now:?}");
        assert_eq!(then, Some(Work::BuildSource));
        assert_eq!(lifecycle.faults().first().map(String::as_str), Some("`word` is rejected"));
        assert_eq!(
            lifecycle.latest_manifest().config,
            word("new"),
            "it takes effect when a version accepts it"
        );
    }

    #[test]
    fn a_start_without_another_accepted_configuration_builds_the_source() {
        for accepted in [None, Some(word("new"))] {
            assert_eq!(rejected(by_host(), accepted).1, Some(Work::BuildSource));
        }
    }

    #[test]
    fn a_user_who_starts_a_plugin_gets_the_error_of_its_configuration() {
        let asked = Input::StartAsked { serves: false, quarantined: false, crashed: false };
        assert_eq!(rejected(asked, Some(word("old"))).1, Some(Work::BuildSource));
    }
}
