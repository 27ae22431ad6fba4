//! Reports of failures: when a failure is reported, what the report names, and which failures are not reported.

use super::{By, Effect, Effects, Lifecycle, NotInstalled, service::Service};
use crate::record::How;

/// When a failure is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportTime {
    Now,
    /// At the next [`Effect::ReportFailures`]. If another version serves by then, the report names it.
    Later,
    /// Not at all: the version is not run, because it has crashed, and the host reports the crash itself.
    ByHost,
}

/// What the report of a failure names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FailureReport {
    /// Whether the serving version has rejected a new configuration. Otherwise, a version failed to start.
    pub(crate) is_of_configuration: bool,
    /// If no version serves: whether this failure is the reason.
    pub(crate) explains_outage: bool,
    /// Whether the report names the manifest.
    pub(crate) names_file: bool,
    /// Whether the report names the line of the manifest with the rejected key, if there is one.
    pub(crate) names_line: bool,
}

/// Where a version runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// In the mode that its manifest requests.
    AsRequested,
    /// In a child process, because its artifact has crashed. This was reported when the crash was detected.
    AfterCrash,
    /// In a child process, for another reason.
    Moved,
}

impl Lifecycle {
    /// What the report of a failure names now.
    pub(crate) fn failure_report(&self) -> FailureReport {
        let by = self.activity.configures();
        // If a command has set the rejected configuration, the plugin stays as it was before.
        let is_of_author = by != Some(By::Command);
        FailureReport {
            is_of_configuration: by.is_some(),
            explains_outage: is_of_author,
            names_file: is_of_author,
            names_line: is_of_author && self.overrides.is_none(),
        }
    }

    /// When to report that a version failed to start. `how`: why it was installed.
    pub(super) fn report_time(&mut self, how: How, failed: &NotInstalled) -> ReportTime {
        if failed.is_announced { ReportTime::ByHost } else { self.report_time_in_start(how) }
    }

    /// When to report a failure of a version. While no version serves and a start has not tried all versions, the report
    /// is postponed, so that it can name the version that serves instead.
    pub(super) fn report_time_in_start(&mut self, how: How) -> ReportTime {
        let is_down = !matches!(self.service, Service::Serving(_));
        let postpones = is_down && self.start.as_mut().is_some_and(|start| start.postpones(how));
        if postpones { ReportTime::Later } else { ReportTime::Now }
    }

    /// The manifest was missing when a build failed. If it exists again, the failure is reported. Otherwise, the plugin
    /// was removed, which discovery reports.
    pub(super) fn manifest_is_looked_for(&mut self, is_missing: bool) -> Effects {
        let Some(text) = self.faults.take_unclear().filter(|_| !is_missing) else {
            return Effects::default();
        };
        self.faults.build_failed(text);
        Effects::of([Effect::ReportUnclearBuild])
    }

    /// A version serves in this place. A move to a child process is reported once. It is reported again only after a
    /// version has run as requested.
    pub(super) fn is_placed(&mut self, placement: Placement) -> Effects {
        let was_moved = std::mem::replace(&mut self.is_moved, placement != Placement::AsRequested);
        let is_news = placement == Placement::Moved && !was_moved;
        Effects::of(is_news.then_some(Effect::ReportMoved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lifecycle::{Input, Past, Processes, Work},
        manifest,
    };
    use std::{fs, sync::Arc, time::Instant};

    fn lifecycle() -> Lifecycle {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plugin.toml"), "id = 'dev.test.report'\n").unwrap();
        let manifest = Arc::new(manifest::read(folder.path()).unwrap());
        Lifecycle::new(manifest, Past::default(), (Processes::Possible, 1))
    }

    #[test]
    fn a_move_is_reported_once_until_a_version_runs_as_requested() {
        let mut lifecycle = lifecycle();
        let mut reports = |placement| !lifecycle.is_placed(placement).now.is_empty();
        assert!(reports(Placement::Moved) && !reports(Placement::Moved));
        assert!(!reports(Placement::AsRequested) && reports(Placement::Moved));
        assert!(!reports(Placement::AsRequested) && !reports(Placement::AfterCrash));
        assert!(!reports(Placement::Moved), "the crash has explained the move");
    }

    #[test]
    fn a_build_without_a_manifest_is_reported_only_if_the_manifest_returns() {
        for is_missing in [true, false] {
            let (mut lifecycle, began) = (lifecycle(), Instant::now());
            let failed = Input::BuildFailed { text: "no source".into(), is_missing: true };
            assert_eq!(lifecycle.step(began, failed).then, None);
            let due = lifecycle.due().expect("the report is due");
            assert_eq!(lifecycle.step(due, Input::Due).then, Some(Work::LookForManifest));
            let effects = lifecycle.step(due, Input::LookedForManifest { is_missing }).now;
            assert_eq!(
                matches!(effects.as_slice(), [Effect::ReportUnclearBuild]),
                !is_missing,
                "{effects:?}"
            );
            assert_eq!((lifecycle.faults().of_source(), lifecycle.due()), (!is_missing, None));
        }
    }
}
