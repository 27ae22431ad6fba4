//! The rules about the faults of the plugin. A fault is a failure that is not repaired yet. After each step, this module
//! determines the most important fault independently of the lifecycle, and compares it with that of the lifecycle.

use super::World;
use crate::{
    id::Digest,
    lifecycle::{Because, Effect, Input, Lifecycle, Work},
    manifest::Manifest,
    record::How,
};
use std::{collections::BTreeMap, sync::Arc};

/// The expected faults of the plugin. Each fault is the text of a failure, and each failure has its own text.
#[derive(Default)]
pub(super) struct Faults {
    failures: u32,
    /// Why the manifest cannot be read.
    manifest: Option<String>,
    /// Why the manifest was rejected.
    rejected: Option<String>,
    /// Why the newest source does not serve.
    source: Option<String>,
    /// The last failure of any other kind.
    other: Option<String>,
    /// Why a build has failed while the manifest was missing. This is a fault only if the plugin was not removed.
    unclear: Option<String>,
    /// How the version that is being installed was chosen (a build, a start or a rollback), and its manifest.
    installs: Option<(How, Arc<Manifest>)>,
    /// The failure of the last attempt to start a version.
    attempt: Option<Failed>,
    /// The failure of a new version for which the old version was stopped, while the old version starts again.
    made_room: Option<Failed>,
    /// For each artifact, the text with which it last rejected its configuration.
    refusals: BTreeMap<Digest, String>,
}

type Failed = (String, Because);

impl Faults {
    /// The text of a new failure.
    pub(super) fn text(&mut self, of: &str) -> String {
        self.failures += 1;
        format!("{of} (failure {})", self.failures)
    }

    fn is_rejected(&mut self, text: Option<String>) {
        (self.rejected, self.other) = (text, None);
    }

    fn newest_fails(&mut self, text: Option<String>) {
        (self.source, self.other) = (text, None);
    }

    /// An earlier version has failed, or the serving version has rejected a configuration. `by_command`: whether a
    /// command has set this configuration. It is `None` if no configuration is being applied.
    fn earlier_fails(&mut self, text: String, by_command: Option<bool>) {
        match by_command {
            None => self.other = Some(text),
            Some(false) => self.is_rejected(Some(text)),
            // The answer to the command reports the error.
            Some(true) => {}
        }
    }

    fn version_fails(&mut self, how: How, (text, because): Failed, by_command: Option<bool>) {
        match because {
            _ if how == How::Built => self.newest_fails(Some(text)),
            Because::KeptOut => self.other = Some(text),
            _ => self.earlier_fails(text, by_command),
        }
    }

    /// Records an input that is passed to the lifecycle.
    fn takes(&mut self, input: &Input, machine: &Lifecycle, (is_wanted, by_command): (bool, Option<bool>)) {
        match input {
            Input::ManifestRead { .. } => (self.manifest, self.rejected) = (None, None),
            Input::ManifestUnusable(text) => (self.manifest, self.other) = (Some(text.clone()), None),
            Input::ConfigureEnded { taken: true } => self.rejected = None,
            Input::ManifestRefused { text, .. } => self.is_rejected(Some(text.clone())),
            Input::Refused(text) => self.earlier_fails(text.clone(), by_command),
            Input::BuildFailed { text, is_missing: true } => self.unclear = Some(text.clone()),
            Input::BuildFailed { text, .. } => self.newest_fails(Some(text.clone())),
            Input::LookedForManifest { is_missing } => {
                if let Some(text) = self.unclear.take().filter(|_| !is_missing) {
                    self.newest_fails(Some(text));
                }
            }
            Input::Build(_) if is_wanted => self.unclear = None,
            Input::Moved { .. } => self.unclear = None,
            Input::Unchanged => self.newest_fails(None),
            Input::Stop(_) => {
                (self.manifest, self.rejected, self.source) = (None, None, None);
                (self.other, self.unclear) = (None, None);
            }
            Input::Install(it) => self.installs = Some((it.how, it.manifest.clone())),
            Input::NotInstalled(failed) => {
                self.attempt = Some((failed.text.clone(), failed.because));
                if let (Because::ConfigRefused, Some(digest)) = (failed.because, failed.artifact) {
                    self.refusals.insert(digest, failed.text.clone());
                }
            }
            Input::Served { .. } => {
                self.other = None;
                match (self.installs.take(), self.made_room.take()) {
                    (Some((how, _)), Some(failed)) => self.version_fails(how, failed, by_command),
                    (Some((how, manifest)), None) => {
                        if how == How::Built {
                            self.source = None;
                        }
                        // The version has accepted a manifest that was not in force before.
                        if !Arc::ptr_eq(&manifest, machine.manifest()) {
                            self.rejected = None;
                        }
                    }
                    (None, _) => {}
                }
            }
            _ => {}
        }
    }

    /// Records the output of the lifecycle.
    fn follow(&mut self, effects: &[Effect], work: Option<&Work>, by_command: Option<bool>) {
        for effect in effects {
            match effect {
                // If the newest source does not serve, the quarantined version is an earlier one.
                Effect::Quarantine { reason, .. } if self.source.is_some() => {
                    self.other = Some(reason.clone());
                }
                Effect::Quarantine { reason, .. } => self.newest_fails(Some(reason.clone())),
                Effect::ReportTakenBack { fault, .. } => self.source = Some(fault.clone()),
                _ => {}
            }
        }
        let Some(failed) = self.attempt.take() else { return };
        match work {
            Some(Work::BringBack(_)) => self.made_room = Some(failed),
            Some(Work::EndInstall(_)) => {
                let Some((how, _)) = self.installs.take() else { return };
                match self.made_room.take() {
                    None => self.version_fails(how, failed, by_command),
                    Some(first) => {
                        self.other = Some(failed.0);
                        self.version_fails(how, first, by_command);
                    }
                }
            }
            _ => {}
        }
    }

    /// This artifact has rejected the configuration of the newest manifest. It serves with the configuration that it has
    /// accepted before.
    pub(super) fn serves_as_before(&mut self, digest: Digest) {
        let refusal = self.refusals.get(&digest).cloned();
        self.is_rejected(refusal);
    }

    /// Whether the manifest is known to be unreadable.
    pub(super) fn are_of_manifest(&self) -> bool {
        self.manifest.is_some()
    }

    /// The most important fault.
    fn first(&self) -> Option<&String> {
        let all = [&self.other, &self.manifest, &self.rejected, &self.source];
        all.into_iter().find_map(Option::as_ref)
    }
}

impl World {
    /// Records the faults that an input causes or repairs.
    pub(super) fn faults_take(&mut self, input: &Input) {
        let context = (self.watch.is_wanted, self.configuring);
        self.faults.takes(input, &self.machine, context);
    }

    /// Records the faults that an output causes, and checks the most important fault.
    pub(super) fn faults_follow(&mut self, effects: &[Effect], work: Option<&Work>) {
        self.faults.follow(effects, work, self.configuring);
        let (is, expected) = (self.machine.faults().first(), self.faults.first());
        self.watch
            .rule(is == expected, || format!("the most important fault is {is:?} instead of {expected:?}"));
    }
}
