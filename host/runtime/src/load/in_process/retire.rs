//! Retires an instance in this process: stops and drops it, and unmaps its library if the manifest requests that.

use super::{
    extent, handlers,
    inside::{self, Inside},
    instance::Instance,
    services,
    static_tls::{give_back_static_tls, static_tls_order},
};
use crate::{
    load::warn,
    registry::{
        ColumnLease, Tid,
        body::{Body as _, Retire, Unmap},
        clear_away,
    },
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
    /// See [`Body::retire`](crate::registry::body::Body::retire).
    pub(super) fn retire_from(self, how: Retire<'_>) -> RetireOutcome {
        let Retire { lease, loaded_file_bytes, unmap } = how;
        clear_away(self.path(), loaded_file_bytes);
        // The last steps run on a thread of their own, which is joined: values that the author's code leaves in
        // thread-local storage are dropped when that thread exits.
        let ended = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let marked = lease.mark(Step::Stop);
                    warn(self.stop());
                    drop(marked);
                    self.drop_marked(lease)
                })
                .join()
        });
        let Ok((gone, outcome)) = ended else { return RetireOutcome::DropPanicked };
        let (RetireOutcome::Kept, Unmap::Within(patience)) = (outcome, unmap) else { return outcome };
        let began = Instant::now();
        // The library stays mapped unless all threads that ran its code exit in time.
        let held = match have_ended(&lease.visitors(), patience) {
            Ok(()) => gone
                .wait_until_unused(patience.saturating_sub(began.elapsed()))
                .map_err(|held| held.to_string()),
            Err(tid) => Err(format!("the thread {tid} has run the library's code and has not exited")),
        };
        if let Err(reason) = held {
            tracing::warn!("{}: the library stays mapped: {reason}", gone.path().display());
            return RetireOutcome::StillMapped;
        }
        let path = gone.path().to_owned();
        let _order = static_tls_order();
        // SAFETY: 1. The visitors are all threads that ran a call or a lifecycle step of the instance: each was
        // recorded before it left the call, and no call runs now. The kernel no longer knows these threads, so
        // their thread-local destructors have run. No other thread has a return address in the library's code. 2. The
        // instance, which held the interfaces, was dropped, and so was every call table, because the generation was
        // drained. The library handles no signal.
        match unsafe { gone.unload() } {
            Unloaded::Verified => {
                give_back_static_tls(&path);
                RetireOutcome::Unloaded
            }
            Unloaded::StillMapped => RetireOutcome::StillMapped,
        }
    }

    /// Drops the author's value. Meanwhile, the thread has a mark in the crash record. The library stays mapped.
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

/// Waits until the kernel no longer knows any of the threads. After `patience`, returns an error with a thread that the
/// kernel may still know.
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

/// Whether this process may still have that thread. The kernel is asked by a system call, because `/proc` may be
/// missing, or show other processes.
fn may_live(tid: Tid) -> bool {
    // SAFETY: signal 0 sends nothing: the kernel only checks whether this process has such a thread.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, 0) };
    sent == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// A library whose instance was dropped. The library stays mapped when this value is dropped.
pub(crate) struct Gone {
    pub(super) library: ManuallyDrop<Library>,
    pub(super) path: PathBuf,
}

/// Whether closing a library has unmapped it.
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
    #[error("the library handles {0}")]
    BySignal(String),
}

replug_model::readable::readable!(Held);

impl Gone {
    /// The private copy from which the library was opened.
    fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no thread runs the library's code, and checks that the library handles no signal.
    fn wait_until_unused(&self, patience: Duration) -> Result<(), Held> {
        let code = extent::code(&self.path);
        inside::wait_until_left(&code, patience).map_err(Held::ByThread)?;
        handlers::handled_in(&code).map_or(Ok(()), |signal| Err(Held::BySignal(signal)))
    }

    /// Unmaps the library.
    ///
    /// # Safety
    ///
    /// 1. Every thread that ever ran code of the library has exited, or keeps no destructor, no pointer and no stack
    ///    frame of the library.
    /// 2. No pointer into the library is kept: layouts, vtables, names, strings, handlers.
    unsafe fn unload(mut self) -> Unloaded {
        use libloading::os::unix::{RTLD_LAZY, RTLD_LOCAL};
        services::forget(&self.path);
        // SAFETY: the library is taken once, and `self.library` is not used afterwards.
        let library = unsafe { ManuallyDrop::take(&mut self.library) };
        // The result of `close` does not show whether the library was unmapped. The check below does.
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
    fn a_thread_has_exited_only_if_the_kernel_does_not_know_it() {
        let own = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = thread::spawn(move || {
            sender.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
        });
        let ended = receiver.recv().unwrap();
        other.join().unwrap();
        assert_eq!(have_ended(&BTreeSet::from([ended]), Duration::from_secs(600)), Ok(()));
        assert_eq!(have_ended(&BTreeSet::from([ended, own]), Duration::ZERO), Err(own));
        // 0 is not the id of a thread, so the kernel returns an error other than ESRCH.
        assert_eq!(have_ended(&BTreeSet::from([0]), Duration::ZERO), Err(0));
    }
}
