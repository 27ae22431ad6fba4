//! Ends generations: in the background after a swap, or when the plugin is stopped.

use super::{StopWhy, Worker, bounded::blocking};
use crate::{
    event::EventKind,
    lifecycle::{Ending, Input, Work},
    load::process::SavedBy,
    manifest::Unload,
    registry::{
        Live, Retiring,
        body::{LifecycleError, Unmap},
        give_back_later,
    },
};
use std::{
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// The saved state of a stopped generation, or the error of the save. `None` if the generation has no state.
type HandedOver = Result<Option<SavedBy>, String>;

impl Worker {
    /// Carries out a command to stop.
    pub(super) async fn stop(&mut self, why: StopWhy) {
        self.take_deaths();
        let work = self.step(Input::Stop(why));
        self.note_stop(why);
        let Some(Work::EndService { saves, report }) = work else { return };
        self.doing(None);
        self.shared.progress.lock().unregistered |= why == StopWhy::Unregistered;
        match self.shared.entry.close(why.reason()) {
            Some(retiring) => self.end(retiring, why, saves).await,
            None => {
                self.cut_off(self.manifest().reload.drain_timeout).await;
                // No generation serves, so no state is newer than the one that was saved last.
                self.ended(Ending::NothingServed);
            }
        }
        if report {
            self.emit(EventKind::PluginStopped { reason: why.reason().into() });
        }
    }

    /// Ends a generation that no longer serves, within a limited time.
    async fn end(&mut self, retiring: Retiring, why: StopWhy, saves: bool) {
        let began = Instant::now();
        let deadline = self.manifest().reload.drain_timeout;
        let (plugin, generation) = (retiring.live().plugin.clone(), retiring.live().generation);
        // The program is probably about to exit. Unmapping its libraries would only delay that.
        let unmap = if why == StopWhy::ShutDown { Unmap::Never } else { self.unmap() };
        let context = self.context.clone();
        let (hand_over, handed_over) = oneshot::channel();
        let retired = tokio::spawn(blocking(move || {
            let drained = retiring.drain(Some(deadline));
            // If the generation still runs calls, its state is saved while they run, as for a checkpoint.
            let live = drained.as_ref().unwrap_or_else(Retiring::live);
            // An error means that the receiver no longer waits.
            let _ = hand_over.send(if saves { save(live) } else { Ok(None) });
            // In a child process, `cut_off` interrupts the calls, so the second drain ends. In this process, nothing can
            // interrupt a call.
            let drained = drained.or_else(|retiring| {
                let ends = retiring.live().traits().interruptible;
                if ends { retiring.drain(None) } else { Err(retiring) }
            });
            drained.map(|live| {
                context.finish(live, unmap);
                // At a shutdown, the host frees the disk space of all plugins at once.
                if why != StopWhy::ShutDown {
                    give_back_later();
                }
            })
        }));
        let step_timeout = self.manifest().process.step_timeout;
        let handed_over = tokio::time::timeout(deadline + step_timeout, handed_over).await;
        self.cut_off(deadline.saturating_sub(began.elapsed())).await;
        let ending = match handed_over {
            Ok(Ok(Ok(Some(state)))) => {
                self.saved = Some(state);
                Ending::Saved
            }
            Ok(Ok(Ok(None))) => Ending::Stateless,
            Ok(Ok(Err(error))) => Ending::NotSaved(error),
            Ok(Err(_)) => Ending::NotSaved("see the panic above".into()),
            Err(_) => Ending::NotSaved(format!(
                "`save` did not end within {}",
                humantime::format_duration(step_timeout)
            )),
        };
        self.ended(ending);
        // The plugin's `stop` or the drop of its instance may never return. The factor two covers the wait before the
        // library is unmapped.
        let patience = (deadline + step_timeout).saturating_mul(2);
        let Ok(drained) = tokio::time::timeout(patience, retired).await else {
            let waited = humantime::format_duration(patience);
            tracing::warn!("{plugin}: `stop` did not return within {waited}; its thread is abandoned");
            return;
        };
        if let Ok(Ok(Err(retiring))) = drained {
            let waited = humantime::format_duration(deadline);
            tracing::warn!(
                "{plugin} {generation} still runs calls after {waited}; it ends when the calls have returned"
            );
            self.retire(retiring);
        }
        // The process may have crashed while it was being stopped.
        self.take_deaths();
    }

    /// Reports to the lifecycle how the generation that served has ended.
    fn ended(&mut self, ending: Ending) {
        let checkpoint = self.saved.is_some();
        self.do_now(Input::Ended { ending, checkpoint });
    }

    /// After `rest`, the remaining part of `drain_timeout`, kills the child processes of the plugin in which calls
    /// still run. This includes versions that were replaced earlier, because nothing kills their processes later.
    async fn cut_off(&self, rest: Duration) {
        let entry = self.shared.entry.clone();
        let waited = humantime::format_duration(self.manifest().reload.drain_timeout);
        let reason = format!(
            "killed, because the plugin was stopped and calls still ran after {waited} (`drain_timeout`)"
        );
        // If no thread can be started, the calls are not interrupted, and run to their end.
        let _ = blocking(move || entry.cut_off(rest, &reason)).await;
    }

    /// Ends a generation that no longer serves, in the background.
    pub(super) fn retire(&self, retiring: Retiring) {
        let (context, unmap) = (self.context.clone(), self.unmap());
        self.context.retiring.send_modify(|count| *count += 1);
        // If no thread can be started, the generation stays loaded, which is sound.
        let _ = thread::Builder::new().name("replug-retire".into()).spawn(move || {
            context.retire(retiring, unmap);
            context.retiring.send_modify(|count| *count -= 1);
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

/// Saves the state of a generation, if it has one.
fn save(live: &Live) -> HandedOver {
    if !live.stateful() {
        return Ok(None);
    }
    let saved = live.save().map_err(|error: LifecycleError| error.to_string())?;
    Ok(Some((live.state_version(), saved)))
}
