//! The findings of `replug doctor`: what this machine has, what it lacks, and what follows from that.
//!
//! Each check reads something and passes it to a function that judges it, so that tests can judge data from machines
//! that lack something. A check never fails; if something cannot be determined, that is a finding, too.

mod system;
#[cfg(test)]
mod tests;
mod toolchain;

use replug_engine::preflight::Budget;
use serde::Serialize;

/// The severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// No problem.
    Ok,
    /// replug works, with the drawback that the finding names.
    Warn,
    /// replug cannot work.
    Fail,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was checked.
    pub(super) name: &'static str,
    /// The severity.
    pub(super) status: Status,
    /// What was found.
    pub(super) found: String,
    /// The drawback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), cost: None, remedy: None }
    }

    fn warn(name: &'static str, found: impl Into<String>) -> Self {
        Self { status: Status::Warn, ..Self::ok(name, found) }
    }

    fn fail(name: &'static str, found: impl Into<String>) -> Self {
        Self { status: Status::Fail, ..Self::ok(name, found) }
    }

    fn costs(self, cost: impl Into<String>) -> Self {
        Self { cost: Some(cost.into()), ..self }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// Checks the toolchain, the system and the limits of this process. Runs `cargo`, `rustc` and `cc` to get their
/// versions; takes some tens of milliseconds.
pub(super) fn examine(budget: &Budget) -> Vec<Finding> {
    let mut findings = toolchain::examine();
    findings.extend(system::examine(budget));
    findings
}
