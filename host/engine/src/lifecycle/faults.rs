//! What is wrong with a plugin: each kind is put right by something else.

use super::{Because, NotInstalled};
use crate::id::Digest;
use std::time::Instant;

/// Who has chosen a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The author, in the manifest.
    Edit,
    /// Someone who asked the host, and is answered.
    Order,
}

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Why the manifest cannot be read: the one before is in force. No version that serves puts that right.
    manifest: Option<String>,
    /// Why a manifest was refused that could be read. The previous one is in force.
    words: Option<String>,
    /// Why the newest source does not serve. Another version that does puts nothing right.
    source: Option<SourceFault>,
    /// What went wrong last, if that is none of these.
    other: Option<String>,
    /// A build has failed while the manifest was missing. It counts from then on, unless the plugin is gone.
    unclear: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SourceFault {
    text: String,
    /// The artifact that was refused, if it came to one since the last build began.
    artifact: Option<Digest>,
    /// Whether it was refused for its configuration: another may be the right one.
    is_unfit: bool,
}

impl Faults {
    pub(super) fn of_the_past(manifest: Option<String>, source: Option<String>) -> Self {
        let source = source.map(SourceFault::with);
        Self { manifest, source, ..Self::default() }
    }

    /// What is wrong, the newest first.
    pub(crate) fn first(&self) -> Option<&String> {
        let source = self.source.as_ref().map(|fault| &fault.text);
        let all = [self.other.as_ref(), self.manifest.as_ref(), self.words.as_ref(), source];
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

    /// Whether the newest version was refused for its configuration.
    pub(crate) fn is_unfit(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is_unfit)
    }

    /// The artifact that the last build gave, if it was refused; and why, if that was for its configuration.
    pub(crate) fn refused(&self) -> Option<(Digest, Option<String>)> {
        let SourceFault { text, artifact, is_unfit } = self.source.as_ref()?;
        Some(((*artifact)?, is_unfit.then(|| text.clone())))
    }

    pub(super) fn manifest_is_read(&mut self) {
        (self.manifest, self.words) = (None, None);
    }

    pub(super) fn manifest_is_unusable(&mut self, text: String) {
        (self.manifest, self.other) = (Some(text), None);
    }

    pub(super) fn words_apply(&mut self) {
        self.words = None;
    }

    pub(super) fn words_are_refused(&mut self, text: String) {
        (self.words, self.other) = (Some(text), None);
    }

    /// When it is clear whether a build counts that has failed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.unclear
    }

    pub(super) fn build_is_unclear(&mut self, until: Instant) {
        self.unclear = Some(until);
    }

    /// An earlier failure no longer counts, if it is not clear that it does.
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

    pub(super) fn is_unchanged(&mut self) {
        (self.source, self.other) = (None, None);
    }

    pub(super) fn serves(&mut self, newest: bool) {
        self.other = None;
        if newest {
            self.source = None;
        }
    }

    /// A version that has served was found to be bad. Its source stays bad.
    pub(super) fn is_taken_back(&mut self, text: String) {
        self.source = Some(SourceFault::with(text));
    }

    pub(super) fn is_quarantined(&mut self, text: String) {
        // An earlier version that serves instead puts nothing right.
        match self.source {
            None => self.newest_fails(SourceFault::with(text)),
            Some(_) => self.other = Some(text),
        }
    }

    /// A version did not come to serve, which is the newest if it was built.
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

    /// A version that has served before did not come to serve, or what serves refuses its configuration. An order that is
    /// refused leaves everything as it was.
    pub(super) fn is_refused(&mut self, text: String, configuring: Option<By>) {
        match configuring {
            Some(By::Order) => {}
            Some(By::Edit) => self.words_are_refused(text),
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
    fn a_rejected_config_is_a_fault_only_if_an_edit_brought_it() {
        let mut faults = Faults::default();
        faults.is_refused("ordered".into(), Some(By::Order));
        assert_eq!(faults, Faults::default());
        faults.is_refused("written".into(), Some(By::Edit));
        faults.serves(true);
        assert_eq!(faults.first().map(String::as_str), Some("written"), "another version does not help");
        faults.words_apply();
        assert_eq!(faults.first(), None);
    }
}
