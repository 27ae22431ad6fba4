//! The end of a generation: its instance is stopped and dropped, and its library unmapped if that was asked for.

use super::{
    mark::Step,
    record::Live,
    seat::{LaneLease, Tid},
};
use crate::{
    artifact::libraries_of_copy,
    event::RetireOutcome,
    load::{
        Instance, LifecycleError,
        in_process::{self, Gone, Unloaded},
        process,
    },
};
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Whether the library is unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmap {
    /// It stays, which is always sound.
    Never,
    /// It goes, if all threads that ran its code end within this time.
    Within(Duration),
}

/// Stops and drops an instance that no call is inside of, and never will be again.
pub(crate) fn end(live: Live, unmap: Unmap) -> RetireOutcome {
    let visitors = live.lease.visitors();
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
            end_in_process((instance, &lease), &visitors, unmap)
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

fn end_in_process(
    (instance, lease): (in_process::Instance, &LaneLease),
    visitors: &BTreeSet<Tid>,
    unmap: Unmap,
) -> RetireOutcome {
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
    match (outcome, unmap) {
        (RetireOutcome::Kept, Unmap::Within(patience)) if have_ended(visitors, patience) => {
            // SAFETY: 1. `visitors` are all threads that ran a call (noted with a thread's first call) or a step of
            // the instance's life (noted by `LaneLease::mark`); the kernel no longer knows them, so their thread-local
            // destructors have run. Threads that the plugin itself started are its author's to join in `stop`, which
            // is what the manifest promises with `unload = "verified"`. 2. The instance, which held the interfaces,
            // is gone, and with it every record, since the generation was drained.
            match unsafe { gone.unload() } {
                Unloaded::Verified => RetireOutcome::Unloaded,
                Unloaded::StillMapped => RetireOutcome::StillMapped,
            }
        }
        (RetireOutcome::Kept, Unmap::Within(_)) => RetireOutcome::StillMapped,
        (outcome, _) => outcome,
    }
}

/// Drops an instance that never served. Its library stays mapped, or its process ends. Its copy is left to the caller.
pub(crate) fn discard(live: Live) {
    let Live { instance, lease, .. } = live;
    match instance {
        Instance::InProcess(instance) => drop(drop_in_process(instance, &lease)),
        Instance::Process(instance) => drop(end_process(instance)),
    }
}

fn drop_in_process(instance: in_process::Instance, lease: &LaneLease) -> (Gone, RetireOutcome) {
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

/// Removes the private copy of an artifact, of which that many bytes may stay mapped.
pub(crate) fn clear_away(copy: &Path, loaded_bytes: u64) {
    // A file that is mapped takes its room on disk even when its name is gone. No frame of it is left to be looked up
    // in its debug information; if the file cannot be cut, it stays as it is.
    let _ = cut(copy, loaded_bytes);
    // The mapping needs no name; the next generation has its own. If the file stays, it goes with the run folder.
    let _ = fs::remove_file(copy);
    let _ = fs::remove_dir_all(libraries_of_copy(copy));
}

/// Cuts a file behind what is mapped of it.
fn cut(file: &Path, loaded_bytes: u64) -> io::Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    fs::File::options().write(true).open(file)?.set_len(loaded_bytes)
}

/// Waits until the kernel no longer knows any of the threads.
fn have_ended(threads: &BTreeSet<Tid>, patience: Duration) -> bool {
    let began = Instant::now();
    let tasks = Path::new("/proc/self/task");
    while threads.iter().any(|tid| tasks.join(tid.to_string()).exists()) {
        if began.elapsed() >= patience {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}
