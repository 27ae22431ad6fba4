//! What the kinds of events are called, without writing one.

use super::EventKind;

impl EventKind {
    /// Its name, as the field `event` has it in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::HostStarted { .. } => "host_started",
            Self::PluginDiscovered { .. } => "plugin_discovered",
            Self::DiscoveryFailed { .. } => "discovery_failed",
            Self::BuildStarted { .. } => "build_started",
            Self::BuildProgress(_) => "build_progress",
            Self::BuildFailed { .. } => "build_failed",
            Self::BuildSuperseded => "build_superseded",
            Self::BuildUnchanged { .. } => "build_unchanged",
            Self::Reloaded { .. } => "reloaded",
            Self::LimitsApplied(_) => "limits_applied",
            Self::ReloadFailed { .. } => "reload_failed",
            Self::GenerationRetired { .. } => "generation_retired",
            Self::RolledBack { .. } => "rolled_back",
            Self::CallResult { .. } => "call_result",
            Self::Configured { .. } => "configured",
            Self::ConfigureFailed { .. } => "configure_failed",
            Self::PluginPanicked { .. } => "plugin_panicked",
            Self::PluginCrashed { .. } => "plugin_crashed",
            Self::PluginRestarted { .. } => "plugin_restarted",
            Self::PluginStuck { .. } => "plugin_stuck",
            Self::PluginDemoted { .. } => "plugin_demoted",
            Self::PluginQuarantined { .. } => "plugin_quarantined",
            Self::HostCrashed { .. } => "host_crashed",
            Self::CheckpointLost { .. } => "checkpoint_lost",
            Self::PluginStopped { .. } => "plugin_stopped",
            Self::Log { .. } => "log",
            Self::ConfigChanged { .. } => "config_changed",
            Self::ConfigRefused { .. } => "config_refused",
            Self::ControlListening { .. } => "control_listening",
            Self::Audit { .. } => "audit",
            Self::HostStopped => "host_stopped",
            Self::EventsLost { .. } => "events_lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stages;
    use serde_json::{Value, json};

    /// All fields that any kind needs.
    fn of_all_kinds() -> Value {
        json!({
            "plugins_dir": "", "running": 0, "path": "", "error": "", "diagnostics": [], "total_ms": 0.0,
            "stages": Stages::default(), "stage": "load", "outcome": "kept", "from": 1, "reason": "",
            "method": "", "how": "", "message": "", "location": "", "thread": "", "stderr_tail": "",
            "deaths": 0, "thread_id": 0, "for_ms": 0, "in_flight": [], "level": "", "target": "",
            "fields": {}, "applied": [], "restart_needed": [], "who": "", "command": "", "count": 0,
            "bounds": [], "doing": "",
        })
    }

    #[test]
    fn each_kind_is_called_what_it_is_called_in_json() {
        let error = serde_json::from_value::<EventKind>(json!({ "event": "" })).unwrap_err().to_string();
        let names: Vec<_> = error.split('`').skip(3).step_by(2).collect();
        assert!(names.len() > 20, "{error}");
        for name in names {
            let mut event = of_all_kinds();
            event["event"] = json!(name);
            let kind: EventKind =
                serde_json::from_value(event).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(kind.name(), name);
        }
    }
}
