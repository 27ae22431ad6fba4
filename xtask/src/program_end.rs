//! Runs a program for a command, and reports how the program ended: its exit status or its signal, and what may have
//! caused it.
//!
//! A signal that asks this command to exit is passed on to the program. The command waits for the end of the program, so
//! that the end is reported whichever process the signal was sent to.

use anyhow::{Context, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{
        SignalsInfo,
        exfiltrator::{WithOrigin, origin::Origin},
    },
    low_level::signal_name,
};
use std::{
    fs,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Command, ExitStatus},
    thread,
};

/// The signals that ask a program to exit.
const REQUESTS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// How a program has ended.
#[derive(Debug)]
struct ProgramEnd {
    status: ExitStatus,
    /// The signals that this command has got while the program ran, each with its sender.
    signals: Vec<String>,
    /// The number of processes that the kernel has killed meanwhile for lack of memory; `None` if it is unknown.
    oom_kills: Option<u64>,
}

/// Runs the program until it ends. `name` is its name in an error.
///
/// # Errors
///
/// If the program cannot be run, or fails, or this command has got a signal that asks it to exit.
pub(crate) fn run(command: &mut Command, name: &str) -> anyhow::Result<()> {
    let end = wait_for_end(command).with_context(|| format!("cannot run {name}"))?;
    match failure(&end) {
        Some(failure) => bail!("{name} {failure}"),
        None => Ok(()),
    }
}

fn wait_for_end(command: &mut Command) -> anyhow::Result<ProgramEnd> {
    // An ignored signal must have no effect on the program either, so it stays ignored.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let requests = REQUESTS.into_iter().filter(|signal| !is_ignored(&status, *signal));
    let mut signals = SignalsInfo::<WithOrigin>::new(requests)?;
    let listening = signals.handle();
    let oom_kills_before = oom_kills();
    let mut child = command.spawn()?;
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let listener =
        thread::spawn(move || signals.forever().map(|signal| pass_on(&process, &signal)).collect::<Vec<_>>());
    let status = child.wait();
    listening.close();
    let signals = listener.join().unwrap_or_default();
    let oom_kills = oom_kills().zip(oom_kills_before).map(|(after, before)| after.saturating_sub(before));
    Ok(ProgramEnd { status: status?, signals, oom_kills })
}

/// Sends the program a signal that this command has got. Returns the name of the signal and its sender.
fn pass_on(process: &OwnedFd, got: &Origin) -> String {
    // An error means that the program has ended.
    let _ = Signal::from_named_raw(got.signal).map(|signal| pidfd_send_signal(process, signal));
    let name = signal_name(got.signal).unwrap_or("a signal");
    let Some(sender) = got.process else { return format!("{name} from the kernel") };
    let program = fs::read_to_string(format!("/proc/{}/comm", sender.pid));
    let program = program.map_or_else(|_| "which has ended".to_owned(), |name| name.trim().to_owned());
    format!("{name} from process {} ({program})", sender.pid)
}

/// Why a program that has ended in this way has failed; `None` if it has not.
fn failure(end: &ProgramEnd) -> Option<String> {
    let ProgramEnd { status, signals, oom_kills } = end;
    if status.success() && signals.is_empty() {
        return None;
    }
    let mut text = match status.success() {
        true => "was asked to exit".to_owned(),
        false => format!("failed ({status}): see its output above"),
    };
    if !signals.is_empty() {
        text += &format!("; this command got {}", signals.join(" and "));
    }
    if status.signal() == Some(Signal::KILL.as_raw())
        && let Some(count) = oom_kills.filter(|count| *count > 0)
    {
        text += &format!("; meanwhile the kernel has killed {count} processes for lack of memory");
    }
    Some(text)
}

/// Whether the process with this `/proc/PID/status` ignores the signal, as a program does that `nohup` has started.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

/// How many processes the kernel has killed for lack of memory since the start of the system.
fn oom_kills() -> Option<u64> {
    let counters = fs::read_to_string("/proc/vmstat").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    /// Held while a program runs: a signal to this process reaches each program that runs, not only that of one test.
    static RUNS: Mutex<()> = Mutex::new(());

    fn run_alone(script: &str) -> anyhow::Result<()> {
        let _alone = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
        run(&mut shell(script), "the program")
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn error_of(script: &str) -> String {
        run_alone(script).unwrap_err().to_string()
    }

    #[test]
    fn a_program_that_succeeds_is_no_error() {
        run_alone("exit 0").unwrap();
    }

    #[test]
    fn a_failed_program_is_reported_with_its_status_or_its_signal() {
        assert_eq!(error_of("exit 3"), "the program failed (exit status: 3): see its output above");
        assert!(error_of("kill -KILL $$").starts_with("the program failed (signal: 9 (SIGKILL)): "));
    }

    #[test]
    fn a_signal_to_the_command_reaches_the_program_and_is_reported() {
        // The shell sends the signal to this process, and exits with 7 when it gets the signal back.
        let error = error_of("trap 'kill $!; exit 7' TERM; sleep 100000 & kill -TERM $PPID; wait");
        assert!(error.contains("(exit status: 7)"), "{error}");
        assert!(error.contains("this command got SIGTERM from process "), "{error}");
    }

    #[test]
    fn a_program_that_succeeds_after_a_request_to_exit_is_an_error() {
        let end = ProgramEnd {
            status: ExitStatus::from_raw(0),
            signals: vec!["SIGINT from the kernel".into()],
            oom_kills: None,
        };
        assert_eq!(failure(&end).unwrap(), "was asked to exit; this command got SIGINT from the kernel");
    }

    #[test]
    fn a_lack_of_memory_is_reported_only_of_a_killed_program() {
        let end = |status| ProgramEnd {
            status: ExitStatus::from_raw(status),
            signals: Vec::new(),
            oom_kills: Some(2),
        };
        assert!(failure(&end(9)).unwrap().ends_with("has killed 2 processes for lack of memory"));
        assert!(!failure(&end(15)).unwrap().contains("memory"));
        assert!(oom_kills().is_some());
    }

    #[test]
    fn a_signal_is_ignored_if_its_bit_is_set_in_the_kernels_mask() {
        let status = "SigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        assert_eq!(REQUESTS.map(|signal| is_ignored(status, signal)), [true, false, false]);
    }
}
