//! The rules of effects.

use super::{super::Command, Expected, Watch};
use crate::lifecycle::{Effect, ReportTime};
use std::time::Instant;

impl Watch {
    /// Records when a failure is reported.
    pub(in super::super) fn is_reported(&mut self, time: ReportTime) {
        self.postponed += u32::from(time == ReportTime::Later);
    }

    pub(in super::super) fn does(&mut self, now: Instant, effect: Effect, tried: Option<u8>) {
        match effect {
            Effect::Refuse(ticket) => {
                let command = self.open.get(&ticket).copied();
                let is_pointless = matches!(
                    command,
                    Some(
                        Command::Save
                            | Command::Edit
                            | Command::Reload
                            | Command::Start
                            | Command::HostStart
                            | Command::Rollback
                            | Command::Configure
                    )
                );
                let stops = self.open.values().any(|command| *command == Command::Stop);
                self.rule(is_pointless && stops, || format!("{ticket:?} is rejected: {command:?}"));
                self.answered(ticket);
            }
            Effect::ExpectRestart(at) => {
                let (restart, longest) = (self.restart, (self.policy().restart_pause * 66).max(at - now));
                let is_so = restart.is_some_and(|(_, due, _)| due <= at && at - now <= longest);
                self.rule(is_so, || {
                    format!("callers wait until {at:?}, and the expected restart is {restart:?}")
                });
            }
            Effect::ReportCrash { version, restart_in, .. } => {
                self.crashes += 1;
                let is_so = restart_in.is_some() == self.restart.is_some() || self.current.is_some();
                self.rule(is_so, || format!("{version:?}: a restart in {restart_in:?} is reported"));
            }
            Effect::ReportTakenBack { from, .. } => {
                let version = self.taken_back.take();
                let is_so = version == Some(from);
                self.rule(is_so, || format!("{from:?} is reported as rolled back instead of {version:?}"));
                (self.source_is_wrong, self.explained) = (true, tried);
            }
            Effect::ReportNothingEarlier => {
                let expected = self.expected.take();
                let is_so = expected == Some(Expected::NothingEarlier);
                self.rule(is_so, || format!("no earlier version is reported, but expected is {expected:?}"));
            }
            Effect::RememberGood => {
                let (expected, unproven) = (self.expected.take(), self.unproven.take());
                let is_so = expected == Some(Expected::Trust) && unproven.is_none_or(|until| until <= now);
                self.rule(is_so, || format!("the version is confirmed, but expected is {expected:?}"));
            }
            Effect::ReportUnclearBuild => {
                let is_due = std::mem::take(&mut self.reports_build);
                self.rule(is_due, || "a build is reported although the manifest is missing".into());
            }
            Effect::ReportMoved => {
                let is_news = std::mem::take(&mut self.reports_move);
                self.rule(is_news, || "a move to a child process is reported needlessly".into());
            }
            Effect::ReportFailures => {
                let postponed = std::mem::take(&mut self.postponed);
                self.rule(postponed > 0, || "there is no postponed report".into());
            }
            Effect::CountRestart => {
                self.rule(self.is_wanted, || "a plugin that should not run was restarted".into());
            }
            Effect::ReportRestart { deaths } => {
                self.rule(deaths > 0, || "a restart is reported, but no process has exited".into());
            }
            Effect::ReportStateLost(reason) => {
                let expected = self.reports_loss.take();
                let remains = reason.ends_with("with its last checkpoint");
                self.rule(expected == Some(remains), || {
                    format!(
                        "{reason:?} is reported; a state was lost, and a checkpoint remains: {expected:?}"
                    )
                });
            }
            Effect::Quarantine { .. }
            | Effect::ReportSuperseded { .. }
            | Effect::WarnOfUnstable(_)
            | Effect::Demote { .. }
            | Effect::LiftQuarantine
            | Effect::LiftDemotions
            | Effect::RememberWanted(_)
            | Effect::Publish(_)
            | Effect::ForgetState
            | Effect::LoseCheckpoint(_)
            | Effect::KeepState
            | Effect::NoteState
            | Effect::DiscardState => unreachable!("`World::apply` handles this effect"),
        }
    }
}
