//! The settings of the manifest that the lifecycle applies.

use crate::manifest::{Manifest, Mode};
use std::time::Duration;

/// The settings of the manifest in force that the lifecycle applies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) mode: Mode,
    /// The pause before the first restart. The pause doubles before each further restart.
    pub(crate) restart_pause: Duration,
    /// The number of failures within `death_window` after which the version is quarantined.
    pub(crate) max_deaths: u64,
    /// The time within which failures are counted.
    pub(crate) death_window: Duration,
    /// How a new version is watched until it is confirmed. If `None`, a new version is confirmed immediately.
    pub(crate) confirm: Option<Confirm>,
    /// The interval at which the plugin's state is saved. If `None`, the state is not saved.
    pub(crate) checkpoint: Option<Duration>,
}

impl Policy {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let (process, reload) = (&manifest.process, &manifest.reload);
        Self {
            mode: manifest.mode,
            restart_pause: process.restart_pause,
            max_deaths: process.max_deaths,
            death_window: process.death_window,
            confirm: reload.confirm.as_ref().map(|spec| Confirm {
                window: spec.window,
                max_error_rate: spec.max_error_rate,
                min_calls: spec.min_calls,
            }),
            checkpoint: reload.checkpoint,
        }
    }
}

/// How a new version is watched until it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Confirm {
    pub(crate) window: Duration,
    /// The share of failed calls, from 0 to 1, above which a version is rolled back, if there is an earlier version.
    pub(crate) max_error_rate: f64,
    /// The number of calls below which a version is not judged by its calls.
    pub(crate) min_calls: u64,
}
