//! The names of the kinds of events. Each name is declared once, and the compiler checks that no kind is missing.

use super::EventKind;
use std::fmt;

macro_rules! names {
    ($($kind:ident = $name:literal,)*) => {
        /// The name of a kind of event: an [`EventKind`] without its data.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum EventName {
            $(#[doc = concat!("`", $name, "`")] $kind,)*
        }

        impl EventName {
            /// All names.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The name in JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }

        impl EventKind {
            /// The names of all kinds, as in the JSON field `event`.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The name of the kind.
            pub fn name(&self) -> EventName {
                match self {
                    $(Self::$kind { .. } => EventName::$kind,)*
                }
            }
        }
    };
}

names! {
    HostStarted = "host_started",
    PluginDiscovered = "plugin_discovered",
    DiscoveryFailed = "discovery_failed",
    BuildStarted = "build_started",
    BuildProgress = "build_progress",
    BuildFailed = "build_failed",
    BuildSuperseded = "build_superseded",
    BuildUnchanged = "build_unchanged",
    Reloaded = "reloaded",
    LimitsApplied = "limits_applied",
    ReloadFailed = "reload_failed",
    GenerationRetired = "generation_retired",
    RolledBack = "rolled_back",
    CallResult = "call_result",
    Configured = "configured",
    ConfigureFailed = "configure_failed",
    PluginPanicked = "plugin_panicked",
    PluginCrashed = "plugin_crashed",
    PluginRestarted = "plugin_restarted",
    PluginStuck = "plugin_stuck",
    PluginDemoted = "plugin_demoted",
    PluginQuarantined = "plugin_quarantined",
    HostCrashed = "host_crashed",
    CheckpointLost = "checkpoint_lost",
    PluginStopped = "plugin_stopped",
    Log = "log",
    ConfigChanged = "config_changed",
    ConfigRefused = "config_refused",
    ControlListening = "control_listening",
    Audit = "audit",
    HostStopped = "host_stopped",
    EventsLost = "events_lost",
}

impl EventName {
    /// The kind with this name in JSON; `None` if there is none, for example because a host of another version of
    /// replug has emitted the event.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.as_str() == name)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stages;
    use serde_json::{Value, json};

    /// All fields of all kinds.
    fn of_all_kinds() -> Value {
        json!({
            "plugins_dir": "", "running": 0, "path": "", "error": "", "diagnostics": [], "total_ms": 0.0,
            "stages": Stages::default(), "stage": "load", "outcome": "kept", "from": 1, "reason": "",
            "method": "", "how": "live", "message": "", "location": "", "thread": "", "stderr_tail": "",
            "deaths": 0, "thread_id": 0, "for_ms": 0, "in_flight": [], "level": "", "target": "",
            "fields": {}, "applied": [], "restart_needed": [], "who": "", "command": "", "count": 0,
            "bounds": [], "doing": "",
        })
    }

    #[test]
    fn each_event_kind_has_its_json_name() {
        let error = serde_json::from_value::<EventKind>(json!({ "event": "" })).unwrap_err().to_string();
        let names: Vec<_> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(names, EventKind::NAMES, "`NAMES` is in the order of the enum");
        for name in names {
            let mut event = of_all_kinds();
            event["event"] = json!(name);
            let kind: EventKind =
                serde_json::from_value(event).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(kind.name().as_str(), name);
            assert_eq!(EventName::parse(name), Some(kind.name()));
        }
    }
}
