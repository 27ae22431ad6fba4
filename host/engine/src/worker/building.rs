//! Builds a plugin until the result matches its source. A build begins again after an edit, and after files were
//! missing for a moment.

use super::{
    Order, Worker, at,
    cause::Cause,
    overlap::{Settled, Verdict},
};
use crate::{
    artifact::is_cut_off,
    build::{BuildError, Built, Moment, OwnWrites},
    error::{HostError, ReloadCause, ReloadError},
    event::{EventKind, Stage, Stages},
    lifecycle::{Aim, Compiled, Input, Reading, Work},
    reload, spans,
    watch::{CLOCK_GRAIN, Change, GRACE, Inputs, StaleLocks, Stamps, What, changed_at},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    pin::Pin,
    time::SystemTime,
};
use tokio::time::sleep;
use tracing::{Instrument, Span};

/// How waiting for some work has ended.
enum Awaited<T> {
    Done(T),
    /// This file has changed meanwhile, which may make the work pointless.
    Changed(Change),
    /// This file has changed meanwhile. The next build includes the change.
    Next(Change),
    /// The work is not wanted any more.
    Stopped(HostError),
}

impl Worker {
    /// Builds as the lifecycle asks, until no edit supersedes the build. Returns the aim, whether the result becomes a
    /// new generation in any case, and the result. The outer error says why building was stopped, the inner one why
    /// there is no library.
    pub(super) async fn build(
        &mut self,
        cause: &mut Cause,
        stages: &mut Stages,
    ) -> Result<(Aim, bool, Result<Built, ReloadError>), HostError> {
        let mut work = self.step(Input::Build(cause.aim()));
        if work.is_none() {
            return Err(self.stopping());
        }
        let mut built = None;
        loop {
            let span = cause.span(self);
            let next = match work {
                Some(Work::WaitForGit) => self.wait_for_git(cause, &span).await,
                Some(Work::Compile) => match self.compile(cause, stages).await {
                    Ok((compiled, next)) => {
                        built = compiled;
                        Ok(next)
                    }
                    Err(stopped) => Err(stopped),
                },
                Some(Work::Pause) => {
                    let next = self.pause().await;
                    if next.is_ok() {
                        spans::ends(&span, "superseded");
                        cause.begins_again();
                    }
                    next
                }
                Some(Work::EndBuild { aim, renews }) if let Some(built) = built.take() => {
                    return Ok((aim, renews, built));
                }
                _ => Err(self.stopping()),
            };
            work = next.inspect_err(|_| spans::ends(&span, "stopped"))?;
        }
    }

    /// Compiles. Returns the result, unless the build was superseded, and what the lifecycle does next.
    async fn compile(
        &mut self,
        cause: &mut Cause,
        stages: &mut Stages,
    ) -> Result<(Option<Result<Built, ReloadError>>, Option<Work>), HostError> {
        if cause.change.is_some() {
            stages.detect = cause.age_ms();
        }
        self.emit(EventKind::BuildStarted { cause: cause.change.as_ref().map(|change| change.path.clone()) });
        let manifest = self.said();
        let (context, entry) = (self.context.clone(), self.shared.entry.clone());
        let before = Stamps::of(&self.inputs);
        self.overlap.build_begins(SystemTime::now());
        let building = reload::build(&context, (&entry, &manifest), stages).instrument(cause.span(self));
        let newer = {
            tokio::pin!(building);
            let mut awaited = self.attend(building.as_mut()).await;
            loop {
                let change = match awaited {
                    Awaited::Done(built) => break Err(built),
                    Awaited::Changed(change) => change,
                    Awaited::Next(_) => {
                        awaited = self.attend(building.as_mut()).await;
                        continue;
                    }
                    Awaited::Stopped(stopped) => return Err(stopped),
                };
                if self.is_superseded_by(&change).await {
                    break Ok(change);
                }
                let next = self.step(Input::Considered { supersedes: false });
                awaited = match self.heed(next) {
                    Some(awaited) => awaited,
                    None => self.attend(building.as_mut()).await,
                };
            }
        };
        match newer {
            Err(built) => Ok(self.compiled(cause, (&before, &manifest.file), built).await),
            Ok(change) => {
                let next = self.step(Input::Considered { supersedes: true });
                self.begin_again(cause, Cause::of(change)).await;
                Ok((None, next))
            }
        }
    }

    /// Judges a build that has ended without being superseded.
    async fn compiled(
        &mut self,
        cause: &mut Cause,
        (before, manifest): (&Stamps, &Path),
        built: Result<Built, ReloadError>,
    ) -> (Option<Result<Built, ReloadError>>, Option<Work>) {
        let settled = self.overlap.build_ends(SystemTime::now());
        if let Settled::Repeat(change) = settled {
            let next = self.step(Input::Compiled(Compiled::Stale));
            self.begin_again(cause, Cause::of(change)).await;
            return (None, next);
        }
        self.warn_of(&settled);
        if self.overlap.has_changed(manifest) {
            // Every build writes the manifest again. Its present content takes effect, and causes no build.
            self.take_manifest(Reading::Edit).await;
        }
        let compiled = match &built {
            _ if self.is_on_its_way(&built) => Compiled::Incomplete,
            Ok(good) => {
                self.present = Stamps::of(&good.inputs);
                Compiled::Good
            }
            Err(error) => Compiled::Failed { may_pass: self.may_be_a_moment(before, error) },
        };
        let next = self.step(Input::Compiled(compiled));
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

    /// Waits for `work`. Meanwhile, handles orders, deaths, and what is due for the serving generation.
    async fn attend<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> Awaited<T> {
        loop {
            let input = tokio::select! {
                done = &mut work => return Awaited::Done(done),
                died = self.deaths.next() => {
                    self.died(died);
                    continue;
                }
                () = at(self.lifecycle.due()) => Input::Due,
                order = self.inbox.recv() => match order {
                    Some(order) => self.receive(order),
                    None => return Awaited::Stopped(HostError::ShutDown),
                },
            };
            let is_due = matches!(input, Input::Due);
            let next = self.tend(input).await;
            if is_due {
                self.doing(Some(Stage::Build));
            }
            if let Some(awaited) = self.heed(next) {
                return awaited;
            }
        }
    }

    /// Converts what the lifecycle asks for during a build into how the wait has ended.
    fn heed<T>(&mut self, work: Option<Work>) -> Option<Awaited<T>> {
        let mut change_of = |ticket| match self.orders.remove(&ticket) {
            Some(Order::Changed(change)) => Some(change),
            _ => None,
        };
        match work? {
            Work::Consider(ticket) => change_of(ticket).map(Awaited::Changed),
            Work::Include(ticket) => change_of(ticket).map(Awaited::Next),
            Work::CancelBuild => Some(Awaited::Stopped(self.stopping())),
            _ => None,
        }
    }

    /// Waits while git writes the files of a branch. The build that follows includes the changes that are made
    /// meanwhile.
    async fn wait_for_git(&mut self, cause: &mut Cause, span: &Span) -> Result<Option<Work>, HostError> {
        self.doing(Some(Stage::Build));
        self.shared.entry.set_reason("it is being built: wait for it to come up");
        let mut folders: BTreeSet<PathBuf> = self.inputs.dirs.clone();
        folders.insert(self.said().root.clone());
        let mut locks = std::mem::take(&mut self.stale_locks);
        let waiting = async {
            let stale = locks.wait_for_git(&folders, StaleLocks::PATIENCE).await;
            (locks, stale)
        };
        let waiting = waiting.instrument(span.clone());
        tokio::pin!(waiting);
        loop {
            match self.attend(waiting.as_mut()).await {
                Awaited::Done((locks, stale)) => {
                    self.stale_locks = locks;
                    for lock in stale {
                        tracing::warn!(
                            "{}: git has held this lock for too long, and `{}` is built without waiting for it; \
                             delete the file if no git is running",
                            lock.display(),
                            self.id()
                        );
                    }
                    return Ok(self.step(Input::GitIsQuiet));
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

    /// Waits a moment, because missing files may come back.
    async fn pause(&mut self) -> Result<Option<Work>, HostError> {
        let pause = sleep(GRACE);
        tokio::pin!(pause);
        loop {
            match self.attend(pause.as_mut()).await {
                Awaited::Done(()) => return Ok(self.step(Input::PauseOver)),
                // The next build reads it.
                Awaited::Changed(change) | Awaited::Next(change) => {
                    if change.what == What::Manifest {
                        self.take_manifest(Reading::Edit).await;
                    }
                }
                Awaited::Stopped(stopped) => return Err(stopped),
            }
        }
    }

    /// Whether the change supersedes the running build.
    async fn is_superseded_by(&mut self, change: &Change) -> bool {
        let own = self.context.builder.own_writes(&self.said(), (Moment::During, &change.path));
        let supersedes = match self.overlap.judge(change, own) {
            // The build uses the manifest that was read last, which may be older than the build.
            Verdict::Included => change.what == What::Manifest && self.has_unread_manifest(),
            Verdict::Held => false,
            Verdict::Supersedes => true,
            Verdict::SupersedesIfItLasts => {
                // A file that is written in pieces is complete after this time.
                sleep(CLOCK_GRAIN).await;
                !self.overlap.is_as_before(&change.path)
            }
        };
        if supersedes {
            self.overlap.cuts(change, own);
        }
        supersedes
    }

    /// Whether the manifest is there, and is not the one that was read last.
    fn has_unread_manifest(&self) -> bool {
        match self.context.settings.now().defaults.read(&self.said().root) {
            Ok(found) => !self.shared.progress.lock().knows(&found),
            Err(_) => !self.is_missing(),
        }
    }

    /// Whether a library that is used without a build is still being copied into the plugin's folder: it is missing or
    /// incomplete, and it or the manifest has changed a moment ago.
    fn is_on_its_way(&self, built: &Result<Built, ReloadError>) -> bool {
        let manifest = self.said();
        if self.is_missing() {
            return false;
        }
        let cause = built.as_ref().map_err(|error| &*error.cause);
        let path = match cause {
            Err(ReloadCause::Build(BuildError::NoSource { root })) => root.join("Cargo.toml"),
            _ if self.context.builder.takes_time(&manifest) => return false,
            Err(ReloadCause::Build(BuildError::NoBinary { path, .. })) => path.clone(),
            Err(_) => return false,
            Ok(built) => built.artifact.clone(),
        };
        // The manifest may be incomplete, too, and name another file in the end.
        let changed = [&path, &manifest.file].into_iter().filter_map(|path| changed_at(path)).max();
        let age = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
        age.is_some_and(|age| age < GRACE) && (built.is_err() || is_cut_off(&path))
    }

    /// Whether a build may have failed only because files were missing for a moment, or changed while it ran.
    fn may_be_a_moment(&self, before: &Stamps, error: &ReloadError) -> bool {
        // A missing manifest means that the plugin may have been removed. Discovery decides that.
        if matches!(&*error.cause, ReloadCause::Build(BuildError::TimedOut { .. })) || self.is_missing() {
            return false;
        }
        let now = Stamps::of(&self.inputs);
        let manifest = self.said();
        let is_edited = |path: &PathBuf| {
            self.context.builder.own_writes(&manifest, (Moment::After, path)) == OwnWrites::None
        };
        now.lacks_any_of(&self.present) || before.differing(&now).iter().any(is_edited)
    }

    /// Warns of each file that every build of the plugin writes with other content, although it is an input.
    pub(super) fn warn_of(&self, settled: &Settled) {
        let Settled::Unstable(paths) = settled else { return };
        for path in paths {
            tracing::warn!(
                "{}: every build of `{}` writes this file with other content, so it does not cause another build; \
                 have the build script write it only if its content differs, or below OUT_DIR",
                path.display(),
                self.id()
            );
        }
    }

    pub(super) fn watch(&mut self, inputs: Inputs) {
        if let Some(watcher) = &self.watcher
            && let Err(error) = watcher.set_inputs(self.id(), inputs.clone())
        {
            tracing::error!("{}: its source cannot be watched: {error}", self.id());
        }
        self.inputs = inputs;
    }
}
