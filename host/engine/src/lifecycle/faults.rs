//! The faults of a plugin, by kind. Each kind of fault is repaired by a different event.

use super::{Because, NotInstalled};
use crate::id::Digest;
use std::time::Instant;

/// The origin of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The author, in the manifest.
    Edit,
    /// A user or client, by a command, whose answer reports an error.
    Command,
}

/// The faults of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Why the manifest cannot be read. The previous manifest is in force. Only a readable manifest repairs this fault.
    manifest: Option<String>,
    /// Why a readable manifest was rejected. The previous manifest is in force.
    rejected: Option<String>,
    /// Why the newest source does not serve. This fault remains while an older version serves.
    source: Option<SourceFault>,
    /// The last failure of any other kind.
    other: Option<String>,
    /// A build has failed with this error while the manifest was missing. The failure is reported at this time, unless
    /// the plugin has been removed by then.
    unclear: Option<(Instant, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SourceFault {
    text: String,
    /// The rejected artifact of the last build. `None` if that build has not produced an artifact.
    artifact: Option<Digest>,
    /// Whether the artifact rejected its configuration. The artifact may accept a different configuration.
    is_unfit: bool,
}

impl Faults {
    /// The faults that earlier hosts have recorded.
    pub(super) fn of_the_past(manifest: Option<String>, source: Option<String>) -> Self {
        let source = source.map(SourceFault::with);
        Self { manifest, source, ..Self::default() }
    }

    /// The most important fault. The precedence is `other`, `manifest`, `rejected`, `source`.
    pub(crate) fn first(&self) -> Option<&String> {
        let source = self.source.as_ref().map(|fault| &fault.text);
        let all = [self.other.as_ref(), self.manifest.as_ref(), self.rejected.as_ref(), source];
        all.into_iter().find_map(|fault| fault)
    }

    /// Whether the manifest cannot be read.
    pub(crate) fn of_manifest(&self) -> bool {
        self.manifest.is_some()
    }

    /// Whether the newest source does not serve.
    pub(crate) fn of_source(&self) -> bool {
        self.source.is_some()
    }

    /// Whether the newest version rejected its configuration.
    pub(crate) fn is_unfit(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is_unfit)
    }

    /// The artifact of the last build, if it was rejected. The text is the error, if the artifact rejected its
    /// configuration.
    pub(crate) fn refused(&self) -> Option<(Digest, Option<String>)> {
        let SourceFault { text, artifact, is_unfit } = self.source.as_ref()?;
        Some(((*artifact)?, is_unfit.then(|| text.clone())))
    }

    pub(super) fn manifest_is_read(&mut self) {
        (self.manifest, self.rejected) = (None, None);
    }

    pub(super) fn manifest_is_unusable(&mut self, text: String) {
        (self.manifest, self.other) = (Some(text), None);
    }

    /// Records that a readable manifest was accepted.
    pub(super) fn manifest_is_accepted(&mut self) {
        self.rejected = None;
    }

    /// Records that a readable manifest was rejected.
    pub(super) fn manifest_is_rejected(&mut self, text: String) {
        (self.rejected, self.other) = (Some(text), None);
    }

    /// The time at which to report that a build has failed while the manifest was missing. `None` if there is no such
    /// build.
    pub(super) fn due(&self) -> Option<Instant> {
        self.unclear.as_ref().map(|(due, _)| *due)
    }

    /// Records that a build has failed while the manifest was missing. The failure is reported at `until`.
    pub(super) fn build_is_unclear(&mut self, until: Instant, text: String) {
        self.unclear = Some((until, text));
    }

    /// Removes and returns the error of a build that has failed while the manifest was missing.
    pub(super) fn take_unclear(&mut self) -> Option<String> {
        self.unclear.take().map(|(_, text)| text)
    }

    /// Cancels the report of a build that has failed while the manifest was missing.
    pub(super) fn forget_unclear(&mut self) {
        self.unclear = None;
    }

    pub(super) fn build_begins(&mut self) {
        self.unclear = None;
        if let Some(source) = &mut self.source {
            source.artifact = None;
        }
    }

    pub(super) fn build_failed(&mut self, text: String) {
        self.newest_fails(SourceFault::with(text));
    }

    /// Records that the newest source has resulted in the serving version.
    pub(super) fn is_unchanged(&mut self) {
        (self.source, self.other) = (None, None);
    }

    /// Records that a version serves.
    pub(super) fn serves(&mut self, newest: bool) {
        self.other = None;
        if newest {
            self.source = None;
        }
    }

    /// Records that `confirm` has rolled the serving version back. Its source counts as faulty until it is edited.
    pub(super) fn is_taken_back(&mut self, text: String) {
        self.source = Some(SourceFault::with(text));
    }

    /// Records that the version that served last was quarantined.
    pub(super) fn is_quarantined(&mut self, text: String) {
        // If the newest source has a fault, the quarantined version is an earlier version, and that fault remains.
        match self.source {
            None => self.newest_fails(SourceFault::with(text)),
            Some(_) => self.other = Some(text),
        }
    }

    /// Records that a version failed to start. A version that was just built is the newest.
    pub(super) fn version_fails(&mut self, is_newest: bool, failed: NotInstalled, configuring: Option<By>) {
        let NotInstalled { text, artifact, because, .. } = failed;
        match because {
            Because::KeptOut if !is_newest => self.other = Some(text),
            _ if is_newest => {
                let is_unfit = because == Because::ConfigRefused;
                self.newest_fails(SourceFault { text, artifact, is_unfit });
            }
            _ => self.is_refused(text, configuring),
        }
    }

    /// Records that an earlier version failed to start, or that the serving version rejects its configuration. If a
    /// command has set the configuration, no fault is recorded, because the answer to the command reports the error.
    pub(super) fn is_refused(&mut self, text: String, configuring: Option<By>) {
        match configuring {
            Some(By::Command) => {}
            Some(By::Edit) => self.manifest_is_rejected(text),
            None => self.other = Some(text),
        }
    }

    fn newest_fails(&mut self, fault: SourceFault) {
        (self.source, self.other) = (Some(fault), None);
    }
}

impl SourceFault {
    fn with(text: String) -> Self {
        Self { text, artifact: None, is_unfit: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serving_version_clears_only_the_faults_it_repairs() {
        let mut faults = Faults::default();
        faults.manifest_is_unusable("manifest".into());
        faults.build_failed("source".into());
        faults.is_refused("last".into(), None);
        assert_eq!(faults.first().map(String::as_str), Some("last"));
        faults.serves(false);
        assert_eq!(faults.first().map(String::as_str), Some("manifest"));
        faults.manifest_is_read();
        assert_eq!(faults.first().map(String::as_str), Some("source"));
        faults.serves(true);
        assert_eq!(faults.first(), None);
    }

    #[test]
    fn a_rejected_config_is_a_fault_only_if_it_comes_from_the_manifest() {
        let mut faults = Faults::default();
        faults.is_refused("set by a command".into(), Some(By::Command));
        assert_eq!(faults, Faults::default());
        faults.is_refused("written".into(), Some(By::Edit));
        faults.serves(true);
        assert_eq!(
            faults.first().map(String::as_str),
            Some("written"),
            "a new version does not repair a rejected manifest"
        );
        faults.manifest_is_accepted();
        assert_eq!(faults.first(), None);
    }
}
