//! How a generation ends: in the background after a swap, or because the plugin is stopped.

use super::{StopWhy, Worker, serve::blocking};
use crate::{
    event::EventKind,
    manifest::Unload,
    registry::{Retiring, Unmap},
    reload,
};
use std::{thread, time::Duration};

impl Worker {
    pub(super) async fn stop(&mut self, why: StopWhy) {
        self.hear_of_deaths();
        (self.confirm, self.untold) = (None, None);
        self.supervision.forget();
        self.doing(None);
        {
            let mut progress = self.desk.progress.lock();
            progress.is_right();
            progress.unregistered |= why == StopWhy::Unregistered;
        }
        let was_to_return = self.desk.entry.is_restarting();
        let retiring = self.desk.entry.close(why.reason());
        let deadline = self.manifest().reload.drain_timeout;
        self.cut_off(deadline).await;
        let Some(retiring) = retiring else {
            // What did not come up before the host shuts down may do so in the next, with the state that it had.
            if why != StopWhy::ShutDown {
                self.shop.checkpoints.remove(self.id());
            }
            if was_to_return {
                self.tell(EventKind::PluginStopped { reason: why.reason().into() });
            }
            return;
        };
        // Whoever shuts the host down has probably called the plugin, and waits here: its thread will not end.
        let unmap = if why == StopWhy::ShutDown { Unmap::Never } else { self.unmap() };
        let shop = self.shop.clone();
        // A process runs no calls any more, or is dead, and its last callers are about to learn of it.
        let calls_may_run = retiring.live().instance.pid().is_none().then_some(deadline);
        let drained =
            blocking(move || retiring.drain(calls_may_run).map(|live| reload::finish(&shop, live, unmap)));
        // `stop` and the drop of a plugin in this process may never come back. Unmapping waits once more.
        let patience = (deadline + self.manifest().process.step_timeout).saturating_mul(2);
        let Ok(drained) = tokio::time::timeout(patience, drained).await else {
            let waited = humantime::format_duration(patience);
            tracing::warn!(
                "{}: it has not come to its end within {waited}, and is left to its thread",
                self.id()
            );
            return self.tell(EventKind::PluginStopped { reason: why.reason().into() });
        };
        if let Ok(Err(retiring)) = drained {
            let waited = humantime::format_duration(deadline);
            let generation = retiring.live().generation;
            tracing::warn!(
                "{} {generation} still runs calls after {waited}: it ends when they do",
                self.id()
            );
            self.retire(retiring);
        }
        // It may have crashed on its way out.
        self.hear_of_deaths();
        // It has ended in good order.
        self.shop.checkpoints.remove(self.id());
        self.tell(EventKind::PluginStopped { reason: why.reason().into() });
    }

    /// Ends the calls that still run in a process of the plugin's after that time, with the process. Those of versions that
    /// were replaced before count, too: no one is left to bring them to an end later.
    async fn cut_off(&self, deadline: Duration) {
        let entry = self.desk.entry.clone();
        let waited = humantime::format_duration(deadline);
        let reason =
            format!("killed, because it was to end, and calls still ran after {waited} (`drain_timeout`)");
        // An error means that there is no thread for it, and they end when they do.
        let _ = blocking(move || entry.cut_off(deadline, &reason)).await;
    }

    /// Sees a generation that no longer serves to its end, in the background.
    pub(super) fn retire(&self, retiring: Retiring) {
        let (shop, unmap) = (self.shop.clone(), self.unmap());
        self.shop.retiring.send_modify(|count| *count += 1);
        // A thread that cannot be started leaves the generation as it is, which is sound.
        let _ = thread::Builder::new().name("replug-retire".into()).spawn(move || {
            reload::retire(&shop, retiring, unmap);
            shop.retiring.send_modify(|count| *count -= 1);
        });
    }

    fn unmap(&self) -> Unmap {
        let reload = &self.manifest().reload;
        match reload.unload {
            Unload::Never => Unmap::Never,
            Unload::Verified => Unmap::Within(reload.drain_timeout),
        }
    }
}
