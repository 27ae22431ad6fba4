//! Arguments that several subcommands share: the plugins folder, a call, and the configuration.

use super::{
    error::CliError,
    here::{HostLocator, host_around, is_served, served_here, usual_plugins_dir},
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

/// The path of the configuration file, and options that override it.
#[derive(Debug, Default, Args)]
pub(super) struct State {
    /// The configuration file [default: replug.toml in this folder or a parent, up to the root of the workspace]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder for builds, artifacts and the plugins' data [default: `target/replug` of the workspace]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// The plugins folder, for a command whose positional argument is the folder.
#[derive(Debug, Default, Args)]
pub(super) struct Plugins {
    /// The plugins folder, or the folder of one plugin [default: `plugins` or a plugin's folder, here or in a parent]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) state: State,
}

impl Plugins {
    /// The plugins folder that the user specified.
    pub(super) fn folder(&self) -> Folder<'_> {
        Folder::bare(&self.dir)
    }
}

/// The plugins folder, for a command whose positional argument is a plugin.
#[derive(Debug, Default, Args)]
pub(super) struct PluginsFlag {
    /// The plugins folder, or the folder of the plugin [default: `plugins` or a plugin's folder, here or in a parent]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

impl PluginsFlag {
    /// The plugins folder that the user specified.
    pub(super) fn folder(&self) -> Folder<'_> {
        Folder::flag(&self.plugins)
    }
}

/// The plugins folder that the user specified for a command, and the argument that specifies it.
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

    /// The layers of the configuration with only the file.
    fn file(&self) -> Layers {
        match &self.config {
            Some(file) => Layers::new().file(file),
            None => Layers::new(),
        }
    }

    /// The settings of a command that adds no layers of its own.
    pub(super) fn place(&self, folder: Folder<'_>) -> Result<Place, CliError> {
        Place::read(&self.layers(folder)?, folder)
    }

    /// The host to which a command belongs, whether it runs or not. A host keeps running if an edit makes its
    /// configuration invalid, and commands must still find it. So an invalid configuration is not an error here. It
    /// causes a warning, unless the folder is given.
    pub(super) fn running(&self, folder: Folder<'_>) -> Result<HostLocator, CliError> {
        let place = self.place(folder);
        if folder.named.is_none() {
            Place::note_wrong(&place);
        }
        self.host_of(folder, &place)
    }

    /// Like [`Self::running`], for a configuration that was already read into `place`, and without a warning. If no
    /// folder is given and no host serves the default folder, the result is a running host found from the working
    /// directory, if there is one.
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

    /// The host according to an invalid configuration. Only the folders are read from it.
    fn host_at_least(&self, folder: Folder<'_>) -> Result<HostLocator, CliError> {
        let usual = || self.at_least("plugins").or_else(usual_plugins_dir);
        let plugins = folder.named.map(Path::to_owned).or_else(usual).or_else(served_here);
        let plugins = plugins.ok_or_else(|| folder.missing())?;
        let state_dir = self.state_dir.clone().or_else(|| self.at_least("state_dir"));
        let state_dir = state_dir.unwrap_or_else(|| replug::default_state_dir(&plugins));
        Ok(HostLocator { plugins, state_dir })
    }

    /// The folder that a key of the configuration sets. Other parts of the configuration may be invalid.
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
    /// These settings for a command that writes to the state folder: see [`replug::settle_state_dir`].
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

    /// Warns of an invalid configuration, for a command that does not need it.
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
    let unreadable =
        || CliError::Usage(format!("the path {} is not UTF-8: give another path", path.display()));
    path.to_str().ok_or_else(unreadable)
}

/// The arguments of a command that calls a method.
#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// The plugin's id, or the last part of it
    #[arg(value_name = "ID")]
    plugin: String,
    /// The method, or `Interface.method` if two interfaces have a method with the same name
    #[arg(value_name = "METHOD")]
    method: String,
    /// The arguments, as an object by name or an array by position [default: none]
    #[arg(value_name = "JSON")]
    arguments: Option<String>,
}

impl CallArgs {
    /// The call, with its arguments parsed.
    pub(super) fn parse(&self) -> Result<CallSpec, CliError> {
        CallSpec::new(&self.plugin, &self.method, self.arguments.as_deref())
    }
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
    // serde_json counts bytes, but a terminal shows characters.
    let before = line.char_indices().take_while(|(at, _)| at + 1 < error.column()).count();
    // The terminal would wrap a long line, so only the part before the mark is shown.
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
    fn the_error_for_invalid_json_marks_its_position() {
        let error = arguments_from(r#"{"a":10 "b":5}"#).unwrap_err().to_string();
        assert_eq!(
            error,
            "the arguments are not JSON: expected `,` or `}`\n  {\"a\":10 \"b\":5}\n          ^"
        );
        let error = arguments_from(r#"{"ä":10 "b":5}"#).unwrap_err().to_string();
        assert!(error.ends_with("\n          ^"), "{error}");
    }

    #[test]
    fn the_error_for_a_single_value_shows_the_array_to_write() {
        let error = arguments_from("\"World\"").unwrap_err().to_string();
        assert!(error.ends_with("write '[\"World\"]'"), "{error}");
    }

    #[test]
    fn arguments_are_an_object_or_an_array() {
        for text in ["{\"a\":1}", "[1]", "[]"] {
            assert_eq!(arguments_from(text).unwrap().to_string(), text);
        }
        assert!(arguments_from("").is_err());
    }
}
