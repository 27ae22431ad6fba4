//! The end of an instance in this process. The host stops and drops the instance, and unmaps its library if the
//! manifest asks for that.

use super::{
    extent, handlers,
    inside::{self, Inside},
    instance::Instance,
    services,
};
use crate::{
    body::{Retire, Unmap},
    load::warn,
    registry::{ColumnLease, Tid, clear_away},
};
use libloading::os::unix::Library;
use replug_model::{event::RetireOutcome, step::Step};
use std::{
    collections::BTreeSet,
    io,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

impl Instance {
    /// See [`Body::retire`](crate::body::Body::retire).
    pub(super) fn retire_from(self, how: Retire<'_>) -> RetireOutcome {
        let Retire { lease, loaded_file_bytes, unmap } = how;
        clear_away(self.path(), loaded_file_bytes);
        // This runs on a thread of its own, which is joined. What the author's code leaves in thread-local storage is
        // dropped with the thread.
        let ended = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let marked = lease.mark(Step::Stop);
                    warn(crate::body::Body::stop(&self));
                    drop(marked);
                    self.drop_marked(lease)
                })
                .join()
        });
        let Ok((gone, outcome)) = ended else { return RetireOutcome::DropPanicked };
        let (RetireOutcome::Kept, Unmap::Within(patience)) = (outcome, unmap) else { return outcome };
        let began = Instant::now();
        // All threads that ran the library's code have ended after this, or the library stays mapped.
        let held = match have_ended(&lease.visitors(), patience) {
            Ok(()) => gone
                .wait_until_unused(patience.saturating_sub(began.elapsed()))
                .map_err(|held| held.to_string()),
            Err(tid) => Err(format!("the thread {tid} has called it, and has not ended")),
        };
        if let Err(reason) = held {
            tracing::warn!("{}: {reason}: it stays mapped", gone.path().display());
            return RetireOutcome::StillMapped;
        }
        // SAFETY: 1. The visitors are all threads that ran a call or a step of the instance's life: each was noted before it
        // left the call, and no call is inside. The kernel no longer knows them, so their thread-local destructors have run.
        // No other thread has an address of the library's code where it would come back to it. 2. The instance, which held
        // the interfaces, is gone, and with it every record, since the generation was drained; no signal is handled in it.
        match unsafe { gone.unload() } {
            Unloaded::Verified => RetireOutcome::Unloaded,
            Unloaded::StillMapped => RetireOutcome::StillMapped,
        }
    }

    /// Drops the author's value, and marks the thread meanwhile. The library stays mapped.
    pub(super) fn drop_marked(self, lease: &ColumnLease) -> (Gone, RetireOutcome) {
        let _marked = lease.mark(Step::Drop);
        let (gone, outcome) = self.destroy();
        match outcome {
            Ok(()) => (gone, RetireOutcome::Kept),
            Err(error) => {
                tracing::warn!("{error}");
                (gone, RetireOutcome::DropPanicked)
            }
        }
    }
}

/// Waits until the kernel no longer knows any of the threads. Returns one that it may still know after `patience`.
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

/// Whether this process may still have that thread. Only the kernel's answer that the thread does not exist is
/// reliable: `/proc` may be missing, or show other processes.
fn may_live(tid: Tid) -> bool {
    // SAFETY: signal 0 sends nothing: the kernel only checks whether this process has such a thread.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, 0) };
    sent == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// A library whose instance is gone. It stays mapped when this is dropped.
pub(crate) struct Gone {
    pub(super) library: ManuallyDrop<Library>,
    pub(super) path: PathBuf,
}

/// Whether a closed library was really unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unloaded {
    /// The dynamic loader no longer knows the library.
    Verified,
    /// The library is still in use.
    StillMapped,
}

/// Why a library must stay mapped.
#[derive(thiserror::Error)]
enum Held {
    /// A thread may run the library's code.
    #[error("{0}")]
    ByThread(Inside),
    /// The kernel calls the library's code.
    #[error("it handles {0}")]
    BySignal(String),
}

replug_model::readable::readable!(Held);

impl Gone {
    /// The private copy from which the library was opened.
    fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no use of the library is visible any more: a thread that runs its code, or a signal that it handles.
    fn wait_until_unused(&self, patience: Duration) -> Result<(), Held> {
        let code = extent::code(&self.path);
        inside::wait_until_left(&code, patience).map_err(Held::ByThread)?;
        handlers::handled_in(&code).map_or(Ok(()), |signal| Err(Held::BySignal(signal)))
    }

    /// Unmaps the library.
    ///
    /// # Safety
    ///
    /// 1. Every thread that ever ran code of the library has ended, or has left no destructor, no pointer and no frame
    ///    of it behind.
    /// 2. No pointer into the library is kept: layouts, vtables, names, strings, handlers.
    unsafe fn unload(mut self) -> Unloaded {
        use libloading::os::unix::{RTLD_LAZY, RTLD_LOCAL};
        services::forget(&self.path);
        // SAFETY: taken once, and `self` is not used after.
        let library = unsafe { ManuallyDrop::take(&mut self.library) };
        // The result of closing does not tell whether the library is unmapped. The loader tells that below.
        let _ = library.close();
        const RTLD_NOLOAD: i32 = 4;
        // SAFETY: with RTLD_NOLOAD nothing is opened, so no constructor runs.
        let found = unsafe { Library::open(Some(&self.path), RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD) };
        match found {
            Ok(_) => Unloaded::StillMapped,
            Err(_) => Unloaded::Verified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_that_the_kernel_denies_has_ended() {
        let own = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = thread::spawn(move || {
            sender.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
        });
        let ended = receiver.recv().unwrap();
        other.join().unwrap();
        assert_eq!(have_ended(&BTreeSet::from([ended]), Duration::from_secs(600)), Ok(()));
        assert_eq!(have_ended(&BTreeSet::from([ended, own]), Duration::ZERO), Err(own));
        // 0 is not the id of a thread: the kernel returns another error.
        assert_eq!(have_ended(&BTreeSet::from([0]), Duration::ZERO), Err(0));
    }
}
