//! The end of a generation: its instance is stopped and dropped, and its library unmapped if that was asked for.

use super::{
    clear_away::clear_away,
    mark::Step,
    record::Live,
    thread_slot::{ColumnLease, Tid},
};
use crate::load::{
    Instance, LifecycleError,
    in_process::{self, Gone, Unloaded},
    process,
};
use replug_model::copy::libraries_of_copy;
use replug_model::event::RetireOutcome;
use std::{
    collections::BTreeSet,
    fs, io, thread,
    time::{Duration, Instant},
};

/// Whether the library is unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmap {
    /// It stays, which is always sound.
    Never,
    /// It goes, if all threads that ran its code end within this time.
    Within(Duration),
}

/// Stops and drops an instance that no call is inside of, and never will be again.
pub fn end(live: Live, unmap: Unmap) -> RetireOutcome {
    let Live { instance, lease, loaded_file_bytes, .. } = live;
    match instance {
        Instance::Process(instance) => {
            // One that has died has been told of, and stops no more.
            if !instance.is_dead() {
                warn(instance.stop());
            }
            end_process(instance)
        }
        Instance::InProcess(instance) => {
            clear_away(instance.path(), loaded_file_bytes);
            end_in_process(instance, &lease, unmap)
        }
    }
}

fn end_process(instance: process::Instance) -> RetireOutcome {
    let _ = fs::remove_file(instance.path());
    let _ = fs::remove_dir_all(libraries_of_copy(instance.path()));
    warn(instance.destroy());
    RetireOutcome::Ended
}

fn warn(step: Result<(), LifecycleError>) {
    if let Err(error) = step {
        tracing::warn!("{error}");
    }
}

fn end_in_process(instance: in_process::Instance, lease: &ColumnLease, unmap: Unmap) -> RetireOutcome {
    // On a thread of its own that is joined: what the author's code leaves in thread-local storage goes with it.
    let ended = thread::scope(|scope| {
        scope
            .spawn(|| {
                let marked = lease.mark(Step::Stop);
                warn(instance.stop());
                drop(marked);
                drop_in_process(instance, lease)
            })
            .join()
    });
    let Ok((gone, outcome)) = ended else { return RetireOutcome::DropPanicked };
    let (RetireOutcome::Kept, Unmap::Within(patience)) = (outcome, unmap) else { return outcome };
    let began = Instant::now();
    // The visitors have ended by now, or the library stays.
    let held = match have_ended(&lease.visitors(), patience) {
        Ok(()) => gone.let_go(patience.saturating_sub(began.elapsed())).map_err(|held| held.to_string()),
        Err(tid) => Err(format!("the thread {tid} has called it, and has not ended")),
    };
    if let Err(reason) = held {
        tracing::warn!("{}: {reason}: it stays mapped", gone.path().display());
        return RetireOutcome::StillMapped;
    }
    // SAFETY: 1. The visitors are all threads that ran a call or a step of the instance's life: each was noted before it left
    // the call, and no call is inside. The kernel no longer knows them, so their thread-local destructors have run. No
    // other thread has an address of the library's code where it would come back to it. 2. The instance, which held the
    // interfaces, is gone, and with it every record, since the generation was drained; no signal is handled in it.
    match unsafe { gone.unload() } {
        Unloaded::Verified => RetireOutcome::Unloaded,
        Unloaded::StillMapped => RetireOutcome::StillMapped,
    }
}

/// Drops an instance that never served. Its library stays mapped, or its process ends. Its copy is left to the caller.
pub fn discard(live: Live) {
    let Live { instance, lease, .. } = live;
    match instance {
        Instance::InProcess(instance) => drop(drop_in_process(instance, &lease)),
        Instance::Process(instance) => drop(end_process(instance)),
    }
}

fn drop_in_process(instance: in_process::Instance, lease: &ColumnLease) -> (Gone, RetireOutcome) {
    let _marked = lease.mark(Step::Drop);
    let (gone, outcome) = instance.destroy();
    match outcome {
        Ok(()) => (gone, RetireOutcome::Kept),
        Err(error) => {
            tracing::warn!("{error}");
            (gone, RetireOutcome::DropPanicked)
        }
    }
}

/// Waits until the kernel no longer knows any of the threads; gives one that it may still know after `patience`.
fn have_ended(threads: &BTreeSet<Tid>, patience: Duration) -> Result<(), Tid> {
    let began = Instant::now();
    while let Some(tid) = threads.iter().find(|tid| may_live(**tid)) {
        if began.elapsed() >= patience {
            return Err(*tid);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether this process may still have that thread. Only the kernel's word that it has not counts: `/proc` may be missing,
/// or that of other processes.
fn may_live(tid: Tid) -> bool {
    // SAFETY: signal 0 is none: the kernel only looks whether there is such a thread in this process.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, 0) };
    sent == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_that_the_kernel_denies_has_ended() {
        let own = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let (tell, told) = std::sync::mpsc::channel();
        let other = thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
        });
        let ended = told.recv().unwrap();
        other.join().unwrap();
        assert_eq!(have_ended(&BTreeSet::from([ended]), Duration::from_secs(600)), Ok(()));
        assert_eq!(have_ended(&BTreeSet::from([ended, own]), Duration::ZERO), Err(own));
        // No number of a thread: the kernel refuses to say.
        assert_eq!(have_ended(&BTreeSet::from([0]), Duration::ZERO), Err(0));
    }
}
