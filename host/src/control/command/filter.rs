//! Which events someone wants to read.

use super::error::{Code, ControlError};
use crate::{EventKind, id::PluginId};
use serde_json::json;

/// Which events a reader wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) plugin: Option<PluginId>,
    /// Kinds by their names in JSON; all if empty.
    pub(crate) kinds: Vec<String>,
}

impl Filter {
    /// Reads a list of kinds with commas between them.
    pub(crate) fn kinds(list: &str) -> Result<Vec<String>, ControlError> {
        let kinds: Vec<_> = list.split(',').map(str::trim).filter(|kind| !kind.is_empty()).collect();
        match kinds.iter().find_map(|kind| unknown(kind)) {
            Some(error) => Err(ControlError::new(Code::BadInput, format!("`kind`: {error}"))),
            None => Ok(kinds.into_iter().map(str::to_owned).collect()),
        }
    }

    /// Whether an event is wanted, by the name of its kind and its plugin.
    pub(crate) fn wants(&self, kind: &str, plugin: Option<&PluginId>) -> bool {
        if ["host_stopped", "events_lost"].contains(&kind) {
            return true;
        }
        let is_of_plugin = self.plugin.is_none() || self.plugin.as_ref() == plugin;
        is_of_plugin && (self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind))
    }
}

/// What is said of a kind that there is not. The one list of kinds is the enum, and this is how it tells: by the error
/// that names them all.
fn unknown(kind: &str) -> Option<String> {
    let error = serde_json::from_value::<EventKind>(json!({ "event": kind })).err()?.to_string();
    error.starts_with("unknown variant").then_some(error)
}

/// The names of all kinds.
pub(crate) fn all_kinds() -> Vec<String> {
    let told = unknown("").unwrap_or_default();
    // The first name that is quoted is the one that is not known.
    told.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kind_is_refused_with_those_that_there_are() {
        assert_eq!(Filter::kinds("reloaded, log").unwrap(), ["reloaded", "log"]);
        assert!(Filter::kinds("").unwrap().is_empty());
        let error = Filter::kinds("relaoded").unwrap_err().message;
        assert!(error.contains("`relaoded`") && error.contains("`reloaded`"), "{error}");
        let all = all_kinds();
        assert_eq!(Filter::kinds(&all.join(",")).unwrap(), all);
        assert!(all.len() > 20 && all.contains(&"host_stopped".to_owned()), "{all:?}");
    }
}
