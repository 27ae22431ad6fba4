//! The start of a plugin from its record, and the worker's changes to the record.

use super::{Reply, Worker, cause::Cause, crash_recovery::refuses_state};
use crate::{
    error::{HostError, ReloadCause, ReloadError},
    event::Stages,
    id::{Digest, Generation},
    job::Source,
    lifecycle::{Input, Programs, StopWhy, StoredVersion, Work},
    manifest::Manifest,
    record::{How, Record, Served},
    registry::Live,
};
use std::{fs, os::unix::fs::MetadataExt, sync::Arc, time::SystemTime};

impl Worker {
    /// Starts the plugin with its host, unless its manifest or a user's stop forbids that.
    ///
    /// The start is answered when a stored version serves, even if the source is newer. If that version last served in
    /// a different program, the start is answered after the source was built, because the program's interfaces may have
    /// changed.
    pub(super) async fn start_with_host(&mut self, reply: Reply<Generation>) {
        let last = self.record.serving().and_then(|serving| serving.program.clone());
        let work = self.step(Input::HostStarts(Programs { last, own: own_program() }));
        let starts = work == Some(Work::BringUp);
        self.shared.progress.lock().starts_with_host = starts;
        if !starts {
            self.watch_sources().await;
            let _ = reply.send(Err(self.not_running()));
            return;
        }
        self.shared.progress.lock().unregistered = false;
        let mut reply = Some(reply);
        let done = self.bring_up(&mut reply).await;
        self.shared.progress.lock().starts_with_host = false;
        if let Some(reply) = reply {
            let _ = reply.send(done);
        }
    }

    /// Starts the plugin, as the lifecycle requests. If the start is answered before the source is built, `reply`
    /// receives the answer.
    pub(super) async fn bring_up(
        &mut self,
        reply: &mut Option<Reply<Generation>>,
    ) -> Result<Generation, HostError> {
        let takes_time = self.context.builder.takes_time(&self.manifest());
        let mut work = self.step(Input::Start { stored: self.stored(), takes_time });
        let mut done = Err(self.not_running());
        loop {
            work = match work {
                Some(Work::ServeStored { digest, manifest }) => {
                    let tried = self.resume(digest, manifest).await;
                    let serves = tried.is_ok();
                    if serves {
                        done = tried;
                    }
                    self.step(Input::Tried { serves })
                }
                Some(Work::AnswerStart) => {
                    if let Some(reply) = reply.take() {
                        let _ = reply.send(done.clone());
                    }
                    self.step(Input::StartAnswered)
                }
                Some(Work::BuildSource) => {
                    self.watch_sources().await;
                    done = self.rebuild(Cause::check()).await;
                    let serves = done.is_ok() || self.shared.entry.live().is_some();
                    let stored = self.stored();
                    self.step(Input::SourceTried { serves, stored })
                }
                // If another version serves, the start has succeeded.
                _ => {
                    let live = self.shared.entry.live().map(|live| live.generation);
                    return done.or_else(|error| live.ok_or(error));
                }
            };
        }
    }

    /// The stored versions that a start may consider, with what is recorded about them, the best first.
    fn stored(&self) -> Vec<StoredVersion> {
        let known = self.record.to_start_with().into_iter();
        let stored = known.filter(|digest| self.context.store.get(*digest).is_some());
        let serving = self.record.serving();
        let accepted =
            |digest| serving.filter(|serving| serving.digest == digest).map(|it| it.config.clone());
        let version = |digest| StoredVersion {
            digest,
            accepted: accepted(digest),
            is_quarantined: self.record.quarantined().contains_key(&digest),
            has_crashed: self.context.demotions.of(self.id(), digest).is_some(),
        };
        stored.map(version).collect()
    }

    /// Installs a stored version.
    async fn resume(&mut self, digest: Digest, manifest: Arc<Manifest>) -> Result<Generation, HostError> {
        self.install((Source::Stored(digest), manifest), Cause::resume(), Stages::default()).await
    }

    /// Records that a version serves with this manifest.
    pub(super) fn note_serving(&mut self, live: &Live, how: How, manifest: &Manifest) {
        let (digest, generation) = (live.digest, live.generation);
        if self.held.as_ref().is_none_or(|held| held.digest() != digest) {
            self.held = self.context.store.hold(digest).map(Arc::new);
        }
        let config = manifest.config.clone();
        let most = self.context.settings.now().keep_artifacts.max(1);
        self.record.note(|record| {
            let served =
                Served { digest, generation, later: Vec::new(), at: SystemTime::now(), taken_back: false };
            record.serves(served, how, (config, own_program()));
            record.serves_under(manifest);
            record.forget_all_but(most);
        });
        self.shared.progress.lock().serves(&self.record);
    }

    /// Records the manifest in force, and the plugin's folder.
    pub(super) fn note_manifest(&mut self) {
        let manifest = self.manifest();
        let serves = self.shared.entry.live().is_some();
        self.record.change(|record| match serves {
            true => record.serves_under(&manifest),
            false => record.reads(&manifest),
        });
    }

    /// Writes the record at a stop. Records whether the plugin was removed.
    pub(super) fn note_stop(&mut self, why: StopWhy) {
        if let StopWhy::Removed | StopWhy::Renamed = why {
            self.record.note(Record::is_gone);
        }
        self.record.save();
    }

    /// Removes from the store the artifacts to which the plugin can no longer be rolled back.
    pub(super) fn prune(&self) {
        self.context.prune(self.id(), self.record.names());
    }

    /// Adds help to the error of a version that rejects a state that was saved at a stop. Such a state, unlike a
    /// checkpoint, is not discarded.
    pub(super) fn with_way_out(&self, error: ReloadError) -> ReloadError {
        if self.record.state().is_none() || !refuses_state(&error.cause) {
            return error;
        }
        let file = self.context.checkpoints.path(self.id());
        let cause = ReloadCause::StateRefused { cause: error.cause.clone(), file };
        ReloadError { cause: Arc::new(cause), ..error }
    }
}

/// A text that identifies the executable of this process, and changes when the executable is built again.
fn own_program() -> Option<String> {
    let file = fs::metadata("/proc/self/exe").ok()?;
    let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
    Some(format!("{}-{}-{}-{seconds}.{nanoseconds}", file.dev(), file.ino(), file.len()))
}
