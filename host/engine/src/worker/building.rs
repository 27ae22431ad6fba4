//! Builds a plugin until the result matches its source. A build begins again after an edit, and after files were
//! temporarily missing.

use super::{
    Command, Worker, at,
    cause::{Cause, Why},
};
use crate::{
    build::{Built, Moment},
    error::{HostError, ReloadError},
    event::{EventKind, Stage, Stages},
    id::Generation,
    lifecycle::{Input, ManifestFile, Reading, Work},
    reload, spans,
    watch::{CLOCK_GRAIN, Change, GRACE, Inputs, StaleLocks, Stamps, What},
};
use std::{path::PathBuf, pin::Pin, time::SystemTime};
use tokio::time::sleep;
use tracing::{Instrument, Span};

/// The result of a wait during a build.
enum Awaited<T> {
    Done(T),
    /// A file has changed, which may supersede the running compilation.
    Changed(Change),
    /// A file has changed. The next compilation includes the change.
    Next(Change),
    /// The build was cancelled.
    Stopped(HostError),
}

impl Worker {
    /// Builds as the lifecycle requests, until no edit supersedes the build. Returns two values: whether even an
    /// unchanged artifact becomes a new generation, and the result of the build.
    ///
    /// # Errors
    ///
    /// * The outer error: the build was cancelled
    /// * The inner error: the reason why the build produced no library
    pub(super) async fn build(
        &mut self,
        cause: &mut Cause,
        stages: &mut Stages,
    ) -> Result<(bool, Result<Built, ReloadError>), HostError> {
        let mut work = self.step(Input::Build(cause.aim()));
        if work.is_none() {
            return Err(self.not_running());
        }
        let mut built = None;
        loop {
            let span = cause.span(self);
            let next = match work {
                Some(Work::WaitForGit) => self.wait_for_git(cause, &span).await,
                Some(Work::Compile { reads_manifest }) => {
                    if reads_manifest {
                        self.take_manifest(Reading::Edit).await;
                    }
                    match self.compile(cause, stages).await {
                        Ok((compiled, next)) => {
                            built = compiled;
                            Ok(next)
                        }
                        Err(stopped) => Err(stopped),
                    }
                }
                Some(Work::Pause) => {
                    let next = self.pause().await;
                    if next.is_ok() {
                        spans::ends(&span, "superseded");
                        cause.begins_again();
                    }
                    next
                }
                Some(Work::EndBuild { aim, renews, passes_over }) if let Some(built) = built.take() => {
                    cause.why = Why::Build(aim);
                    cause.passes_over = passes_over;
                    return Ok((renews, built));
                }
                _ => Err(self.not_running()),
            };
            work = next.inspect_err(|_| spans::ends(&span, "stopped"))?;
        }
    }

    /// Compiles. Returns the result (`None` if an edit has superseded the compilation), and the next work that the
    /// lifecycle requests.
    async fn compile(
        &mut self,
        cause: &mut Cause,
        stages: &mut Stages,
    ) -> Result<(Option<Result<Built, ReloadError>>, Option<Work>), HostError> {
        if cause.change.is_some() {
            stages.detect = cause.age_ms();
            self.prepare_spares();
        }
        self.emit(EventKind::BuildStarted { cause: cause.change.as_ref().map(|change| change.path.clone()) });
        let manifest = self.latest_manifest();
        let (context, entry) = (self.context.clone(), self.shared.entry.clone());
        let before = self.sources.stamps();
        let building = reload::build(&context, (&entry, &manifest), stages).instrument(cause.span(self));
        let newer = {
            tokio::pin!(building);
            let mut awaited = self.wait_for(building.as_mut()).await;
            loop {
                let change = match awaited {
                    Awaited::Done(built) => break Err(built),
                    Awaited::Changed(change) => change,
                    Awaited::Next(_) => {
                        awaited = self.wait_for(building.as_mut()).await;
                        continue;
                    }
                    Awaited::Stopped(stopped) => return Err(stopped),
                };
                let next = self.consider(change).await;
                if let Some(newer) = self.sources.newer.take() {
                    break Ok((newer, next));
                }
                awaited = match self.interruption(next) {
                    Some(awaited) => awaited,
                    None => self.wait_for(building.as_mut()).await,
                };
            }
        };
        match newer {
            Err(built) => Ok(self.compiled(cause, &before, built).await),
            Ok((newer, next)) => {
                self.begin_again(cause, Cause::of(newer)).await;
                Ok((None, next))
            }
        }
    }

    /// Starts the processes that the edited version will need.
    fn prepare_spares(&mut self) {
        if let Ok(program) = &self.context.program {
            let of = (self.latest_manifest(), Generation(self.last_generation + 1));
            // The next version probably needs as much as the serving one.
            let static_tls_bytes = self.shared.entry.live().map_or(0, |live| live.static_tls_bytes);
            self.spares.prepare(&self.context.spare_slots, program, of, static_tls_bytes);
        }
    }

    /// Observes a changed file, repeatedly if the lifecycle requests that. Returns the next work.
    async fn consider(&mut self, change: Change) -> Option<Work> {
        let is_unread = change.what == What::Manifest
            && matches!(self.manifest_file(), ManifestFile::Edited | ManifestFile::Unreadable);
        loop {
            let seen = self.observe(change.clone(), Moment::During);
            match self.step(Input::Considered { seen, is_unread }) {
                Some(Work::ConsiderAgain) => sleep(CLOCK_GRAIN).await,
                work => return work,
            }
        }
    }

    /// Handles the end of a compilation that was not superseded. Returns the same values as `compile`.
    async fn compiled(
        &mut self,
        cause: &mut Cause,
        before: &Stamps,
        built: Result<Built, ReloadError>,
    ) -> (Option<Result<Built, ReloadError>>, Option<Work>) {
        let at = SystemTime::now();
        let next = self.step(Input::CompilerEnded { at, contents: self.contents() });
        if let Some(newer) = self.sources.newer.take() {
            self.begin_again(cause, Cause::of(newer)).await;
            return (None, next);
        }
        if next == Some(Work::Examine { reads_manifest: true }) {
            self.take_manifest(Reading::Edit).await;
        }
        let next = self.step(Input::Compiled(self.observe_compiled(before, &built)));
        if let (Ok(good), Some(Work::EndBuild { .. })) = (&built, &next) {
            self.sources.note_present(&good.inputs);
        }
        (Some(built), next)
    }

    /// Makes `newer` the cause of the next build.
    async fn begin_again(&mut self, cause: &mut Cause, newer: Cause) {
        spans::ends(&cause.span(self), "superseded");
        *cause = newer;
        if cause.is_manifest() {
            self.take_manifest(Reading::Edit).await;
        }
    }

    /// Waits for `work`. Meanwhile, handles commands, deaths and the due work of the serving generation.
    async fn wait_for<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> Awaited<T> {
        loop {
            let input = tokio::select! {
                done = &mut work => return Awaited::Done(done),
                died = self.deaths.next() => {
                    self.died(died);
                    continue;
                }
                () = at(self.lifecycle.due()) => Input::Due,
                command = self.mailbox.next() => match command {
                    Some(input) => input,
                    None => return Awaited::Stopped(HostError::ShutDown),
                },
            };
            let is_due = matches!(input, Input::Due);
            let next = self.process(input).await;
            if is_due {
                self.doing(Some(Stage::Build));
            }
            if let Some(awaited) = self.interruption(next) {
                return awaited;
            }
        }
    }

    /// Converts the work that the lifecycle requests during a build into the result of the wait. `None`: the wait goes on.
    fn interruption<T>(&mut self, work: Option<Work>) -> Option<Awaited<T>> {
        let mut change_of = |ticket| match self.mailbox.take(ticket) {
            Some(Command::Changed(change)) => Some(change),
            _ => None,
        };
        match work? {
            Work::Consider(ticket) => change_of(ticket).map(Awaited::Changed),
            Work::Include(ticket) => change_of(ticket).map(Awaited::Next),
            Work::CancelBuild => Some(Awaited::Stopped(self.not_running())),
            _ => None,
        }
    }

    /// Waits while git is writing files, for example for a checkout. The compilation that follows includes the changes
    /// that were made during the wait.
    async fn wait_for_git(&mut self, cause: &mut Cause, span: &Span) -> Result<Option<Work>, HostError> {
        self.doing(Some(Stage::Build));
        self.shared.entry.set_reason("it is being built; wait until it serves");
        let folders = self.sources.folders(&self.latest_manifest().root);
        let mut locks = std::mem::take(&mut self.sources.stale_locks);
        let waiting = async {
            let stale = locks.wait_for_git(&folders, StaleLocks::PATIENCE).await;
            (locks, stale)
        };
        let waiting = waiting.instrument(span.clone());
        tokio::pin!(waiting);
        loop {
            match self.wait_for(waiting.as_mut()).await {
                Awaited::Done((locks, stale)) => {
                    self.sources.stale_locks = locks;
                    for lock in stale {
                        tracing::warn!(
                            "{}: git has held this lock for too long, so `{}` is built without waiting for the lock; \
                             delete the file if git is not running",
                            lock.display(),
                            self.id()
                        );
                    }
                    let file = self.manifest_file();
                    return Ok(self.step(Input::GitIsQuiet { at: SystemTime::now(), file }));
                }
                Awaited::Changed(change) | Awaited::Next(change) => {
                    if change.what == What::Manifest {
                        cause.change = Some(change);
                        self.take_manifest(Reading::Edit).await;
                    }
                }
                Awaited::Stopped(stopped) => return Err(stopped),
            }
        }
    }

    /// Waits for [`GRACE`], because missing files may be written again.
    async fn pause(&mut self) -> Result<Option<Work>, HostError> {
        let pause = sleep(GRACE);
        tokio::pin!(pause);
        loop {
            match self.wait_for(pause.as_mut()).await {
                Awaited::Done(()) => return Ok(self.step(Input::PauseOver)),
                // The next compilation reads the changed file.
                Awaited::Changed(change) | Awaited::Next(change) => {
                    if change.what == What::Manifest {
                        self.take_manifest(Reading::Edit).await;
                    }
                }
                Awaited::Stopped(stopped) => return Err(stopped),
            }
        }
    }

    /// Compares the manifest's file with the manifest that was read last.
    fn manifest_file(&self) -> ManifestFile {
        match self.context.settings.now().defaults.read(&self.latest_manifest().root) {
            Ok(found) if self.shared.progress.lock().is_latest(&found) => ManifestFile::AsRead,
            Ok(_) => ManifestFile::Edited,
            Err(_) if self.is_missing() => ManifestFile::Missing,
            Err(_) => ManifestFile::Unreadable,
        }
    }

    /// Warns about each input that every build of the plugin writes with different content.
    pub(super) fn warn_of_unstable(&self, paths: &[PathBuf]) {
        for path in paths {
            tracing::warn!(
                "{}: every build of `{}` writes this file with different content, so a change of the file during a \
                 build causes no other build; make the build script or the macro write the file only if its content changes",
                path.display(),
                self.id()
            );
        }
    }

    /// Watches these inputs. An error is logged.
    pub(super) fn watch(&mut self, inputs: Inputs) {
        if let Some(watcher) = &self.watcher
            && let Err(error) = watcher.set_inputs(self.id(), inputs.clone())
        {
            tracing::error!("{}: its source cannot be watched: {error}", self.id());
        }
        self.sources.inputs = inputs;
    }
}
