//! The outcomes of calls, and how often calls failed.

use replug_api::CallError;
use serde::{Deserialize, Serialize};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The call returned a value, or was rejected because its arguments did not fit the method.
    Ok,
    /// The call failed for another reason.
    Failed(Failure),
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The method returned an error.
    Error,
    /// The method panicked.
    Panicked,
    /// The plugin's process ended during the call.
    Crashed,
    /// The call did not return before its deadline.
    Timeout,
    /// The call did not reach the method, or its answer could not be read.
    Lost,
}

impl Failure {
    /// All kinds of failure.
    pub const ALL: [Self; 5] = [Self::Error, Self::Panicked, Self::Crashed, Self::Timeout, Self::Lost];

    /// The name of the failure in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panicked => "panicked",
            Self::Crashed => "crashed",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
        }
    }
}

impl CallEnd {
    /// How a call with this result ended.
    pub fn of<T, E>(result: &Result<T, CallError<E>>) -> Self {
        result.as_ref().map_or_else(Self::of_error, |_| Self::Ok)
    }

    /// How a call with this error ended.
    pub fn of_error<E>(error: &CallError<E>) -> Self {
        Self::Failed(match error {
            CallError::BadArguments { .. } => return Self::Ok,
            CallError::Plugin(_) => Failure::Error,
            CallError::Panicked { .. } => Failure::Panicked,
            CallError::Crashed { .. } => Failure::Crashed,
            CallError::Timeout { .. } => Failure::Timeout,
            _ => Failure::Lost,
        })
    }
}

/// The numbers of failed calls, by kind of failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Failed))]
pub struct Failures {
    /// The method returned an error.
    pub error: u64,
    /// The method panicked.
    pub panicked: u64,
    /// The plugin's process ended during the call.
    pub crashed: u64,
    /// The call did not return before its deadline.
    pub timeout: u64,
    /// The call did not reach the method, or its answer could not be read.
    pub lost: u64,
}

impl Failures {
    /// The number of failures of one kind.
    pub fn of(&self, why: Failure) -> u64 {
        match why {
            Failure::Error => self.error,
            Failure::Panicked => self.panicked,
            Failure::Crashed => self.crashed,
            Failure::Timeout => self.timeout,
            Failure::Lost => self.lost,
        }
    }

    /// The number of all failures.
    pub fn total(&self) -> u64 {
        self.error + self.faults()
    }

    /// The number of failures, without the errors that methods returned.
    pub fn faults(&self) -> u64 {
        self.panicked + self.crashed + self.timeout + self.lost
    }
}

impl From<[u64; 5]> for Failures {
    /// Converts the numbers of failures, in the order of [`Failure::ALL`].
    fn from([error, panicked, crashed, timeout, lost]: [u64; 5]) -> Self {
        Self { error, panicked, crashed, timeout, lost }
    }
}

impl std::ops::AddAssign for Failures {
    fn add_assign(&mut self, other: Self) {
        let sum = Failure::ALL.map(|why| self.of(why) + other.of(why));
        *self = sum.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_classified_by_the_result_that_the_caller_gets() {
        let plugin = String::new;
        let ends: [(Result<(), CallError<u8>>, CallEnd); 6] = [
            (Ok(()), CallEnd::Ok),
            (Err(CallError::Plugin(7)), CallEnd::Failed(Failure::Error)),
            (
                Err(CallError::Timeout { plugin: plugin(), generation: 1, method: plugin(), after_ms: 1 }),
                CallEnd::Failed(Failure::Timeout),
            ),
            (
                Err(CallError::NotImplemented { plugin: plugin(), generation: 1, method: plugin() }),
                CallEnd::Failed(Failure::Lost),
            ),
            (
                Err(CallError::BadArguments { plugin: plugin(), method: plugin(), message: plugin() }),
                CallEnd::Ok,
            ),
            (Err(CallError::Unknown(plugin())), CallEnd::Failed(Failure::Lost)),
        ];
        for (result, end) in ends {
            assert_eq!(CallEnd::of(&result), end, "{result:?}");
        }
    }

    #[test]
    fn an_error_that_a_method_returns_is_a_failure_and_not_a_fault() {
        let mut failures = Failures::from([1, 2, 3, 4, 5]);
        failures += Failures { error: 10, lost: 1, ..Failures::default() };
        assert_eq!((failures.total(), failures.faults()), (26, 15));
        assert_eq!(Failure::ALL.map(|why| failures.of(why)), [11, 2, 3, 4, 6]);
    }
}
