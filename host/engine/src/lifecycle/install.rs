//! The installation of a version: the state with which the version begins, and what follows if the version fails to
//! start. If it rejects a checkpoint, the checkpoint is discarded and the version starts without state. If it fails and
//! the previous version was stopped to make room, the previous version is started again.

use super::{AfterCrash, Effect, Effects, Lifecycle, ReportTime, Work, service::Service};
use crate::{id::Digest, manifest::Manifest, record::How};
use std::{sync::Arc, time::Instant};

/// A version to install.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) how: How,
    /// The manifest of the version.
    pub(crate) manifest: Arc<Manifest>,
    /// Whether the version replaces a serving generation.
    pub(crate) replaces: bool,
}

/// The saved state with which an instance begins. If a serving generation hands its state over, that state takes
/// precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeginsWith {
    /// The state that was saved at the last stop.
    Kept,
    /// The last checkpoint, if any.
    Checkpoint,
    /// The state that the previous version saved when it was stopped to make room.
    HandedOver,
    /// No state.
    Nothing,
}

/// A version that failed to start.
#[derive(Debug)]
pub(crate) struct NotInstalled {
    pub(crate) text: String,
    /// The version's artifact, if there is one.
    pub(crate) artifact: Option<Digest>,
    pub(crate) because: Because,
    /// Whether the previous version was stopped to make room for this version.
    pub(crate) made_room: bool,
    /// Whether the host reports the crash because of which this version does not run.
    pub(crate) is_announced: bool,
}

/// Why a version failed to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// The version rejects the saved state.
    StateRefused,
    /// The version rejects its configuration.
    ConfigRefused,
    /// The version has crashed a host or is quarantined, so this host does not run it.
    KeptOut,
    /// Any other reason.
    Other,
}

/// An installation that is in progress.
#[derive(Debug)]
pub(super) enum Install {
    /// The version starts.
    Starts { installation: Installation, with: BeginsWith },
    /// The new version has failed, and the version that was stopped to make room starts again. The error of the new
    /// version is reported when that start has ended.
    Returns { installation: Installation, failed: NotInstalled, with: BeginsWith },
}

impl Lifecycle {
    /// Begins the installation of a version.
    pub(super) fn install(&mut self, installation: Installation) -> Effects {
        if installation.how == How::Built {
            self.failed_builds = 0;
        }
        let with = self.saved.to_begin_with(&self.policy);
        self.starts(installation, with)
    }

    fn starts(&mut self, installation: Installation, with: BeginsWith) -> Effects {
        let after_crash = AfterCrash::of(installation.manifest.mode, self.processes);
        self.install = Some(Install::Starts { installation, with });
        Effects::work(Work::Install(with, after_crash))
    }

    fn returns(&mut self, (installation, failed): (Installation, NotInstalled), with: BeginsWith) -> Effects {
        self.install = Some(Install::Returns { installation, failed, with });
        Effects::work(match with {
            BeginsWith::HandedOver => Work::BringBack(self.after_crash()),
            with => Work::Install(with, self.after_crash()),
        })
    }

    /// Records that a generation serves. Returns why it was started, whether it replaces another generation, and the
    /// effects. If a new version has failed and the previous version serves again, the error of the new version is
    /// recorded now.
    pub(super) fn installed(&mut self, now: Instant) -> (How, bool, Effects) {
        match self.install.take() {
            Some(Install::Starts { installation: Installation { how, manifest, replaces }, .. }) => {
                self.faults.serves(how == How::Built);
                let mut effects = Effects::default();
                if !Arc::ptr_eq(&manifest, self.manifests.in_force()) {
                    // The manifest of this version was pending, because the previous version could not apply it.
                    self.faults.manifest_is_accepted();
                    effects = self.accept(now, manifest);
                }
                (how, replaces, effects)
            }
            Some(Install::Returns { installation, failed, .. }) => {
                self.faults.serves(false);
                self.version_fails(installation.how, failed);
                (How::Again, false, Effects::default())
            }
            None => (How::Again, false, Effects::default()),
        }
    }

    /// Decides what follows from a failed start: another attempt without state, a restart of the previous version, or
    /// the end of the installation.
    pub(super) fn not_installed(&mut self, failed: NotInstalled) -> Effects {
        let is_refused = failed.because == Because::StateRefused;
        let gives_up = || [Effect::LoseCheckpoint(failed.text.clone())].into();
        match self.install.take() {
            // If a generation serves, the version has rejected the state of that generation, and the checkpoint is
            // still usable.
            Some(Install::Starts { installation, with: BeginsWith::Checkpoint })
                if is_refused && !installation.replaces =>
            {
                Effects { now: gives_up(), ..self.starts(installation, BeginsWith::Nothing) }
            }
            Some(Install::Starts { installation, .. }) if failed.made_room => {
                self.returns((installation, failed), BeginsWith::HandedOver)
            }
            Some(Install::Starts { installation, .. }) => {
                self.start_is_refused(&failed);
                let time = self.report_time(installation.how, &failed);
                self.version_fails(installation.how, failed);
                Effects::work(Work::EndInstall(time))
            }
            Some(Install::Returns { installation, failed: first, with: BeginsWith::HandedOver })
                if is_refused =>
            {
                Effects { now: gives_up(), ..self.returns((installation, first), BeginsWith::Nothing) }
            }
            Some(Install::Returns { installation, failed: first, .. }) => {
                // Usually, a failure during a command that sets the configuration is not recorded as a fault. This
                // failure is recorded, because the plugin no longer serves.
                self.faults.is_refused(failed.text, None);
                self.service = self.service.last().map_or(Service::Stopped, |last| Service::GivenUp { last });
                self.version_fails(installation.how, first);
                Effects::work(Work::EndInstall(ReportTime::Now))
            }
            None => Effects::default(),
        }
    }

    fn version_fails(&mut self, how: How, failed: NotInstalled) {
        self.faults.version_fails(how == How::Built, failed, self.activity.configures());
    }
}
