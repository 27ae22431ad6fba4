//! What outlives the host: how a plugin comes up from what is remembered of it, and what is remembered when it serves.

use super::{Reply, StartWhy, StopWhy, Worker, aftermath::refuses_state, serve::Cause};
use crate::{
    bring_up::can_move,
    error::{HostError, ReloadCause, ReloadError},
    event::Stages,
    id::{Digest, Generation},
    lifecycle::Input,
    manifest::{Manifest, Mode},
    record::{How, Served},
    registry::Live,
    reload::Source,
};
use std::{fs, os::unix::fs::MetadataExt, sync::Arc, time::SystemTime};

impl Worker {
    /// Starts the plugin with its host, unless its manifest says otherwise or someone has stopped it.
    ///
    /// The answer comes when a version serves, whether its source is newer or not. If the program of the host is another
    /// than the one in which that version served, it comes when the source was built: the program may have other
    /// interfaces by now.
    pub(super) async fn start_with_host(&mut self, reply: Reply<Generation>) {
        if !self.record.starts_with_host(self.manifest().auto_start) {
            self.watch_sources().await;
            let _ = reply.send(Err(self.stopping()));
            return;
        }
        self.do_now(Input::Wanted);
        self.desk.progress.lock().unregistered = false;
        let known = self.record.serving().and_then(|serving| serving.program.clone());
        match self.start_from_store(StartWhy::WithHost).await {
            Some(generation) if known.is_some() && known == own_program() => {
                let _ = reply.send(Ok(generation));
                // Whoever waits for the result reads the events.
                let _ = self.check_source(StartWhy::WithHost).await;
            }
            _ => {
                let done = self.check_source(StartWhy::WithHost).await;
                let _ = reply.send(done);
            }
        }
    }

    /// Starts the plugin, from the store as far as that goes, and answers when its source was built, too.
    pub(super) async fn start_where_stopped(&mut self) -> Result<Generation, HostError> {
        self.start_from_store(StartWhy::Asked).await;
        self.check_source(StartWhy::Asked).await
    }

    /// Lets the last version serve before anything is built. A ready-made artifact is no matter of waiting, and the newest
    /// is tried first.
    async fn start_from_store(&mut self, why: StartWhy) -> Option<Generation> {
        if !self.shop.builder.takes_time(&self.manifest()) {
            return None;
        }
        self.serve_stored(why, None).await
    }

    /// Builds the source, and lets the result serve if it is new. If it does not come up and nothing serves, the last
    /// version does that came up.
    async fn check_source(&mut self, why: StartWhy) -> Result<Generation, HostError> {
        self.watch_sources().await;
        let done = self.rebuild(Cause::check()).await;
        match done {
            Err(_) if self.lifecycle.is_wanted() && self.desk.entry.live().is_none() => {
                let refused = self.lifecycle.faults().refused();
                self.serve_stored(why, refused).await.map_or(done, Ok)
            }
            Err(error) => self.desk.entry.live().map(|live| live.generation).ok_or(error),
            Ok(generation) => Ok(generation),
        }
    }

    /// Lets a version serve of which the record says that it did. One was refused just now, maybe for its configuration.
    async fn serve_stored(
        &mut self,
        why: StartWhy,
        refused: Option<(Digest, Option<String>)>,
    ) -> Option<Generation> {
        for digest in self.record.to_start_with() {
            if self.is_kept_out(digest) || self.shop.store.get(digest).is_none() {
                continue;
            }
            let manifest = self.manifest();
            let unfit = match &refused {
                // It has just said why it does not come up.
                Some((refused, unfit)) if *refused == digest => unfit.clone(),
                _ => match self.resume(digest, manifest.clone()).await {
                    Ok(generation) => return Some(generation),
                    Err(HostError::Reload(error)) => {
                        error.cause.unfit_config_key().map(|_| error.to_string())
                    }
                    Err(_) => None,
                },
            };
            // Whoever asks for the start is told, and says something else.
            let (Some(unfit), StartWhy::WithHost) = (unfit, why) else { continue };
            if let Some(generation) = self.with_accepted_config((digest, unfit), &manifest).await {
                return Some(generation);
            }
        }
        None
    }

    async fn resume(&mut self, digest: Digest, manifest: Arc<Manifest>) -> Result<Generation, HostError> {
        self.install((Source::Stored(digest), manifest), Cause::resume(), Stages::default()).await
    }

    /// Whether a version must not run where its manifest would have it. Its build says so.
    fn is_kept_out(&self, digest: Digest) -> bool {
        let mode = self.manifest().mode;
        let demoted = self.shop.demotions.of(self.id(), digest).is_some();
        let has_no_place = demoted && mode != Mode::Process && !can_move(&self.shop, mode);
        has_no_place || self.record.quarantined().contains_key(&digest)
    }

    /// Starts a version that refuses what its manifest says by now with the configuration that it has accepted before, as
    /// if the host had run all the time.
    async fn with_accepted_config(
        &mut self,
        (digest, refusal): (Digest, String),
        said: &Arc<Manifest>,
    ) -> Option<Generation> {
        let serving = self.record.serving().filter(|serving| serving.digest == digest)?;
        let config = serving.config.clone();
        if config == said.config {
            return None;
        }
        let accepted = Arc::new(Manifest { config, ..(**said).clone() });
        let generation = self.resume(digest, accepted).await.ok()?;
        self.pending = Some(said.clone());
        self.do_now(Input::WordsRefused(refusal));
        Some(generation)
    }

    /// Notes that a version serves.
    pub(super) fn note_serving(&mut self, live: &Live, how: How) {
        let (digest, generation) = (live.digest, live.generation);
        if self.held.as_ref().is_none_or(|held| held.digest() != digest) {
            self.held = self.shop.store.hold(digest).map(Arc::new);
        }
        let manifest = self.manifest();
        let config = manifest.config.clone();
        let most = self.shop.settings.now().keep_artifacts.max(1);
        self.record.note(|record| {
            let served = Served { digest, generation, at: SystemTime::now() };
            record.serves(served, how, (config, own_program()));
            record.serves_under(&manifest);
            record.forget_all_but(most);
        });
        self.desk.progress.lock().serves(&self.record);
    }

    /// Notes which manifest is in force, and where the plugin is.
    pub(super) fn note_manifest(&mut self) {
        let manifest = self.manifest();
        let serves = self.desk.entry.live().is_some();
        self.record.change(|record| match serves {
            true => record.serves_under(&manifest),
            false => record.reads(&manifest),
        });
    }

    /// Notes whether the plugin is to run from now on, and whether it is there.
    pub(super) fn note_stop(&mut self, why: StopWhy) {
        self.record.change(|record| {
            if let Some(wanted) = why.wanted() {
                record.set_wanted(wanted);
            }
            if let StopWhy::Removed | StopWhy::Renamed = why {
                record.is_gone();
            }
        });
    }

    /// Lets the store forget what the plugin can no longer go back to.
    pub(super) fn prune(&self) {
        self.shop.prune(self.id(), self.record.names());
    }

    /// Says what there is to do if a state that was saved by order is refused: unlike a checkpoint, it is not given up.
    pub(super) fn with_way_out(&self, error: ReloadError) -> ReloadError {
        if self.record.state().is_none() || !refuses_state(&error.cause) {
            return error;
        }
        let file = self.shop.checkpoints.path(self.id());
        let cause = ReloadCause::StateRefused { cause: error.cause.clone(), file };
        ReloadError { cause: Arc::new(cause), ..error }
    }
}

/// What tells the program of this process from another, or from another build of it.
fn own_program() -> Option<String> {
    let file = fs::metadata("/proc/self/exe").ok()?;
    let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
    Some(format!("{}-{}-{}-{seconds}.{nanoseconds}", file.dev(), file.ino(), file.len()))
}
