//! The data that a host passes to an instance, and the check whether a caller still waits.

use crate::{abi::CreateParams, bridge};
use std::path::{Path, PathBuf};

/// The data that a host passes to an instance. Cheap to clone and to keep.
#[derive(Clone, Debug)]
pub struct Context {
    id: String,
    generation: u64,
    data_dir: PathBuf,
    trial: bool,
}

impl Context {
    /// A context like that of the host, for a plugin's own tests.
    ///
    /// ```
    /// let context = replug_api::Context::new("dev.example.plugin", 1, std::env::temp_dir());
    /// assert_eq!(context.id(), "dev.example.plugin");
    /// ```
    pub fn new(id: impl Into<String>, generation: u64, data_dir: impl Into<PathBuf>) -> Self {
        Self { id: id.into(), generation, data_dir: data_dir.into(), trial: false }
    }

    pub(crate) fn of(params: &CreateParams) -> Self {
        let context = Self::new(params.id.as_str(), params.generation, params.data_dir.as_str());
        if params.trial { context.on_trial() } else { context }
    }

    /// The same context, but for an instance that is created for a trial and discarded.
    #[must_use]
    pub fn on_trial(self) -> Self {
        Self { trial: true, ..self }
    }

    /// The plugin's id, such as `dev.replug.calculator`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The number of this generation of the plugin: 1, 2, ... . A host never reuses a number.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The folder for the plugin's own data, which outlives every generation.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whether this instance is created for a trial: the host tries a version of the plugin in a child process, and
    /// discards the instance before it lets the version serve calls.
    ///
    /// If `init` has a step that must not happen twice, such as sending a message, it must skip that step in a trial.
    ///
    /// ```
    /// let context = replug_api::Context::new("dev.example.plugin", 2, std::env::temp_dir());
    /// assert!(!context.is_trial());
    /// assert!(context.on_trial().is_trial());
    /// ```
    pub fn is_trial(&self) -> bool {
        self.trial
    }
}

/// Whether the calling thread runs a method whose caller no longer waits for the result.
///
/// A caller waits as long as the `call_timeout` of the manifest or its own deadline allows. A method that may take long
/// should call this function regularly, and return early if it returns true; the method's result is then dropped. If
/// such a method runs in a child process and does not return within `cancel_grace`, the host kills the process and
/// starts it again. In the host's process, no call can be aborted, and the result is true only in calls by name that
/// were awaited with a deadline.
///
/// The check applies to the thread of the call: on the plugin's own threads, in its lifecycle steps and in its tests
/// the result is false.
///
/// ```
/// /// The primes below `limit`; only some of them if the caller no longer waits.
/// fn primes(limit: u32) -> Vec<u32> {
///     let is_prime = |n: &u32| (2..*n).all(|divisor| n % divisor != 0);
///     (2..limit).take_while(|_| !replug_api::is_cancelled()).filter(is_prime).collect()
/// }
/// assert_eq!(primes(12), [2, 3, 5, 7, 11]);
/// ```
pub fn is_cancelled() -> bool {
    bridge::is_cancelled()
}
