//! The layers of a host's configuration: built-in defaults, the file, the environment, flags. Later layers override
//! earlier layers.
//!
//! `figment` merges the layers and records the layer of each value, so that a message can name the line, the variable
//! or the flag. The parser of manifests also parses the file, because this parser keeps the line of each value.

use super::{
    HostConfig,
    error::ConfigError,
    file::{agree, interpret},
    filter,
    keys::{self, variable},
};
use crate::{
    manifest::{
        ManifestError, read_text, spell_out,
        tree::{self, Entry, Node, Value},
    },
    workspace::Workspace,
};
use figment::{
    Error, Figment, Metadata, Profile, Provider,
    value::{Dict, Map},
};
use std::{
    env,
    path::{Path, PathBuf},
    slice,
};
use tracing::level_filters::LevelFilter;

/// The default name of the configuration file.
const FILE_NAME: &str = "replug.toml";

/// The variable that Rust programs commonly use for a log filter.
const RUST_LOG: &str = "RUST_LOG";

/// The sources of a host's configuration, from the lowest to the highest precedence: built-in defaults, `replug.toml`,
/// the environment (such as `REPLUG_KEEP_ARTIFACTS` for `keep_artifacts`), flags.
///
/// ```
/// # use replug_config as replug;
/// use replug::Layers;
///
/// let config = Layers::new().flag("keep_artifacts", "--keep", 3).read()?;
/// assert_eq!(config.keep_artifacts, 3);
/// # Ok::<_, replug::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Layers {
    file: File,
    fallbacks: Vec<Setting>,
    environment: Vec<(String, String)>,
    flags: Vec<Setting>,
    /// The argument of [`Layers::plugins_by_filter`], if it was called.
    plugins_log: Option<LevelFilter>,
}

#[derive(Clone, Debug)]
enum File {
    /// The first of these files that exists is read. It is not an error if none of them exists.
    Usual(Vec<PathBuf>),
    /// This file is read, and must exist.
    Named(PathBuf),
}

impl File {
    fn usual_in(folders: &[PathBuf]) -> Self {
        Self::Usual(folders.iter().map(|folder| folder.join(FILE_NAME)).collect())
    }
}

impl Default for Layers {
    fn default() -> Self {
        Self::new()
    }
}

impl Layers {
    /// The layers of this process: the built-in defaults, a `replug.toml` if one exists, and the environment.
    ///
    /// The file is searched for in the working directory and its parent folders, up to the root of the cargo workspace.
    /// The nearest file is read.
    pub fn new() -> Self {
        let ours = |name: &str| name.starts_with("REPLUG_") || name == RUST_LOG;
        let variables = env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok().filter(|name| ours(name))?, value.to_string_lossy().into_owned()))
        });
        Self::of(variables.filter(|(_, value)| !value.is_empty()).collect())
    }

    fn of(environment: Vec<(String, String)>) -> Self {
        let folders = env::current_dir().map(|here| Workspace::folders_around(&here)).unwrap_or_default();
        Self {
            file: File::usual_in(&folders),
            fallbacks: Vec::new(),
            environment,
            flags: Vec::new(),
            plugins_log: None,
        }
    }

    /// Reads this file instead of the default file. The file must exist.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.file = File::Named(absolute(path.as_ref()));
        self
    }

    /// Sets the default of a key. All other layers override it.
    #[must_use]
    pub fn fallback(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.fallbacks.push(Setting::of(key, "the default", value.into()));
        self
    }

    /// Sets the value of a key, which overrides all other layers. `flag` is the name of the flag in messages, such as
    /// `--state-dir`.
    #[must_use]
    pub fn flag(mut self, key: &str, flag: &str, value: impl Into<serde_json::Value>) -> Self {
        self.flags.push(Setting::of(key, flag, value.into()));
        self
    }

    /// Sets the default of `log.plugins` to the level that `log.filter` sets for the target `plugin` or for all
    /// targets. If the filter sets no such level, the default is `usual`. Without this call, `log.plugins` has no
    /// default, and the program's subscriber determines the level.
    #[must_use]
    pub fn plugins_by_filter(mut self, usual: LevelFilter) -> Self {
        self.plugins_log = Some(usual);
        self
    }

    /// The path of the file: the first candidate that exists. If none exists, the first candidate.
    pub fn path(&self) -> &Path {
        let files = self.files();
        files
            .iter()
            .find(|path| is_there(path))
            .or(files.first())
            .map_or(Path::new(FILE_NAME), PathBuf::as_path)
    }

    /// All candidates for the file. The first one that exists is read.
    pub fn files(&self) -> &[PathBuf] {
        match &self.file {
            File::Usual(paths) => paths,
            File::Named(path) => slice::from_ref(path),
        }
    }

    /// Reads and merges the layers. Relative paths in the file are relative to its folder. Relative paths in other
    /// layers are relative to the working directory.
    ///
    /// # Errors
    ///
    /// * [`ConfigError::NoFile`] if the file of [`Layers::file`] does not exist
    /// * [`ConfigError::InFile`] if the file is not TOML, or has an invalid value
    /// * [`ConfigError::Elsewhere`] if a variable or a flag has an invalid value
    pub fn read(&self) -> Result<HostConfig, ConfigError> {
        // The path is determined once, because a nearer file may be created at any moment.
        let path = self.path();
        let file = self.read_file(path)?;
        let mut layers = Figment::new();
        for setting in &self.fallbacks {
            layers = layers.merge(setting);
        }
        if let Some(tree) = &file {
            layers = layers.merge(InFile { path, values: values(tree) });
        }
        for setting in self.environment_settings().iter().chain(&self.flags) {
            layers = layers.merge(setting);
        }
        let broken = |error: Error| ConfigError::Elsewhere {
            by: "the configuration".into(),
            reason: error.to_string(),
        };
        let merged = layers.data().map_err(broken)?.remove(&Profile::Default).unwrap_or_default();
        let merged: serde_json::Value = figment::value::Value::from(merged).deserialize().map_err(broken)?;
        if let Some(tree) = &file {
            // An invalid value in the file is an error even if a variable or a flag overrides it.
            interpret(path, tree)?;
        }
        let merged = with_lines(&merged, file.as_ref());
        let mut config = interpret(path, &merged)
            .and_then(|config| agree(path, &merged).map(|()| config))
            .map_err(|error| explain(&layers, error))?;
        anchor(path, &layers, &mut config);
        let log = &mut config.log;
        log.plugins = log.plugins.or_else(|| {
            let usual = self.plugins_log?;
            Some(log.filter.as_deref().and_then(filter::of_plugins).unwrap_or(usual))
        });
        Ok(config)
    }

    /// Warnings about the environment: variables whose names look like typos, and an invalid filter in `RUST_LOG`,
    /// which may be meant for other programs.
    pub fn warnings(&self) -> Vec<String> {
        let known: Vec<_> = keys::all().iter().map(|key| variable(key)).collect();
        let near = |name: &str| known.iter().find(|known| strsim::damerau_levenshtein(name, known) <= 2);
        let slips = self.environment.iter().filter_map(|(name, _)| {
            let meant = near(name).filter(|_| !known.contains(name))?;
            Some(format!("unknown environment variable {name}; did you mean {meant}?"))
        });
        let rust_log = self.environment.iter().find(|(name, _)| name == RUST_LOG);
        let unusable = rust_log.filter(|(_, text)| filter::check(text).is_err()).map(|(_, text)| {
            format!("RUST_LOG is {text:?}, which is not a filter; it is ignored; write a level, or \"warn,replug=debug\"")
        });
        slips.chain(unusable).collect()
    }

    fn read_file(&self, path: &Path) -> Result<Option<Node>, ConfigError> {
        if !is_there(path) {
            return match &self.file {
                File::Usual(_) => Ok(None),
                File::Named(path) => Err(ConfigError::NoFile { path: path.clone() }),
            };
        }
        let mut tree = tree::from_toml(path, &read_text(path)?)?;
        spell_out(&mut tree, &["defaults", "reload"]);
        Ok(Some(tree))
    }

    fn environment_settings(&self) -> Vec<Setting> {
        let of = |name: &str| self.environment.iter().find(|(it, _)| it == name).map(|(_, text)| text);
        let rust_log = of(RUST_LOG).filter(|text| filter::check(text).is_ok());
        let rust_log = rust_log.map(|text| Setting::of("log.filter", RUST_LOG, text.as_str().into()));
        let all = keys::all();
        let own = all.iter().filter_map(|key| {
            let name = variable(key);
            let text = of(&name)?;
            let value = as_value(text);
            Some(match value.as_str() {
                Some(names) if keys::LISTS.contains(&key.as_str()) => Setting::of(key, &name, split(names)),
                // A duration is short for a table with the key `window`. The variable sets only that key, because a
                // duration would replace the whole table of the file, and the other keys of the table must still apply.
                Some(_) if key == "defaults.reload.confirm" => {
                    Setting::of("defaults.reload.confirm.window", &name, value)
                }
                _ => Setting::of(key, &name, value),
            })
        });
        rust_log.into_iter().chain(own).collect()
    }
}

/// Resolves paths in the file relative to its folder.
fn anchor(file: &Path, layers: &Figment, config: &mut HostConfig) {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let from_file = |key| layers.find_metadata(key).is_some_and(|it| it.source.is_some());
    let tls = config.http.tls.as_mut().map(|tls| (&mut tls.cert, &mut tls.key));
    let (cert, key) = tls.unzip();
    for (name, path) in [
        ("plugins", config.plugins.as_mut()),
        ("state_dir", config.state_dir.as_mut()),
        ("http.token_file", config.http.token_file.as_mut()),
        ("http.tls_cert", cert),
        ("http.tls_key", key),
    ] {
        if let Some(path) = path.filter(|_| from_file(name)) {
            *path = folder.join(&*path);
        }
    }
}

/// The value of one key from a variable, a flag or a default.
#[derive(Clone, Debug)]
struct Setting {
    /// The name of the variable or the flag.
    by: String,
    /// The value, nested in one object for each part of its key: `{"log": {"filter": "warn"}}`.
    values: serde_json::Value,
}

impl Setting {
    fn of(key: &str, by: &str, value: serde_json::Value) -> Self {
        let wrap = |inner, part: &str| serde_json::json!({ part: inner });
        Self { by: by.into(), values: key.rsplit('.').fold(value, wrap) }
    }
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.by.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(layer(figment::value::Value::serialize(&self.values)?))
    }
}

/// The file as a layer. In figment's metadata, only this layer has a `source`.
struct InFile<'a> {
    path: &'a Path,
    values: serde_json::Value,
}

impl Provider for InFile<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::from(FILE_NAME, self.path)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(layer(figment::value::Value::serialize(&self.values)?))
    }
}

/// The values of a tree. An infinite number or NaN becomes null, which no key accepts.
fn values(tree: &Node) -> serde_json::Value {
    match &tree.value {
        Value::Array(items) => items.iter().map(values).collect(),
        Value::Table(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), values(&entry.node))).collect()
        }
        _ => tree.to_json().unwrap_or_default(),
    }
}

fn layer(values: figment::value::Value) -> Map<Profile, Dict> {
    Profile::Default.collect(values.into_dict().unwrap_or_default())
}

/// The value of a variable. A text that is a TOML value becomes that value. Any other text is a string.
fn as_value(text: &str) -> serde_json::Value {
    let line = tree::from_toml(Path::new(""), &format!("it = {text}"));
    let value = line.ok().and_then(|node| match node.value {
        Value::Table(entries) if entries.len() == 1 => entries.first()?.node.to_json().ok(),
        _ => None,
    });
    value.unwrap_or_else(|| text.into())
}

/// The strings in a comma-separated list.
fn split(text: &str) -> serde_json::Value {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Whether a path exists. A dangling link counts as existing.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Converts the merged values to a tree. Each value that is also in the file gets its line.
fn with_lines(merged: &serde_json::Value, file: Option<&Node>) -> Node {
    let value = match merged {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(it) => Value::Bool(*it),
        serde_json::Value::String(it) => Value::String(it.clone()),
        serde_json::Value::Number(it) => match it.as_i64() {
            Some(it) => Value::Integer(it),
            None => Value::Float(it.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::Array(items) => {
            Value::Array(items.iter().map(|it| with_lines(it, file)).collect())
        }
        serde_json::Value::Object(map) => {
            Value::Table(map.iter().map(|(key, it)| entry(key, it, file)).collect())
        }
    };
    Node { line: file.map_or(1, |node| node.line), value }
}

fn entry(key: &str, value: &serde_json::Value, file: Option<&Node>) -> Entry {
    let entries = match file.map(|node| &node.value) {
        Some(Value::Table(entries)) => entries.as_slice(),
        _ => &[],
    };
    let own = entries.iter().find(|entry| entry.key == key);
    let line = own.map_or(1, |entry| entry.line);
    Entry { key: key.into(), line, node: with_lines(value, own.map(|entry| &entry.node)) }
}

/// Converts an error about a value. If a variable or a flag has set the value, the result names it instead of the file.
fn explain(layers: &Figment, error: ManifestError) -> ConfigError {
    let set_by = error.key().and_then(|key| layers.find_metadata(key));
    let Some(by) = set_by.filter(|it| it.source.is_none()) else { return ConfigError::InFile(error) };
    let text = error.to_string();
    let place = error.path().display().to_string();
    let reason = text.strip_prefix(&place).and_then(|rest| rest.split_once(": ")).map(|(_, reason)| reason);
    ConfigError::Elsewhere { by: by.name.to_string(), reason: reason.unwrap_or(&text).to_owned() }
}

#[cfg(test)]
mod tests;
