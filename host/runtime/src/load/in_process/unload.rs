//! Verifies that nothing uses a library whose instance was dropped, and then unmaps the library.

use super::{
    call_threads::CallThreads,
    extent::{code, extent},
    handlers,
    inside::{self, Inside},
    services,
    static_tls::{give_back_static_tls, static_tls_order},
};
use crate::registry::ColumnMarks;
use libloading::os::unix::Library;
use replug_model::{event::RetireOutcome, step::Step};
use std::{mem::ManuallyDrop, path::PathBuf, time::Duration};

/// The properties of an artifact that explain why the dynamic loader may keep it mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unloading {
    /// The artifact is linked with `-z nodelete`, or has unique symbols.
    pub nodelete: bool,
    /// The artifact registers destructors of thread-locals with the C library. The loader keeps the artifact mapped
    /// until each thread that has such a thread-local has exited.
    pub tls_destructors: bool,
}

/// A library whose instance was dropped. The library stays mapped when this value is dropped.
pub(crate) struct Gone {
    pub(super) library: ManuallyDrop<Library>,
    pub(super) path: PathBuf,
}

/// Why a library must stay mapped.
#[derive(PartialEq, Eq, thiserror::Error)]
enum Held {
    /// A thread may run the library's code.
    #[error("{0}")]
    ByThread(Inside),
    /// The library handles a signal, so the kernel may call the library's code.
    #[error("it handles {0}")]
    BySignal(String),
    /// As far as the host can verify, nothing uses the library. But no thread could be started to close it.
    #[error("no thread could be started to close it: {0}")]
    NotClosed(String),
    /// The loader keeps the library because of the library's flags.
    #[error("it is linked with `-z nodelete`, or has unique symbols: the dynamic loader never unmaps it")]
    Nodelete,
    /// The loader keeps the library for a thread.
    #[error(
        "a thread that still runs has a value with a destructor in the thread-local storage of the library: the plugin's code ran on a thread that is not its own"
    )]
    PinnedTls,
    /// The loader keeps the library.
    #[error(
        "the dynamic loader still lists it after it was closed: another part of the program has opened it"
    )]
    Listed,
}

replug_model::readable::readable!(Held);

impl Held {
    fn outcome(&self) -> RetireOutcome {
        match self {
            Self::ByThread(Inside::Thread { .. } | Inside::Running { .. }) => RetireOutcome::Threads,
            Self::Nodelete => RetireOutcome::Nodelete,
            Self::PinnedTls => RetireOutcome::PinnedTls,
            Self::ByThread(Inside::Unknown { .. })
            | Self::BySignal(_)
            | Self::NotClosed(_)
            | Self::Listed => RetireOutcome::Kept,
        }
    }
}

impl Unloading {
    /// Why the loader still lists a library that was closed.
    fn why_listed(self) -> Held {
        match self {
            Self { nodelete: true, .. } => Held::Nodelete,
            Self { tls_destructors: true, .. } => Held::PinnedTls,
            _ => Held::Listed,
        }
    }
}

impl Gone {
    /// Unmaps the library, if that is safe within `patience`. All threads of the generation have been joined. `marks`
    /// are those of the generation.
    pub(super) fn unload(
        self,
        unloading: Unloading,
        patience: Duration,
        marks: ColumnMarks,
    ) -> RetireOutcome {
        let path = self.path.clone();
        match self.close_if_unused(unloading, patience, marks) {
            Ok(()) => RetireOutcome::Unloaded,
            Err(held) => {
                tracing::warn!("{}: {held}: it stays mapped", path.display());
                held.outcome()
            }
        }
    }

    fn close_if_unused(
        self,
        unloading: Unloading,
        patience: Duration,
        marks: ColumnMarks,
    ) -> Result<(), Held> {
        let code = code(&self.path);
        inside::wait_until_left(&code, patience).map_err(Held::ByThread)?;
        handlers::handled_in(&code).map_or(Ok(()), |signal| Err(Held::BySignal(signal)))?;
        let path = self.path.clone();
        // Closing a library runs its destructors, so this runs on a thread that is joined, too.
        let closing = CallThreads::new("replug-unload".into()).run(move || {
            let _marked = marks.step(Step::Drop);
            let _order = static_tls_order();
            // SAFETY: 1. The generation's own threads ran all of its calls and lifecycle steps, and have been joined. So
            // their thread-local destructors have run. No other thread has a return address in the library's code.
            // 2. The instance, which held the interfaces, was dropped. The call tables have only edges of the host. The
            // library handles no signal.
            unsafe { self.close() };
            let listed = extent(&path).is_some();
            if !listed {
                give_back_static_tls(&path);
            }
            listed
        });
        match closing {
            Ok(false) => Ok(()),
            Ok(true) => Err(unloading.why_listed()),
            Err(error) => Err(Held::NotClosed(error.to_string())),
        }
    }

    /// Closes the library, and removes its reporter and its panic hook.
    ///
    /// # Safety
    ///
    /// 1. Every thread that ever ran code of the library has exited, or keeps no destructor, no pointer and no stack
    ///    frame of the library.
    /// 2. No pointer into the library is kept: layouts, vtables, names, strings, handlers.
    unsafe fn close(mut self) {
        services::forget(&self.path);
        // SAFETY: the library is taken once, and `self.library` is not used afterwards.
        let library = unsafe { ManuallyDrop::take(&mut self.library) };
        // The result of `close` does not show whether the library was unmapped. The list of the loader does.
        let _ = library.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_properties_of_a_library_explain_why_it_stays_mapped() {
        let outcome =
            |nodelete, tls_destructors| Unloading { nodelete, tls_destructors }.why_listed().outcome();
        assert_eq!(outcome(true, true), RetireOutcome::Nodelete);
        assert_eq!(outcome(true, false), RetireOutcome::Nodelete);
        assert_eq!(outcome(false, true), RetireOutcome::PinnedTls);
        assert_eq!(outcome(false, false), RetireOutcome::Kept);
    }

    #[test]
    fn only_a_thread_that_may_run_the_library_is_reported_as_a_thread() {
        let (tid, name) = (7, String::new());
        let by_thread = |inside| Held::ByThread(inside).outcome();
        assert_eq!(by_thread(Inside::Thread { tid, name: name.clone() }), RetireOutcome::Threads);
        assert_eq!(by_thread(Inside::Running { tid, name }), RetireOutcome::Threads);
        assert_eq!(by_thread(Inside::Unknown { reason: String::new() }), RetireOutcome::Kept);
        assert_eq!(Held::BySignal("SIGUSR2".into()).outcome(), RetireOutcome::Kept);
    }
}
