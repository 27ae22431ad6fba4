//! The worker's path from a cause to a serving generation: build, install, report.

use super::{Worker, cause::Cause, install::Postponed};
use crate::{
    error::{HostError, ReloadCause, ReloadError},
    event::{EventKind, Stages},
    id::Generation,
    job::Source,
    lifecycle::{Input, ReportTime, Work},
    spans,
};

impl Worker {
    /// Builds until no newer save supersedes the build, and installs the result.
    pub(super) async fn rebuild(&mut self, cause: Cause) -> Result<Generation, HostError> {
        let rebuilt = self.build_and_install(cause).await;
        self.spares.close();
        rebuilt
    }

    async fn build_and_install(&mut self, mut cause: Cause) -> Result<Generation, HostError> {
        if self.context.builder.takes_time(&self.manifest()) {
            // The record is saved before the build, so that the next host also starts the plugin if this host ends
            // during the build.
            self.record.save();
        }
        let mut stages = Stages::default();
        let (renews, built) = self.build(&mut cause, &mut stages).await?;
        let built = match built {
            Ok(built) => built,
            Err(error) => {
                spans::ends(&cause.span(self), "failed");
                return Err(self.failed_build(error).await);
            }
        };
        let inputs = built.inputs;
        cause.warnings = built.warnings;
        cause.way = Some(built.way);
        let source = if renews { Source::Rebuilt(built.artifact) } else { Source::Built(built.artifact) };
        let installed = self.install((source, self.latest_manifest()), cause, stages).await;
        // To watch the new inputs takes a few milliseconds, so the new version is installed first. No change is missed:
        // the watcher also reports the changes since the build began.
        self.watch(inputs);
        installed
    }

    /// Records and reports a failed build. If the manifest is missing, too, the report is postponed.
    async fn failed_build(&mut self, error: ReloadError) -> HostError {
        self.doing(None);
        let failed = Input::BuildFailed { text: error.to_string(), is_missing: self.is_missing() };
        match self.step(failed) {
            Some(Work::Rewatch { since_it_began, report }) => {
                let as_of = self.lifecycle.compile_began().filter(|_| since_it_began);
                self.watch_sources_as_of(as_of).await;
                match report {
                    ReportTime::Now => self.report_failed_build(&error),
                    ReportTime::ByHost => {}
                    ReportTime::Later => self.postponed.push(Postponed::Build(error.clone())),
                }
            }
            _ => self.unclear = Some(error.clone()),
        }
        error.into()
    }

    pub(super) fn report_failed_build(&self, error: &ReloadError) {
        let diagnostics = match &*error.cause {
            ReloadCause::Build(error) => error.diagnostics().to_vec(),
            _ => Vec::new(),
        };
        self.note_why_down(error);
        self.emit(EventKind::BuildFailed { error: error.cause.to_string(), diagnostics });
    }

    /// Reports the build that failed while the manifest was missing.
    pub(super) fn report_unclear_build(&mut self) {
        if let Some(error) = self.unclear.take() {
            self.report_failed_build(&error);
        }
    }
}
