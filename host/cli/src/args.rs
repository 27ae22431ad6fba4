//! Arguments that several subcommands share: the plugins folder, a call, and the configuration.

use super::{
    error::CliError,
    here::{host_around, is_served, served_here, usual_plugins_dir},
    named::Named,
    terminal,
};
use clap::Args;
use replug::{BuildDir, HostConfig, Layers};
use serde_json::Value;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Options that precede the configuration, and the path of its file.
#[derive(Debug, Default, Args)]
pub(super) struct State {
    /// The configuration file [default: replug.toml here or above, up to the workspace's root, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder for builds, artifacts and the plugins' data [default: `target/replug` of the workspace]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Where the plugins are, for a command that takes the folder by itself.
#[derive(Debug, Default, Args)]
pub(super) struct Plugins {
    /// The folder whose sub-folders are the plugins, or one plugin's own [default: plugins or this, here or above]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) state: State,
}

impl Plugins {
    /// The folder.
    pub(super) fn folder(&self) -> Folder<'_> {
        Folder::bare(&self.dir)
    }
}

/// Where a plugin is, for a command that takes the plugin by itself.
#[derive(Debug, Default, Args)]
pub(super) struct PluginsFlag {
    /// The folder whose sub-folders are the plugins, or the plugin's own [default: plugins or this, here or above]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

impl PluginsFlag {
    /// The folder.
    pub(super) fn folder(&self) -> Folder<'_> {
        Folder::flag(&self.plugins)
    }
}

/// The plugins folder that a command is given, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folder<'a> {
    named: Option<&'a Path>,
    how: &'static str,
}

impl<'a> Folder<'a> {
    /// The folder is a positional argument: `replug dev DIR`.
    pub(super) fn bare(named: &'a Option<PathBuf>) -> Self {
        Self { named: named.as_deref(), how: "DIR" }
    }

    /// The folder is a flag, because the positional argument is a plugin.
    pub(super) fn flag(named: &'a Option<PathBuf>) -> Self {
        Self { named: named.as_deref(), how: "--plugins DIR" }
    }

    fn missing(self) -> CliError {
        CliError::NoPlugins { how: self.how }
    }
}

/// The settings of a command, from the configuration and its flags.
pub(super) struct Place {
    pub(super) config: HostConfig,
    /// The plugins folder.
    pub(super) dir: PathBuf,
    pub(super) state_dir: PathBuf,
}

/// The folders by which to find a host.
pub(super) struct HostLocator {
    pub(super) plugins: PathBuf,
    pub(super) state_dir: PathBuf,
}

impl HostLocator {
    /// A host with its default state folder.
    pub(super) fn by_default(plugins: &Path) -> Self {
        Self { plugins: plugins.to_owned(), state_dir: replug::default_state_dir(plugins) }
    }
}

impl State {
    /// The layers of the configuration.
    pub(super) fn layers(&self, folder: Folder<'_>) -> Result<Layers, CliError> {
        let mut layers = self.file();
        if let Some(dir) = &self.state_dir {
            layers = layers.flag("state_dir", "--state-dir", text(dir)?);
        }
        Ok(match (folder.named, usual_plugins_dir()) {
            (Some(dir), _) => layers.flag("plugins", folder.how, text(dir)?),
            (None, Some(usual)) => layers.fallback("plugins", text(&usual)?),
            (None, None) => layers,
        })
    }

    /// Only the file.
    fn file(&self) -> Layers {
        match &self.config {
            Some(file) => Layers::new().file(file),
            None => Layers::new(),
        }
    }

    /// The settings of a command without other layers.
    pub(super) fn place(&self, folder: Folder<'_>) -> Result<Place, CliError> {
        Place::read(&self.layers(folder)?, folder)
    }

    /// The host that may be running. A host keeps running when its configuration becomes invalid by an edit, and the
    /// command must still reach it. So a folder that is given needs no configuration, and an invalid configuration
    /// causes only a warning.
    pub(super) fn running(&self, folder: Folder<'_>) -> Result<HostLocator, CliError> {
        let place = self.place(folder);
        if folder.named.is_none() {
            Place::note_wrong(&place);
        }
        self.host_of(folder, &place)
    }

    /// The host that may be running, from a configuration that was read already, without a warning. If no folder is
    /// given and no host serves the usual one, this is the host that serves the working directory.
    pub(super) fn host_of(
        &self,
        folder: Folder<'_>,
        place: &Result<Place, CliError>,
    ) -> Result<HostLocator, CliError> {
        let host = match place {
            Ok(place) => Ok(HostLocator { plugins: place.dir.clone(), state_dir: place.state_dir.clone() }),
            Err(_) => self.host_at_least(folder),
        };
        let is_named = folder.named.is_some()
            || host.as_ref().is_ok_and(|host| usual_plugins_dir().is_none_or(|usual| usual != host.plugins));
        if is_named || host.as_ref().is_ok_and(is_served) {
            return host;
        }
        host_around()?.map_or(host, Ok)
    }

    /// The host, as far as an invalid configuration names its folders.
    fn host_at_least(&self, folder: Folder<'_>) -> Result<HostLocator, CliError> {
        let usual = || self.at_least("plugins").or_else(usual_plugins_dir);
        let plugins = folder.named.map(Path::to_owned).or_else(usual).or_else(served_here);
        let plugins = plugins.ok_or_else(|| folder.missing())?;
        let state_dir = self.state_dir.clone().or_else(|| self.at_least("state_dir"));
        let state_dir = state_dir.unwrap_or_else(|| replug::default_state_dir(&plugins));
        Ok(HostLocator { plugins, state_dir })
    }

    /// A folder that the configuration sets, although it is invalid elsewhere.
    fn at_least(&self, key: &str) -> Option<PathBuf> {
        let variable = format!("REPLUG_{}", key.to_uppercase());
        if let Some(dir) = env::var_os(variable).filter(|dir| !dir.is_empty()) {
            return Some(dir.into());
        }
        let layers = self.file();
        let file = layers.path();
        let written = fs::read_to_string(file).ok().and_then(|text| text.parse::<toml::Table>().ok());
        let named = written.as_ref().and_then(|table| table.get(key)?.as_str());
        named.map(|dir| file.parent().unwrap_or(Path::new("")).join(dir))
    }
}

impl Place {
    /// The same, for a command that writes to the state folder: see [`replug::settle_state_dir`].
    pub(super) fn settled(mut self) -> Self {
        if self.config.state_dir.is_none() {
            self.state_dir = replug::settle_state_dir(&self.dir);
        }
        self
    }

    /// The folder in which cargo builds.
    pub(super) fn build_dir(&self) -> BuildDir {
        BuildDir::with(self.config.state_dir.as_deref(), &self.state_dir)
    }

    /// Warns of an invalid configuration, for a command that works without it.
    pub(super) fn note_wrong(place: &Result<Self, CliError>) {
        if let Err(error @ CliError::Config(_)) = place {
            terminal::warn(error);
        }
    }

    pub(super) fn read(layers: &Layers, folder: Folder<'_>) -> Result<Self, CliError> {
        for warning in layers.warnings() {
            terminal::warn(&warning);
        }
        let config = layers.read()?;
        let dir = config.plugins.clone().ok_or_else(|| folder.missing())?;
        let state_dir = config.state_dir.clone().unwrap_or_else(|| replug::default_state_dir(&dir));
        Ok(Self { config, dir, state_dir })
    }
}

/// A path as text for the configuration.
pub(super) fn text(path: &Path) -> Result<&str, CliError> {
    let unreadable = || CliError::Usage(format!("the path {} is not UTF-8: give another", path.display()));
    path.to_str().ok_or_else(unreadable)
}

/// A call that the user requests.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CallSpec {
    pub(super) plugin: Named,
    pub(super) method: String,
    pub(super) arguments: Value,
}

impl CallSpec {
    /// Parses `ID METHOD [JSON]`.
    pub(super) fn new(plugin: &str, method: &str, arguments: Option<&str>) -> Result<Self, CliError> {
        let arguments = arguments.map_or(Ok(Value::Null), arguments_from)?;
        let Ok(plugin) = plugin.parse();
        Ok(Self { plugin, method: method.into(), arguments })
    }
}

/// Parses arguments: an object by name, or an array by position.
fn arguments_from(text: &str) -> Result<Value, CliError> {
    match serde_json::from_str(text) {
        Ok(arguments @ (Value::Object(_) | Value::Array(_) | Value::Null)) => Ok(arguments),
        Ok(single) => Err(CliError::Usage(format!(
            "the arguments are `{single}`, but must be an object by name or an array by position: write '[{single}]'"
        ))),
        Err(error) => Err(CliError::Usage(pointed_out(text, &error))),
    }
}

/// The error, with a mark below the character where the JSON becomes invalid.
fn pointed_out(text: &str, error: &serde_json::Error) -> String {
    let problem = error.to_string();
    let problem = problem.rsplit_once(" at line ").map_or(problem.as_str(), |(problem, _)| problem);
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    // serde_json counts bytes; a terminal shows characters.
    let before = line.char_indices().take_while(|(at, _)| at + 1 < error.column()).count();
    // A long line would wrap, and the mark would be in the wrong place.
    let skipped = before.saturating_sub(60);
    let shown: String = line.chars().skip(skipped).take(72).collect();
    let hint = match Path::new(text).is_dir() {
        true => format!("\n  `{text}` is a folder: give it before the call"),
        false => String::new(),
    };
    format!("the arguments are not JSON: {problem}\n  {shown}\n  {:>1$}{hint}", '^', before - skipped + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_json_is_pointed_out_where_it_is_wrong() {
        let error = arguments_from(r#"{"a":10 "b":5}"#).unwrap_err().to_string();
        assert_eq!(
            error,
            "the arguments are not JSON: expected `,` or `}`\n  {\"a\":10 \"b\":5}\n          ^"
        );
        let error = arguments_from(r#"{"ä":10 "b":5}"#).unwrap_err().to_string();
        assert!(error.ends_with("\n          ^"), "{error}");
    }

    #[test]
    fn a_single_value_is_answered_with_how_to_write_it() {
        let error = arguments_from("\"World\"").unwrap_err().to_string();
        assert!(error.ends_with("write '[\"World\"]'"), "{error}");
    }

    #[test]
    fn arguments_go_by_name_or_by_position() {
        for text in ["{\"a\":1}", "[1]", "[]"] {
            assert_eq!(arguments_from(text).unwrap().to_string(), text);
        }
        assert!(arguments_from("").is_err());
    }
}
