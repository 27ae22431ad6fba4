//! Cancels a build whose processes have written nothing for too long. The total duration is not limited: a slow build
//! on a busy machine keeps writing, and a build that waits for another build has no process yet.

use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

tokio::task_local! {
    static PROCESSES: Arc<Mutex<Processes>>;
}

/// The processes of one build.
#[derive(Debug)]
struct Processes {
    running: usize,
    /// When a process of the build last started or wrote something.
    last_output: Instant,
}

impl Processes {
    /// The time at which the silence of the processes reaches `limit`. Returns an error if that time has passed. If no
    /// process runs, the silence begins at `now`.
    fn deadline(&self, now: Instant, limit: Duration) -> Result<Instant, TooSilent> {
        let silent_since = if self.running == 0 { now } else { self.last_output };
        Some(silent_since + limit).filter(|end| *end > now).ok_or(TooSilent)
    }

    fn started(&mut self, now: Instant) {
        self.running += 1;
        self.last_output = now;
    }
}

/// The error of a build whose processes have written nothing for too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooSilent;

/// Runs `work`, and drops it when the processes that it runs have written nothing for `limit`.
pub(super) async fn bounded<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, TooSilent> {
    let processes = Arc::new(Mutex::new(Processes { running: 0, last_output: Instant::now() }));
    let work = PROCESSES.scope(processes.clone(), work);
    tokio::pin!(work);
    let mut deadline = Instant::now() + limit;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = sleep_until(deadline) => {}
        }
        deadline = processes.lock().deadline(Instant::now(), limit)?;
    }
}

/// Records that a process of the build starts. The process counts as running until the returned value is dropped.
pub(super) fn process_starts() -> RunningProcess {
    let processes = PROCESSES.try_with(Arc::clone).ok();
    if let Some(processes) = &processes {
        processes.lock().started(Instant::now());
    }
    RunningProcess(processes)
}

/// Records that a process of the build has written something.
pub(super) fn note_output() {
    // Outside of a build, silence is not measured.
    let _ = PROCESSES.try_with(|processes| processes.lock().last_output = Instant::now());
}

/// A running process of a build.
pub(super) struct RunningProcess(Option<Arc<Mutex<Processes>>>);

impl Drop for RunningProcess {
    fn drop(&mut self) {
        if let Some(processes) = &self.0 {
            processes.lock().running -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn at(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    #[test]
    fn a_process_that_writes_nothing_reaches_the_limit() {
        let begin = Instant::now();
        let mut processes = Processes { running: 0, last_output: begin };
        processes.started(at(begin, 0));
        assert_eq!(processes.deadline(at(begin, 59), LIMIT), Ok(at(begin, 60)));
        processes.last_output = at(begin, 59);
        assert_eq!(
            processes.deadline(at(begin, 60), LIMIT),
            Ok(at(begin, 119)),
            "output at second 59 extends the deadline"
        );
        assert_eq!(processes.deadline(at(begin, 119), LIMIT), Err(TooSilent));
    }

    #[test]
    fn a_build_that_waits_for_its_turn_is_not_silent() {
        let begin = Instant::now();
        let mut processes = Processes { running: 0, last_output: begin };
        assert_eq!(processes.deadline(at(begin, 600), LIMIT), Ok(at(begin, 660)));
        processes.started(at(begin, 600));
        assert_eq!(
            processes.deadline(at(begin, 601), LIMIT),
            Ok(at(begin, 660)),
            "the limit counts from the start of the process"
        );
    }

    #[tokio::test]
    async fn a_process_outside_a_build_has_no_silence_limit() {
        let running = process_starts();
        note_output();
        drop(running);
        assert_eq!(bounded(LIMIT, async { 1 }).await, Ok(1));
    }
}
