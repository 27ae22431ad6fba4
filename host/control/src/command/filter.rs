//! Filters events for a reader.

use super::error::{Code, ControlError};
use replug_engine::{EventKind, PluginId, event::EventName, suggest};

/// Which events a reader gets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) plugin: Option<PluginId>,
    /// The selected kinds. Empty for all kinds.
    pub(crate) kinds: Vec<EventName>,
}

impl Filter {
    /// Parses a comma-separated list of kinds. An error if a name is unknown.
    pub(crate) fn kinds(list: &str) -> Result<Vec<EventName>, ControlError> {
        let kinds = list.split(',').map(str::trim).filter(|kind| !kind.is_empty());
        let parse = |kind| {
            EventName::parse(kind).ok_or_else(|| {
                let suggestion = suggest::among(kind, EventKind::NAMES.iter().copied());
                let text = format!("`kind`: no event is called `{kind}`{suggestion}");
                ControlError::new(Code::BadInput, text)
            })
        };
        kinds.map(parse).collect()
    }

    /// Whether the filter selects an event of this kind and this plugin. The reader gets `host_stopped` and
    /// `events_lost` in any case.
    pub(crate) fn wants(&self, kind: EventName, plugin: Option<&PluginId>) -> bool {
        if let EventName::HostStopped | EventName::EventsLost = kind {
            return true;
        }
        let is_of_plugin = self.plugin.is_none() || self.plugin.as_ref() == plugin;
        is_of_plugin && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kind_is_rejected_and_a_similar_kind_is_suggested() {
        assert_eq!(Filter::kinds("reloaded, log").unwrap(), [EventName::Reloaded, EventName::Log]);
        assert!(Filter::kinds("").unwrap().is_empty());
        let error = Filter::kinds("relaoded").unwrap_err().message;
        assert_eq!(error, "`kind`: no event is called `relaoded`; did you mean `reloaded`?");
        assert_eq!(Filter::kinds(&EventKind::NAMES.join(",")).unwrap(), EventName::ALL);
    }
}
