//! How a generation ends: in the background after a swap, or because the plugin is stopped.

use super::{StopWhy, Worker, serve::blocking};
use crate::{
    event::EventKind,
    manifest::Unload,
    registry::{Retiring, Unmap},
    reload,
};
use std::thread;

impl Worker {
    pub(super) async fn stop(&mut self, why: StopWhy) {
        self.confirm = None;
        self.supervision.forget();
        self.doing(None);
        {
            let mut progress = self.desk.progress.lock();
            progress.last_error = None;
            progress.unregistered |= why == StopWhy::Unregistered;
        }
        let Some(retiring) = self.desk.entry.close(why.reason()) else {
            // What did not come up before the host shuts down may do so in the next, with the state that it had.
            if why != StopWhy::ShutDown {
                self.shop.checkpoints.remove(self.id());
            }
            return self.desk.entry.set_reason(why.reason());
        };
        let deadline = self.manifest().reload.drain_timeout;
        // Whoever shuts the host down has probably called the plugin, and waits here: its thread will not end.
        let unmap = if why == StopWhy::ShutDown { Unmap::Never } else { self.unmap() };
        let shop = self.shop.clone();
        let drained =
            blocking(move || retiring.drain(Some(deadline)).map(|live| reload::finish(&shop, live, unmap)));
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
        // It has ended in good order.
        self.shop.checkpoints.remove(self.id());
        self.tell(EventKind::PluginStopped { reason: why.reason().into() });
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
