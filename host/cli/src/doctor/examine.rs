//! The checks of `replug doctor`, and their findings.
//!
//! Each check reads facts about this machine and passes them to a function that makes the finding. So tests can pass
//! the facts of other machines to these functions. A check never fails. If a fact cannot be determined, the finding
//! states this.

mod system;
#[cfg(test)]
mod tests;
mod toolchain;

use replug_engine::preflight::Budget;
use serde::Serialize;

/// The severity of a finding.
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
    /// The severity of the finding.
    pub(super) status: Status,
    /// What was found.
    pub(super) found: String,
    /// The drawback for users of replug, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost: Option<String>,
    /// How to remove the drawback.
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
/// versions, which takes tens of milliseconds.
pub(super) fn examine(budget: &Budget) -> Vec<Finding> {
    let mut findings = toolchain::examine();
    findings.extend(system::examine(budget));
    findings
}
