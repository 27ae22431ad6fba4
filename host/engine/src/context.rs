//! The state that the reloads of all plugins share.

use crate::{
    artifact::Store,
    build::Builder,
    checkpoint::Checkpoints,
    config::{Settings, StateDir},
    demotion::Demotions,
    event::{EventKind, RetireOutcome, Tally},
    id::{Digest, PluginId},
    lifecycle::Processes,
    load::{
        LogBound,
        in_process::{static_tls_limit, static_tls_used, tls_keys_used},
        process::ProcessError,
    },
    preflight::{Budget, Verdicts},
    program::Program,
    record::Records,
    registry::{CrashRecord, Live, Retiring, Watchdog, body::Unmap, end, give_back_later},
    spare::SpareSlots,
    workspace::BuildDir,
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// The state that the reloads of all plugins share.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) state: StateDir,
    pub(crate) builder: Builder,
    pub(crate) store: Store,
    /// The crash record of this process, if one is kept.
    pub(crate) crash_record: Option<CrashRecord>,
    /// The artifacts that have crashed.
    pub(crate) demotions: Demotions,
    /// The saved states on disk.
    pub(crate) checkpoints: Checkpoints,
    /// The records of plugins, which outlive the host.
    pub(crate) records: Records,
    /// The program that is executed as a shim, or why there is none.
    pub(crate) program: Result<Program, ProcessError>,
    /// Limits the number of processes that wait for an artifact.
    pub(crate) spare_slots: SpareSlots,
    /// The most verbose log level that the settings allow for plugins.
    pub(crate) log_bound: LogBound,
    /// Finds calls in this process that do not return.
    pub(crate) watchdog: Arc<Watchdog>,
    /// The versions that have passed their trial. The trial is not repeated.
    pub(crate) verdicts: Verdicts,
    /// The private memory of mapped libraries in bytes, including the libraries of retired generations.
    pub(crate) private_bytes: AtomicU64,
    /// The number of generations that are being retired.
    pub(crate) retiring: watch::Sender<usize>,
    /// The artifacts of each plugin that may still be needed.
    pub(crate) wanted: Mutex<BTreeMap<PluginId, BTreeSet<Digest>>>,
    /// Code that takes an artifact from the store holds the read lock until the artifact is in `wanted`. Code that
    /// removes artifacts holds the write lock.
    pub(crate) pruning: RwLock<()>,
}

impl Context {
    /// Records the artifacts that a plugin may still need, and removes from the store the artifacts that no plugin needs.
    pub(crate) fn prune(&self, id: &PluginId, digests: BTreeSet<Digest>) {
        let _alone = self.pruning.write();
        let mut wanted = self.wanted.lock();
        // Each artifact that this process takes from the store or puts into it is added to `wanted`. If the plugin
        // still needs all artifacts that were in `wanted`, there is nothing to remove.
        if wanted.insert(id.clone(), digests.clone()).is_some_and(|before| before.is_subset(&digests)) {
            return;
        }
        // If a different version of replug has written a record, this host may be unable to read which artifacts the
        // record names. In this case, nothing is removed.
        let Some(others) = self.records.named_but(|other| wanted.contains_key(other)) else { return };
        let all = wanted.values().flatten().copied().chain(others).collect();
        if let Err(error) = self.store.prune(self.settings.now().keep_artifacts, &all) {
            tracing::warn!("{error}");
        }
    }

    /// Whether this host can run plugins in child processes.
    pub(crate) fn processes(&self) -> Processes {
        if self.program.is_ok() { Processes::Possible } else { Processes::Impossible }
    }

    /// The part of the data for a [`PluginInfo`](crate::PluginInfo) that the plugin's worker does not have.
    pub(crate) fn for_info(&self) -> (&BuildDir, &Tally) {
        (self.builder.dir(), self.settings.events.tally())
    }

    /// The resources that loaded generations use in this process, and their limits.
    pub(crate) fn budget(&self) -> Budget {
        Budget {
            tls_keys_used: tls_keys_used(),
            bytes_retained: self.private_bytes.load(Ordering::Relaxed),
            bytes_limit: self.settings.now().retained_bytes_limit,
            static_tls_used: static_tls_used(),
            static_tls_limit: static_tls_limit(),
            ..Budget::default()
        }
    }

    /// Waits without a time limit until the generation's last call has ended, and then ends the generation. Blocks.
    pub(crate) fn retire(&self, retiring: Retiring, unmap: Unmap) {
        // Without a deadline, `drain` returns only when the last call has ended.
        if let Ok(live) = retiring.drain(None) {
            self.finish(live, unmap);
            give_back_later();
        }
    }

    /// Ends a generation that runs no more calls. The caller calls [`give_back_later`] afterwards.
    pub(crate) fn finish(&self, live: Live, unmap: Unmap) {
        let (plugin, generation, digest) = (live.plugin.clone(), live.generation, live.digest);
        let private_bytes = live.private_bytes;
        let outcome = end(live, unmap);
        if outcome == RetireOutcome::Unloaded {
            self.private_bytes.fetch_sub(private_bytes, Ordering::Relaxed);
        }
        let events = &self.settings.events;
        events.generation((&plugin, generation, digest), EventKind::GenerationRetired { outcome });
    }
}
