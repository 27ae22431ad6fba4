//! Decides, after the exit of a child, whether the parent starts another child or exits.

use crate::{
    registry::crash_record::{CRASH_SIGNALS, Crash, End, Suspect},
    signal::signal_name,
};
use replug_model::id::{Digest, PluginId};
use signal_hook::consts::SIGKILL;
use std::{
    collections::{BTreeSet, VecDeque},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::{Duration, Instant},
};

/// After this many crashes within [`WINDOW`], the parent does not start the program again. The first crash that is
/// attributed to an artifact does not count.
const PATIENCE: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// How a child terminated, as far as this is known.
#[derive(Default)]
pub(super) struct ChildEnd {
    pub(super) status: ExitStatus,
    /// Whether the kernel has killed a process for lack of memory while the child ran.
    pub(super) short_of_memory: bool,
    /// The crash records that the child's hosts have left.
    pub(super) crashes: Vec<Crash>,
    /// Whether the child had a host that was not shut down.
    pub(super) hosts_left: bool,
}

/// What the parent does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Starts another child. The text, if any, is a message for the user.
    Again(Option<String>),
    /// Exits with this status. The text, if any, is a message for the user.
    End(i32, Option<String>),
}

impl ChildEnd {
    /// The exit status of the child in the form that shells use.
    pub(super) fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal)).unwrap_or(1)
    }

    /// Whether the exit status is added to the crash record. It is not added if another process terminated the child
    /// with a signal.
    pub(super) fn is_attributable(&self) -> bool {
        self.status.signal().is_none_or(|signal| self.is_crash(signal))
    }

    /// Whether the process caused this signal itself, or the kernel sent it for lack of memory.
    fn is_crash(&self, signal: i32) -> bool {
        CRASH_SIGNALS.contains(&signal) || signal == SIGKILL && self.short_of_memory
    }

    /// A description of the crash of the child; `None` if the child did not crash.
    fn crash(&self) -> Option<String> {
        let how = match self.status.signal() {
            Some(signal) if !self.is_crash(signal) => return None,
            Some(SIGKILL) => "was killed by the kernel: out of memory".into(),
            Some(signal) => format!("was killed by {}", signal_name(signal).unwrap_or("a signal")),
            None if self.crashes.iter().any(|crash| crash.end == End::Exit) => self.exit(),
            None => return None,
        };
        let at_work: Vec<_> =
            self.crashes.iter().flat_map(|crash| &crash.suspects).map(ToString::to_string).collect();
        let at_work = match at_work.as_slice() {
            [] => "no plugin was running".into(),
            some => format!("running: {}", some.join(", ")),
        };
        Some(format!("{how} ({at_work})"))
    }

    /// Names the culprits, and how they crashed the program.
    fn describe(&self, culprits: &[&Suspect]) -> String {
        let how = match self.status.signal() {
            Some(signal) => signal_name(signal).unwrap_or("a signal").to_owned(),
            None => format!("exit with status {}", self.code()),
        };
        let who: Vec<_> = culprits.iter().map(ToString::to_string).collect();
        format!("{} crashed the program ({how})", who.join(", "))
    }

    fn exit(&self) -> String {
        format!("ended with status {} without shutting its host down", self.code())
    }
}

/// The crashes so far.
#[derive(Default)]
pub(super) struct History {
    /// The times of the crashes within [`WINDOW`] that could not be attributed, or were attributed to an artifact for
    /// the second time or later.
    unexplained: VecDeque<Instant>,
    /// The artifacts to which a crash was attributed. If such an artifact crashes the program again, the host failed to
    /// move it to a child process.
    attributed: BTreeSet<(PluginId, Digest)>,
}

impl History {
    pub(super) fn judge(&mut self, ended: &ChildEnd, now: Instant) -> Verdict {
        let Some(how) = ended.crash() else {
            let advice = "if this is not intended, look for a call to `exit` in a plugin";
            let exited = ended.hosts_left && ended.status.code().is_some();
            let what = exited.then(|| format!("warning: the program {}; {advice}", ended.exit()));
            return Verdict::End(ended.code(), what);
        };
        let culprits: Vec<_> = ended.crashes.iter().filter_map(Crash::culprit).collect();
        let mut is_new = |it: &&Suspect| self.attributed.insert((it.plugin.clone(), it.digest));
        // `count` visits all culprits, so that each of them is added to `attributed`.
        if culprits.iter().filter(|it| is_new(it)).count() > 0 {
            // The next host reports the consequence for the plugin, after it has built its plugins.
            return Verdict::Again(Some(format!(
                "warning: {}: starting it again",
                ended.describe(&culprits)
            )));
        }
        self.unexplained.push_back(now);
        self.unexplained.retain(|at| now.duration_since(*at) < WINDOW);
        if self.unexplained.len() >= PATIENCE {
            let window = humantime::format_duration(WINDOW);
            let what = format!(
                "error: the program {how}; this is the {PATIENCE}th crash within {window} that moving a plugin \
                 to a child process did not prevent, so it is not started again"
            );
            return Verdict::End(ended.code(), Some(what));
        }
        Verdict::Again(Some(format!("warning: the program {how}: starting it again")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::crash_record::Attribution;
    use replug_model::id::Generation;
    use signal_hook::consts::{SIGSEGV, SIGTERM};

    fn by_signal(signal: i32) -> ChildEnd {
        ChildEnd { status: ExitStatus::from_raw(signal), ..ChildEnd::default() }
    }

    fn exited(code: i32) -> ChildEnd {
        by_signal(code << 8)
    }

    fn crash(end: End, digest: u8) -> Crash {
        let suspect = Suspect {
            plugin: "dev.test.bad".parse().unwrap(),
            generation: Generation(1),
            digest: Digest([digest; 32]),
            interface: "Probe".into(),
            method: "misbehave".into(),
            line: None,
            attribution: Attribution::Raised,
        };
        Crash { pid: 1, end, suspects: vec![suspect] }
    }

    fn judged(ended: &ChildEnd) -> Verdict {
        History::default().judge(ended, Instant::now())
    }

    #[test]
    fn a_status_that_is_not_a_crash_is_passed_on() {
        assert_eq!(judged(&exited(0)), Verdict::End(0, None));
        assert_eq!(judged(&exited(3)), Verdict::End(3, None));
        assert_eq!(judged(&by_signal(SIGTERM)), Verdict::End(143, None));
        assert_eq!(
            judged(&by_signal(SIGKILL)),
            Verdict::End(137, None),
            "another process killed it on purpose"
        );
    }

    #[test]
    fn an_out_of_memory_kill_is_a_crash() {
        let killed = ChildEnd { short_of_memory: true, ..by_signal(SIGKILL) };
        let Verdict::Again(Some(what)) = judged(&killed) else { panic!("it is not started again") };
        assert!(what.contains("out of memory"), "{what}");
        let asked = ChildEnd { short_of_memory: true, ..by_signal(SIGTERM) };
        assert_eq!(judged(&asked), Verdict::End(143, None));
    }

    #[test]
    fn an_exit_is_a_crash_if_a_plugin_called_it() {
        let ended = ChildEnd { crashes: vec![crash(End::Exit, 1)], ..exited(0) };
        let words = "warning: dev.test.bad g1 (Probe.misbehave) crashed the program (exit with status 0): starting it again";
        assert_eq!(judged(&ended), Verdict::Again(Some(words.into())));
    }

    #[test]
    fn an_exit_without_a_culprit_is_a_crash_and_names_all_suspects() {
        let mut crash = crash(End::Exit, 1);
        crash.suspects[0].attribution = Attribution::InFlight;
        let other = Suspect { plugin: "dev.test.other".parse().unwrap(), ..crash.suspects[0].clone() };
        crash.suspects.push(other);
        let ended = ChildEnd { crashes: vec![crash], hosts_left: true, ..exited(3) };
        let Verdict::Again(Some(what)) = judged(&ended) else { panic!("it is not started again") };
        for part in
            ["status 3 without shutting its host down", "dev.test.bad g1 (Probe.misbehave), dev.test.other"]
        {
            assert!(what.contains(part), "{what}");
        }
    }

    #[test]
    fn an_exit_without_a_shutdown_of_the_host_is_final_and_reported() {
        let left = |ended| ChildEnd { hosts_left: true, ..ended };
        let Verdict::End(0, Some(what)) = judged(&left(exited(0))) else { panic!("no message") };
        assert!(what.contains("ended with status 0 without shutting its host down"), "{what}");
        assert_eq!(judged(&left(by_signal(SIGTERM))), Verdict::End(143, None));
    }

    #[test]
    fn the_fifth_crash_without_a_culprit_in_a_minute_ends_the_program() {
        let mut history = History::default();
        let begin = Instant::now();
        for _ in 0..4 {
            assert!(matches!(history.judge(&by_signal(SIGSEGV), begin), Verdict::Again(Some(_))));
        }
        let late = begin + WINDOW;
        assert!(
            matches!(history.judge(&by_signal(SIGSEGV), late), Verdict::Again(Some(_))),
            "the earlier crashes no longer count"
        );
        for _ in 0..3 {
            history.judge(&by_signal(SIGSEGV), late);
        }
        let Verdict::End(139, Some(what)) = history.judge(&by_signal(SIGSEGV), late) else {
            panic!("it is started again")
        };
        assert!(what.contains("killed by SIGSEGV") && what.contains("5th crash within 1m"), "{what}");
    }

    #[test]
    fn repeated_crashes_by_one_artifact_count_as_unexplained() {
        let mut history = History::default();
        let now = Instant::now();
        let mut judge = |digest| {
            let crashes = vec![crash(End::Signal("SIGSEGV"), digest)];
            history.judge(&ChildEnd { crashes, ..by_signal(SIGSEGV) }, now)
        };
        for digest in 1..9 {
            let words =
                "warning: dev.test.bad g1 (Probe.misbehave) crashed the program (SIGSEGV): starting it again";
            assert_eq!(
                judge(digest),
                Verdict::Again(Some(words.into())),
                "each crash has a different artifact"
            );
        }
        for _ in 0..4 {
            let Verdict::Again(Some(words)) = judge(1) else { panic!("it is not started again") };
            assert!(words.contains("the program was killed by SIGSEGV"), "{words}");
        }
        assert!(matches!(judge(1), Verdict::End(139, Some(_))));
    }
}
