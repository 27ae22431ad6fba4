//! The name by which the user selects a plugin: its id, or the last part of its id.

use super::error::CliError;
use replug::{IllegalId, PluginId};
use replug_model::suggest;
use std::{convert::Infallible, str::FromStr};

/// The name that the user specified.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named(String);

impl Named {
    /// The id that the name stands for: the name itself if it is an id, or else the only one of `ids` whose last part
    /// is the name.
    pub(super) fn among<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Result<PluginId, CliError> {
        if let Some(id) = self.whole()? {
            return Ok(id);
        }
        let ids: Vec<_> = ids.into_iter().filter_map(|id| id.parse::<PluginId>().ok()).collect();
        let Self(part) = self;
        let mut alike: Vec<_> = ids.iter().filter(|id| id.short() == part).collect();
        alike.sort();
        match alike[..] {
            [id] => Ok(id.clone()),
            [] => {
                let suggestion = suggest::among(part, ids.iter().map(PluginId::short));
                Err(CliError::NotFound(format!("no plugin `{part}`{suggestion}")))
            }
            _ => {
                let alike: Vec<_> = alike.iter().map(|id| format!("`{id}`")).collect();
                let text =
                    format!("`{part}` is the last part of {}: give the whole id", alike.join(" and of "));
                Err(CliError::NotFound(text))
            }
        }
    }

    /// The name as an id, or `None` if it has no dot. An error if it has a dot and is not a valid id.
    pub(super) fn whole(&self) -> Result<Option<PluginId>, CliError> {
        match self.0.contains('.') {
            true => self.0.parse().map(Some).map_err(|error: IllegalId| CliError::Usage(error.to_string())),
            false => Ok(None),
        }
    }
}

impl FromStr for Named {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(name: &str, ids: &[&str]) -> Result<String, String> {
        let named: Named = name.parse().unwrap();
        named.among(ids.iter().copied()).map(|id| id.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_part_of_an_id_selects_a_plugin_if_it_is_unique() {
        let ids = ["dev.a.greeter", "dev.b.clock", "dev.c.clock"];
        assert_eq!(among("greeter", &ids).unwrap(), "dev.a.greeter");
        assert_eq!(among("dev.b.clock", &ids).unwrap(), "dev.b.clock");
        assert_eq!(
            among("dev.x.y", &ids).unwrap(),
            "dev.x.y",
            "a whole id is passed to the host, even if it is unknown"
        );
        assert_eq!(among("greter", &ids).unwrap_err(), "no plugin `greter`; did you mean `greeter`?");
        assert_eq!(
            among("clock", &ids).unwrap_err(),
            "`clock` is the last part of `dev.b.clock` and of `dev.c.clock`: give the whole id"
        );
        assert!(among("dev.Clock", &ids).unwrap_err().starts_with("illegal plugin id"));
    }
}
