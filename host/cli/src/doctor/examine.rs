//! What `replug doctor` finds on this machine: what is there, what is missing, and what that costs.
//!
//! Each examination reads something and hands it to a function that judges it, so that the judgement can be tested on
//! machines that lack nothing. An examination never fails; what cannot be found out is a finding too.

mod system;
#[cfg(test)]
mod tests;
mod toolchain;

use replug::preflight::Budget;
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// replug works, at the cost that the finding names.
    Warn,
    /// replug cannot do its work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) name: &'static str,
    /// How bad it is.
    pub(super) status: Status,
    /// What was found.
    pub(super) found: String,
    /// What it costs that it is as it is.
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

/// Looks at the toolchain, the system and the budgets of this process. Runs `cargo`, `rustc` and `cc` to ask for their
/// versions; takes some tens of milliseconds.
pub(super) fn examine(budget: &Budget) -> Vec<Finding> {
    let mut findings = toolchain::examine();
    findings.extend(system::examine(budget));
    findings
}
