//! Filters events for a reader.

use super::error::{Code, ControlError};
use replug_engine::{EventKind, PluginId, suggest};

/// The events that a reader wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) plugin: Option<PluginId>,
    /// The names of the wanted kinds, as in JSON. Empty for all kinds.
    pub(crate) kinds: Vec<String>,
}

impl Filter {
    /// Parses a comma-separated list of kinds. An error if a name is unknown.
    pub(crate) fn kinds(list: &str) -> Result<Vec<String>, ControlError> {
        let kinds: Vec<_> = list.split(',').map(str::trim).filter(|kind| !kind.is_empty()).collect();
        match kinds.iter().find(|kind| !EventKind::NAMES.contains(kind)) {
            Some(unknown) => {
                let suggestion = suggest::among(unknown, EventKind::NAMES.iter().copied());
                let text = format!("`kind`: no event is called `{unknown}`{suggestion}");
                Err(ControlError::new(Code::BadInput, text))
            }
            None => Ok(kinds.into_iter().map(str::to_owned).collect()),
        }
    }

    /// Whether the reader wants an event, given the name of its kind and its plugin. The reader gets `host_stopped` and
    /// `events_lost` in any case.
    pub(crate) fn wants(&self, kind: &str, plugin: Option<&PluginId>) -> bool {
        if ["host_stopped", "events_lost"].contains(&kind) {
            return true;
        }
        let is_of_plugin = self.plugin.is_none() || self.plugin.as_ref() == plugin;
        is_of_plugin && (self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kind_is_rejected_with_a_similar_kind() {
        assert_eq!(Filter::kinds("reloaded, log").unwrap(), ["reloaded", "log"]);
        assert!(Filter::kinds("").unwrap().is_empty());
        let error = Filter::kinds("relaoded").unwrap_err().message;
        assert_eq!(error, "`kind`: no event is called `relaoded`; did you mean `reloaded`?");
        assert_eq!(Filter::kinds(&EventKind::NAMES.join(",")).unwrap(), EventKind::NAMES);
    }
}
