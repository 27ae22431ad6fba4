//! The rules of the lifecycle: computes the expected outputs independently, and records the first violated rule.

mod builds;
mod deaths;
mod due;
mod effects;

use super::{Command, texts::Says};
use crate::{
    id::Digest,
    lifecycle::{CommandKind, Input, Intent, Lifecycle, Policy, Service, Ticket, VersionId, Work},
};
use builds::{At, Builds};
use due::Due;
use std::{collections::BTreeMap, path::PathBuf, time::Instant};

/// The expected state of the lifecycle, and the first violated rule.
pub(super) struct Watch {
    /// The description of the first violated rule.
    wrong: Option<String>,
    /// The whole history as text, if the history will be printed.
    notes: Option<Vec<String>>,
    /// The manifest that is in force.
    pub(super) in_force: Says,
    /// The manifest that was read last.
    pub(super) latest: Says,
    /// The configuration that was set by a command, and the configuration that the manifest had then.
    pub(super) overridden: Option<(u64, u64)>,
    /// The number of reported crashes.
    pub(super) crashes: u32,
    /// Whether the next step has to report a build that failed while the manifest was missing.
    pub(super) reports_build: bool,
    /// Whether the next step has to report that the version runs in a child process.
    pub(super) reports_move: bool,
    /// If the next step has to report that a state was not saved: whether a checkpoint remains.
    pub(super) reports_loss: Option<bool>,
    /// The number of failures whose reports were postponed.
    pub(super) postponed: u32,
    /// The number of consecutive builds that have failed since an edit.
    pub(super) failed_builds: u32,
    /// Whether the plugin should run, according to the commands that were carried out.
    pub(super) is_wanted: bool,
    /// The commands that have not been answered yet.
    open: BTreeMap<Ticket, Command>,
    /// The last command that was passed to the lifecycle.
    received: Option<Ticket>,
    /// The command that is being carried out.
    under_way: Option<Ticket>,
    /// The build in progress.
    builds: Option<Builds>,
    /// The number of compilations.
    pub(super) compiles: u64,
    /// For each folder, the number of compilations that changes in the folder have superseded.
    superseded: BTreeMap<PathBuf, u32>,
    /// The same number, counted since the last compilation that was not superseded.
    superseded_in_a_row: BTreeMap<PathBuf, u32>,
    /// A file, or the folder of a new file, and the number of consecutive builds that were repeated because of it.
    repeated_in_a_row: Option<(PathBuf, u32)>,
    has_task: bool,
    /// Whether the version that served was stopped to make room for a version that does not serve yet.
    pub(super) is_on_the_way: bool,
    /// The serving version, according to the inputs of the lifecycle.
    current: Option<VersionId>,
    /// The version that serves, or served last since the last stop.
    pub(super) last: Option<VersionId>,
    /// Whether the plugin runs, or is about to be restarted.
    pub(super) is_up: bool,
    /// The state that was saved at a stop and with which the next version has to begin.
    pub(super) promised: Option<u64>,
    /// Whether a state may be discarded now.
    pub(super) may_give_up: bool,
    /// The time until which the serving version is watched. `None` if it is not watched.
    unproven: Option<Instant>,
    /// When the serving version causes work.
    due: Due,
    /// The output that the next step must have.
    expected: Option<Expected>,
    failures: Vec<(Digest, Instant)>,
    /// The expected restart: its artifact, its earliest time, and the version that it rolls back, if any.
    restart: Option<(Digest, Instant, Option<VersionId>)>,
    /// The version that has to be reported as rolled back when the running task has ended.
    taken_back: Option<VersionId>,
    /// Whether the newest source is faulty.
    source_is_wrong: bool,
    /// The source whose fault was reported last.
    explained: Option<u8>,
    /// Whether the manifest that was read last is not in force yet.
    pub(super) is_pending: bool,
    /// Whether a user has chosen the serving version by a rollback.
    is_chosen: bool,
}

/// An output that a step must have.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Quarantine(Digest),
    GoBack(Digest),
    NothingEarlier,
    Trust,
}

impl Watch {
    pub(super) fn new(says: Says, verbose: bool) -> Self {
        Self {
            wrong: None,
            notes: verbose.then(Vec::new),
            in_force: says,
            latest: says,
            overridden: None,
            crashes: 0,
            reports_build: false,
            reports_move: false,
            reports_loss: None,
            postponed: 0,
            failed_builds: 0,
            is_wanted: false,
            open: BTreeMap::new(),
            received: None,
            under_way: None,
            builds: None,
            compiles: 0,
            superseded: BTreeMap::new(),
            superseded_in_a_row: BTreeMap::new(),
            repeated_in_a_row: None,
            has_task: false,
            is_on_the_way: false,
            current: None,
            last: None,
            is_up: false,
            promised: None,
            may_give_up: false,
            unproven: None,
            due: Due::default(),
            expected: None,
            failures: Vec::new(),
            restart: None,
            taken_back: None,
            source_is_wrong: false,
            explained: None,
            is_pending: false,
            is_chosen: false,
        }
    }

    /// The result of the history. The error is the first violated rule, preceded by the history if it was recorded.
    pub(super) fn verdict(self) -> Result<(), String> {
        let Some(wrong) = self.wrong else { return Ok(()) };
        Err(self.notes.into_iter().flatten().chain([wrong]).collect::<Vec<_>>().join("\n"))
    }

    /// Adds a line to the printed history.
    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if let (Some(notes), None) = (&mut self.notes, &self.wrong) {
            notes.push(what());
        }
    }

    /// Checks a rule. `or_else` describes its violation.
    pub(super) fn rule(&mut self, holds: bool, or_else: impl FnOnce() -> String) {
        if !holds && self.wrong.is_none() {
            self.wrong = Some(or_else());
        }
    }

    fn policy(&self) -> Policy {
        self.in_force.policy
    }

    pub(super) fn given(&mut self, ticket: Ticket, command: Command) {
        self.note(|| format!("given: {command:?} as {ticket:?}"));
        self.open.insert(ticket, command);
    }

    fn answered(&mut self, ticket: Ticket) {
        let was_open = self.open.remove(&ticket).is_some();
        self.rule(was_open, || format!("{ticket:?} is answered twice"));
    }

    pub(super) fn all_are_answered(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.rule(open.is_empty(), || format!("these commands were never answered: {open:?}"));
    }

    /// Records an input that is passed to the lifecycle.
    pub(super) fn takes(&mut self, input: &Input) {
        match input {
            Input::TaskEnded { serves: false } => (self.has_task, self.taken_back) = (false, None),
            Input::TaskEnded { .. } | Input::Calls { .. } | Input::CheckpointEnded { late: false } => {
                self.has_task = false;
            }
            Input::CheckpointEnded { late: true } => {
                self.has_task = false;
                self.saves_no_more();
            }
            Input::Finished => self.under_way = None,
            Input::Command(ticket, _) => self.received = Some(*ticket),
            _ => self.build_takes(input),
        }
    }

    /// Checks the work that the lifecycle requests.
    pub(super) fn begins(&mut self, work: Option<&Work>, commands: &BTreeMap<Ticket, Command>) {
        let mut known = self.open.iter().filter(|(ticket, _)| Some(**ticket) <= self.received);
        let is_overtaken = known.any(|(_, command)| *command == Command::Stop);
        let builds_on = matches!(work, Some(Work::WaitForGit | Work::Compile { .. } | Work::Pause));
        self.rule(!(builds_on && is_overtaken), || format!("{work:?} is requested while a stop waits"));
        match work {
            None
            | Some(
                Work::GoOn(_)
                | Work::BuildChange(_)
                | Work::ReadManifest { .. }
                | Work::LookForManifest
                | Work::ReportAgain(_)
                | Work::Configure(_)
                | Work::Rewatch { .. }
                | Work::BringUp
                | Work::ServeStored { .. }
                | Work::AnswerStart
                | Work::BuildSource
                | Work::EndStart
                | Work::Install(..)
                | Work::BringBack(_)
                | Work::EndInstall(_)
                | Work::RollBack(_)
                | Work::EndService { .. },
            ) => {}
            Some(Work::CarryOut(ticket)) => {
                let is_free = self.under_way.is_none() && !self.has_task;
                self.rule(is_free, || format!("{ticket:?} is carried out during other work"));
                let first = self.open.keys().next().copied();
                self.rule(first == Some(*ticket), || format!("{ticket:?} overtakes {first:?}"));
                self.answered(*ticket);
                self.under_way = Some(*ticket);
                if commands[ticket] == Command::Stop {
                    self.rests();
                }
            }
            Some(Work::CancelBuild) => {
                let stops = self.open.values().any(|command| *command == Command::Stop);
                let builds = self.builds.take().is_some();
                self.row_ends();
                self.rule(builds && stops, || "a build is cancelled without a stop".into());
                let known = self.open.iter().filter(|(ticket, _)| Some(**ticket) <= self.received);
                let mut pointless = known.filter(|(_, command)| {
                    !matches!(command.kind(), CommandKind::Stop | CommandKind::Notice)
                });
                let left = pointless.next().map(|(ticket, _)| *ticket);
                self.rule(left.is_none(), || format!("a stop leaves {left:?} waiting"));
                self.rests();
            }
            Some(work) if work.is_of_a_build() => self.build_does(work, commands),
            Some(task) => {
                let is_free = !self.has_task && (self.under_way.is_none() || self.builds.is_some());
                self.rule(is_free, || format!("{task:?} is requested during other work"));
                self.has_task = true;
                if let Work::GoBack { to } = *task {
                    let expected = self.expected.take();
                    let is_so = expected == Some(Expected::GoBack(to));
                    self.rule(is_so, || {
                        format!("the plugin is rolled back to {to:?}, but expected is {expected:?}")
                    });
                    self.taken_back = self.current;
                }
            }
        }
    }

    fn rests(&mut self) {
        self.is_wanted = false;
        self.restart = None;
    }

    /// Checks the state of the lifecycle after each step.
    pub(super) fn intends(&mut self, machine: &Lifecycle) {
        let is_wanted = machine.intent == Intent::Run;
        self.rule(is_wanted == self.is_wanted, || format!("the intent to run is {is_wanted}"));
        let restarts = matches!(machine.service, Service::Backoff { .. });
        self.rule(is_wanted || !restarts, || "a plugin that should not run is about to be restarted".into());
        let (is, own) = (machine.faults().of_source(), self.source_is_wrong);
        self.rule(is == own, || format!("a fault of the newest source is recorded: {is}"));
        let is_silent = std::mem::take(&mut self.reports_build) | std::mem::take(&mut self.reports_move);
        self.rule(!is_silent, || "a failed build or a move to a child process is not reported".into());
        let is_lost = self.reports_loss.take().is_some();
        self.rule(!is_lost, || "a state that was not saved is not reported".into());
        let expected = self.expected.take();
        self.rule(expected.is_none(), || format!("the step does not have the output {expected:?}"));
    }

    pub(super) fn considered(&mut self, ticket: Ticket) {
        self.answered(ticket);
    }

    pub(super) fn wanted(&mut self) {
        self.is_wanted = true;
    }

    pub(super) fn quarantine_lifted(&mut self) {
        self.failures.clear();
    }

    pub(super) fn accepts(&mut self, now: Instant, says: Says) {
        let before = self.policy();
        (self.in_force, self.latest, self.is_pending) = (says, says, false);
        if says.policy.confirm.is_none() {
            self.unproven = None;
        }
        self.due_after(now, before);
    }

    pub(super) fn stopped(&mut self) {
        (self.current, self.unproven, self.source_is_wrong) = (None, None, false);
        (self.last, self.is_up) = (None, false);
        self.failures.clear();
    }

    pub(super) fn unwatched(&mut self) {
        self.unproven = None;
    }

    pub(super) fn lost(&mut self) {
        (self.current, self.unproven, self.is_up) = (None, None, false);
    }

    pub(super) fn gives_up_a_state(&mut self) {
        let may = std::mem::take(&mut self.may_give_up);
        self.rule(may, || "a usable state is discarded".into());
    }

    pub(super) fn is_watched(&self) -> bool {
        self.unproven.is_some()
    }

    pub(super) fn serves(
        &mut self,
        (now, version, stateful): (Instant, VersionId, bool),
        (unproven, is_newest): (bool, bool),
    ) {
        (self.current, self.restart) = (Some(version), None);
        (self.last, self.is_up, self.promised) = (Some(version), true, None);
        let window = self.policy().confirm.filter(|_| unproven).map(|confirm| confirm.window);
        self.unproven = window.map(|window| now + window);
        self.due_from(now, stateful, window);
        // A version that is not watched is confirmed immediately.
        self.expected = window.is_none().then_some(Expected::Trust);
        self.failures.retain(|(digest, _)| *digest == version.digest);
        if is_newest {
            self.newest_serves();
        }
    }

    /// Whether a reported fault explains why this source does not serve.
    pub(super) fn is_explained(&self, source: u8) -> bool {
        self.explained == Some(source)
    }

    pub(super) fn source_fails(&mut self, source: u8) {
        (self.source_is_wrong, self.explained) = (true, Some(source));
    }

    pub(super) fn is_down(&mut self, source: u8) {
        self.explained = Some(source);
    }

    pub(super) fn is_chosen(&mut self) {
        self.is_chosen = true;
    }

    pub(super) fn was_chosen(&self) -> bool {
        self.is_chosen
    }

    pub(super) fn is_edited(&mut self) {
        self.is_chosen = false;
    }

    pub(super) fn newest_serves(&mut self) {
        (self.source_is_wrong, self.is_chosen) = (false, false);
    }
}
