//! The threads of one generation, on which all of its code runs, so that its library can be unmapped.
//!
//! A thread that has run a library's code may run destructors of the library's thread-locals when it exits, and keeps
//! return addresses of the library on its stack. So only threads of its generation run such a library. When they are
//! joined, these destructors have run, and these stacks are no longer in use.

use super::call_context::CallContext;
use parking_lot::Mutex;
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::mpsc::{self, Sender},
    thread::{self, JoinHandle},
};

/// The size of a thread's stack, most of which is never used and takes no memory.
///
/// glibc keeps the stacks of threads that have exited for new threads, up to 40 MiB in total. A new thread of the host
/// on such a stack would seem to run the unmapped library, whose return addresses the stack still contains. A stack
/// that is larger than this limit is unmapped when the thread is joined, and so are all stacks that glibc keeps at that
/// time, such as those of threads that the plugin has started itself.
const STACK_BYTES: usize = 64 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// The threads of a generation: as many as have ever been busy at the same time. Dropping this value joins them.
pub(crate) struct CallThreads {
    name: String,
    idle: Mutex<Vec<CallThread>>,
}

impl CallThreads {
    /// Starts no thread yet. `name` is the name of each thread.
    pub(crate) fn new(name: String) -> Self {
        Self { name, idle: Mutex::default() }
    }

    /// Runs `work` on one of the threads on behalf of the calling thread, and waits for it. If `work` panics, the calling
    /// thread panics, too.
    ///
    /// # Errors
    ///
    /// The error of the system if all threads are busy, and no other thread can be started.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        self.run_in(CallContext::of_this_thread(), work)
    }

    /// Like [`CallThreads::run`], with the context of the calling thread.
    pub(super) fn run_in<T: Send + 'static>(
        &self,
        context: CallContext,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        // The lock is released before a thread is started.
        let idle = self.idle.lock().pop();
        let thread = idle.map_or_else(|| CallThread::start(&self.name), Ok)?;
        let (answer, answered) = mpsc::sync_channel(1);
        let job = move || {
            // Nothing of `work` remains when the answer is sent. The receiver waits, so the answer is received.
            let _ = answer.send(catch_unwind(AssertUnwindSafe(|| context.during(work))));
        };
        let outcome = thread.give(Box::new(job)).and_then(|()| answered.recv().ok());
        self.idle.lock().push(thread);
        match outcome {
            Some(Ok(result)) => Ok(result),
            Some(Err(panic)) => resume_unwind(panic),
            None => Err(io::Error::other("the thread has ended")),
        }
    }
}

impl Drop for CallThreads {
    fn drop(&mut self) {
        // First ends all threads, and only then joins them, so that they exit concurrently.
        let threads: Vec<_> = self.idle.get_mut().drain(..).map(CallThread::end).collect();
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// A thread that runs one job after another, until the sender of its jobs is dropped.
struct CallThread {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl CallThread {
    fn start(name: &str) -> io::Result<Self> {
        let (jobs, next) = mpsc::channel::<Job>();
        let run = move || next.into_iter().for_each(|job| job());
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self { jobs, thread })
    }

    /// Gives the thread a job. `None` if the thread has ended.
    fn give(&self, job: Job) -> Option<()> {
        self.jobs.send(job).ok()
    }

    fn end(self) -> JoinHandle<()> {
        self.thread
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        cell::Cell,
        fs::File,
        hint::black_box,
        os::unix::fs::FileExt,
        sync::{
            Arc, Barrier,
            atomic::{AtomicUsize, Ordering},
        },
    };

    #[test]
    fn work_runs_on_an_idle_thread_and_returns_its_result() {
        let threads = CallThreads::new("test".into());
        let own = thread::current().id();
        let first = threads.run(|| thread::current().id()).unwrap();
        let second = threads.run(|| thread::current().id()).unwrap();
        assert_eq!(first, second, "the thread was idle");
        assert_ne!(first, own);
    }

    #[test]
    fn concurrent_work_runs_on_several_threads() {
        let threads = CallThreads::new("test".into());
        // Each of the three jobs waits until the others run.
        let barrier = Arc::new(Barrier::new(3));
        let meet = || {
            let barrier = barrier.clone();
            threads.run(move || barrier.wait().is_leader()).unwrap();
        };
        thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(meet))));
        assert_eq!(threads.idle.lock().len(), 3);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_thread_stays() {
        let threads = CallThreads::new("test".into());
        let caught = catch_unwind(AssertUnwindSafe(|| threads.run(|| panic!("in the job"))));
        assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "in the job");
        assert_eq!(threads.idle.lock().len(), 1);
        assert_eq!(threads.run(|| 7).unwrap(), 7);
    }

    #[test]
    fn the_thread_local_destructors_have_run_when_the_threads_are_joined() {
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread_local!(static LEFT: Cell<Option<Counted>> = const { Cell::new(None) });
        let threads = CallThreads::new("test".into());
        let dropped = Arc::new(AtomicUsize::new(0));
        let left = Counted(dropped.clone());
        threads.run(move || LEFT.set(Some(left))).unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
        drop(threads);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_stack_of_a_joined_thread_is_unmapped() {
        const LEFT: [u8; 32] = *b"this is left behind on the stack";
        /// Leaves the bytes on the stack, below what an idle thread uses. Returns their address.
        #[inline(never)]
        fn leave() -> usize {
            let mut room = [[0; LEFT.len()]; 256];
            room[0] = LEFT;
            (&raw const *black_box(&mut room)).addr()
        }
        let threads = CallThreads::new("test".into());
        let place = threads.run(leave).unwrap();
        // The memory is read through a file, because it may be unmapped.
        let memory = File::open("/proc/self/mem").unwrap();
        let read = || {
            let mut bytes = [0; LEFT.len()];
            memory.read_exact_at(&mut bytes, place as u64).map(|()| bytes)
        };
        assert_eq!(read().unwrap(), LEFT, "the thread is idle");
        drop(threads);
        assert!(read().map_or(true, |bytes| bytes != LEFT), "a new thread would get this stack");
    }
}
