//! From a cause to a generation that serves, as the worker sees it: build, install, report.

use super::{
    GRACE, Worker,
    cause::{Cause, Why},
};
use crate::{
    error::{HostError, ReloadCause, ReloadError},
    event::{EventKind, Stages},
    id::Generation,
    lifecycle::{Aim, Input},
    reload::Source,
    spans,
};
use std::time::Instant;

/// How many builds that failed in a row ask whether something was saved while they ran.
const EARLY_FAILURES: u32 = 3;

impl Worker {
    /// Builds until a build is not overtaken by a newer save, and lets the result serve.
    pub(super) async fn rebuild(&mut self, mut cause: Cause) -> Result<Generation, HostError> {
        if self.context.builder.takes_time(&self.manifest()) {
            // That someone wants the plugin is known to the next host, should this one end before the build does.
            self.record.save();
        }
        let mut stages = Stages::default();
        let (aim, built) = self.build(&mut cause, &mut stages).await?;
        cause.why = Why::Build(aim);
        let built = match built {
            Ok(built) => built,
            Err(error) => {
                spans::ends(&cause.span(self), "failed");
                return Err(self.failed_build(error).await);
            }
        };
        self.failures = 0;
        let inputs = built.inputs;
        cause.warnings = built.warnings;
        let source = if aim == Aim::Renew || self.pending.is_some() {
            Source::Rebuilt(built.artifact)
        } else {
            Source::Built(built.artifact)
        };
        let installed = self.install((source, self.said()), cause, stages).await;
        // Not before: it takes a few milliseconds, and misses nothing that was saved meanwhile.
        self.watch(inputs);
        installed
    }

    async fn failed_build(&mut self, error: ReloadError) -> HostError {
        self.doing(None);
        if self.is_missing() {
            self.do_now(Input::BuildUnclear { until: Instant::now() + GRACE });
            self.unclear = Some(error.clone());
            return error.into();
        }
        // Until it compiles again, any file that it may read counts, and so does what was saved since the build began. But
        // a build that fails with the names of new files of its own each time must not cause the next one for ever.
        self.failures += 1;
        let as_of = self.overlap.began().filter(|_| self.failures <= EARLY_FAILURES);
        self.watch_sources_as_of(as_of).await;
        self.tell_failed_build(&error);
        error.into()
    }

    fn tell_failed_build(&mut self, error: &ReloadError) {
        let diagnostics = match &*error.cause {
            ReloadCause::Build(error) => error.diagnostics().to_vec(),
            _ => Vec::new(),
        };
        self.say_why_down(error);
        self.do_now(Input::BuildFailed(error.to_string()));
        self.tell(EventKind::BuildFailed { error: error.cause.to_string(), diagnostics });
    }

    /// Reports a build that failed while the manifest was missing, if that is back.
    pub(super) fn report_unclear_build(&mut self) {
        let unclear = self.unclear.take();
        if let Some(error) = unclear.filter(|_| !self.is_missing()) {
            self.tell_failed_build(&error);
        }
    }
}
