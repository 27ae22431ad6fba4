//! The keys of a manifest: their meanings, types and defaults, and how they are read. The keys of `[process]` and
//! `[limits]` are in `host/config/src/manifest/process.rs`.

use super::{
    ManifestError, Text,
    fields::Fields,
    process::{self, LimitsSpec, Mode, ProcessSpec, Trial},
    tree::{Node, Value},
};
use replug_model::id::PluginId;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The content of one `plugin.toml` or `plugin.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The plugin's id.
    pub id: PluginId,
    /// The display name.
    pub name: String,
    /// The plugin's version, a semantic version.
    pub version: String,
    /// The plugin's author.
    pub author: Option<String>,
    /// A one-sentence description of the plugin.
    pub description: Option<String>,
    /// The plugin's role in the host.
    pub kind: Kind,
    /// Whether the host starts the plugin automatically.
    pub auto_start: bool,
    /// Where the plugin's generations run.
    pub mode: Mode,
    /// How the plugin is built.
    pub build: BuildSpec,
    /// The path of the prebuilt artifact, or of the output of the build script. The path is relative to `root`, and
    /// the file is inside `root`.
    pub binary: Option<PathBuf>,
    /// The plugin's own configuration.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// How a generation is replaced by the next generation.
    pub reload: ReloadSpec,
    /// How the plugin is called and supervised in a child process.
    pub process: ProcessSpec,
    /// The resource limits of the plugin's child process.
    pub limits: LimitsSpec,
    /// The path of the manifest, with the links in the path of its folder resolved.
    pub file: PathBuf,
    /// The plugin's folder, which contains the manifest, with the links in its path resolved.
    pub root: PathBuf,
    /// The text of the manifest.
    pub text: Text,
}

impl Manifest {
    /// `[config]` as JSON text.
    pub fn config_json(&self) -> String {
        serde_json::Value::Object(self.config.clone()).to_string()
    }

    /// Whether this manifest and `other` are equal except for `[config]`.
    pub fn differs_only_in_config(&self, other: &Self) -> bool {
        Self { config: other.config.clone(), ..self.clone() } == *other
    }

    /// Whether a change from this manifest to `other` requires a new instance of the artifact in every mode.
    pub fn requires_new_instance(&self, other: &Self) -> bool {
        self.mode != other.mode || self.process.call_timeout != other.process.call_timeout
    }

    /// Whether a change from this manifest to `other` requires a new child process, if the plugin runs in a child
    /// process. Some settings are passed to the process only at its start.
    pub fn asks_for_another_process(&self, other: &Self) -> bool {
        let timeouts = |manifest: &Self| (manifest.process.cancel_grace, manifest.process.step_timeout);
        timeouts(self) != timeouts(other)
            || self.limits != other.limits
            || self.process.env != other.process.env
            || self.process.lane != other.process.lane
    }
}

/// The role of a plugin in its host: the key `type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The plugin offers functions.
    #[default]
    Provider,
    /// The plugin changes data that passes through it.
    Filter,
    /// The plugin answers requests.
    Handler,
    /// The plugin sends notifications about events.
    Notifier,
}

impl Kind {
    /// The value in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Filter => "filter",
            Self::Handler => "handler",
            Self::Notifier => "notifier",
        }
    }
}

/// How a plugin is built: the table `[build]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSpec {
    /// The cargo package of the plugin. Required if the plugin's folder does not determine the package.
    pub package: Option<String>,
    /// The path of the script that builds the plugin instead of cargo, relative to the plugin's folder.
    pub script: Option<PathBuf>,
    /// Cargo features to enable.
    pub features: Vec<String>,
    /// The cargo profile: `dev`, `release` or a custom profile.
    pub profile: String,
    /// The maximum time for which a build may produce no output.
    pub timeout: Duration,
}

impl Default for BuildSpec {
    fn default() -> Self {
        Self {
            package: None,
            script: None,
            features: Vec::new(),
            profile: "dev".into(),
            timeout: Duration::from_secs(600),
        }
    }
}

/// How a plugin is replaced: the table `[reload]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReloadSpec {
    /// How long the host waits for calls in progress when the state is handed over or the plugin is stopped.
    pub drain_timeout: Duration,
    /// Whether the new generation is started before or after the old generation is stopped.
    pub order: Order,
    /// When a new generation is rolled back automatically. `None`: never.
    pub confirm: Option<Confirm>,
    /// Whether the code of a retired generation is unmapped.
    pub unload: Unload,
    /// The trial of a new version in a throwaway process before it is loaded.
    pub preflight: Trial,
    /// The interval at which the state is saved while the plugin runs, to be restored after a crash. `None`: the state
    /// is not saved while the plugin runs.
    pub checkpoint: Option<Duration>,
}

impl Default for ReloadSpec {
    fn default() -> Self {
        Self {
            drain_timeout: Duration::from_secs(5),
            order: Order::StartFirst,
            confirm: None,
            unload: Unload::Never,
            preflight: Trial::Full,
            checkpoint: None,
        }
    }
}

/// When a new generation is rolled back: the table `[reload.confirm]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confirm {
    /// How long the calls of the new generation are observed.
    pub window: Duration,
    /// The share of failed calls, 0 to 1, above which the new generation is rolled back.
    pub max_error_rate: f64,
    /// Whether errors that methods return count as failed calls.
    pub errors: OwnErrors,
    /// The minimum number of calls before the new generation can be rolled back.
    pub min_calls: u64,
}

impl Default for Confirm {
    fn default() -> Self {
        let errors = OwnErrors::Ignored;
        Self { window: Duration::from_secs(10), max_error_rate: 0.5, errors, min_calls: 10 }
    }
}

/// Whether errors that methods return count as failed calls: the key `reload.confirm.errors`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnErrors {
    /// Errors that methods return do not count as failed calls.
    #[default]
    Ignored,
    /// Errors that methods return count as failed calls.
    Counted,
}

/// The order of start and stop when a generation is replaced: the key `reload.order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The new generation is started while the old generation serves.
    #[default]
    StartFirst,
    /// The old generation is stopped before the new generation is started. This suits a plugin that holds an exclusive
    /// resource, such as a port. Calls wait in the meantime.
    StopFirst,
}

/// Whether the code of a retired generation is unmapped: the key `reload.unload`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unload {
    /// The code stays mapped.
    #[default]
    Never,
    /// The code is unmapped as soon as the host has verified that this is safe.
    Verified,
}

pub(super) const KEYS: &[&str] = &[
    "id",
    "name",
    "version",
    "author",
    "description",
    "type",
    "auto_start",
    "mode",
    "build",
    "binary",
    "config",
    "reload",
    "process",
    "limits",
];
pub(super) const BUILD_KEYS: &[&str] = &["package", "script", "features", "profile", "timeout"];
pub(crate) const RELOAD_KEYS: &[&str] =
    &["drain_timeout", "order", "confirm", "unload", "preflight", "checkpoint"];
pub(crate) const CONFIRM_KEYS: &[&str] = &["window", "max_error_rate", "errors", "min_calls"];

/// Reads a manifest from its tree.
pub(super) fn interpret(file: &Path, root: &Path, tree: &Node) -> Result<Manifest, ManifestError> {
    let top = Fields::open(file, "", tree, KEYS)?;
    let id: PluginId = top
        .string("id")?
        .ok_or_else(|| ManifestError::MissingKey {
            path: file.into(),
            key: "id",
            example: "a line such as `id = \"dev.example.name\"` at the top",
        })?
        .parse()
        .map_err(|source| ManifestError::IllegalId {
            path: file.into(),
            line: top.node("id").map_or(1, |node| node.line),
            source,
        })?;
    let version = top.string("version")?.unwrap_or("0.0.0");
    if let Err(error) = semver::Version::parse(version) {
        let reason = format!("{version:?} is not a version: {error}; write three numbers, such as \"1.2.0\"");
        return Err(top.illegal("version", reason));
    }
    let kinds = [Kind::Provider, Kind::Filter, Kind::Handler, Kind::Notifier].map(|it| (it.name(), it));
    let build = build(&top, file)?;
    let binary = top.path("binary")?;
    if binary.is_some() && build.script.is_none() && (build.package.is_some() || !build.features.is_empty()) {
        let reason = "names a prebuilt artifact, but `[build]` asks for a cargo build; delete one of the two";
        return Err(top.illegal("binary", reason));
    }
    if binary.is_none() && build.script.is_some() {
        let reason = "a script needs `binary`, the path where it puts the library, such as `binary = \"target/plugin.so\"`";
        return Err(top.illegal("build", reason));
    }
    Ok(Manifest {
        name: top.string("name")?.unwrap_or(id.short()).to_owned(),
        version: version.to_owned(),
        author: top.string("author")?.map(str::to_owned),
        description: top.string("description")?.map(str::to_owned),
        kind: top.word("type", &kinds)?.unwrap_or_default(),
        auto_start: top.bool("auto_start")?.unwrap_or(true),
        mode: process::mode(&top)?,
        build,
        binary,
        config: config(&top, file)?,
        reload: reload(&top, file)?,
        process: process::process(file, top.node("process"))?,
        limits: process::limits(file, top.node("limits"))?,
        file: file.into(),
        root: root.into(),
        text: Text::default(),
        id,
    })
}

fn build(top: &Fields<'_>, file: &Path) -> Result<BuildSpec, ManifestError> {
    let default = BuildSpec::default();
    let Some(node) = top.node("build") else { return Ok(default) };
    let table = Fields::open(file, "build.", node, BUILD_KEYS)?;
    // These values are passed to cargo as arguments and environment variables, and must not look like options.
    let plain = |text: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-/+.".contains(c);
        !text.is_empty() && !text.starts_with('-') && text.chars().all(allowed)
    };
    let package = table.string("package")?.map(str::to_owned);
    let profile = table.string("profile")?.map_or(default.profile, str::to_owned);
    let features = table.strings("features")?;
    let values = [("package", package.as_ref()), ("profile", Some(&profile))];
    let features_named = features.iter().map(|it| ("features", Some(it)));
    for (key, value) in values.into_iter().chain(features_named) {
        if let Some(value) = value.filter(|it| !plain(it)) {
            return Err(
                table.illegal(key, format!("{value:?} is not a name; use letters, digits, `_` and `-`"))
            );
        }
    }
    Ok(BuildSpec {
        package,
        script: table.path("script")?,
        features,
        profile,
        timeout: table.duration("timeout")?.unwrap_or(default.timeout),
    })
}

fn config(
    top: &Fields<'_>,
    file: &Path,
) -> Result<serde_json::Map<String, serde_json::Value>, ManifestError> {
    let Some(node) = top.node("config") else { return Ok(serde_json::Map::new()) };
    match node.to_json() {
        Ok(serde_json::Value::Object(map)) => Ok(map),
        Ok(_) => Err(ManifestError::WrongType {
            path: file.into(),
            line: node.line,
            key: "config".into(),
            expected: "a table",
            found: node.value.type_name(),
        }),
        Err(line) => Err(ManifestError::IllegalValue {
            path: file.into(),
            line,
            key: "config".into(),
            reason: "an infinite number or NaN cannot be passed to a plugin".into(),
        }),
    }
}

pub(super) fn reload(top: &Fields<'_>, file: &Path) -> Result<ReloadSpec, ManifestError> {
    let default = ReloadSpec::default();
    let Some(node) = top.node("reload") else { return Ok(default) };
    let table = Fields::open(file, "reload.", node, RELOAD_KEYS)?;
    let unloads = [("never", Unload::Never), ("verified", Unload::Verified)];
    let preflights = [("full", Trial::Full), ("load", Trial::Load), ("off", Trial::Off)];
    let orders = [("start-first", Order::StartFirst), ("stop-first", Order::StopFirst)];
    let order = table.word("order", &orders)?.unwrap_or_default();
    let unload = table.word("unload", &unloads)?.unwrap_or_default();
    if (order, unload) == (Order::StopFirst, Unload::Verified) {
        let reason = "\"verified\" waits until the threads of the old version have exited, which may take any time, and with `order = \"stop-first\"` calls would wait meanwhile; remove one of the two";
        return Err(table.illegal("unload", reason));
    }
    // With `stop-first`, the serving version holds a resource during the trial, so an `init` in the trial would fail.
    let trial = if order == Order::StopFirst { Trial::Load } else { Trial::default() };
    Ok(ReloadSpec {
        drain_timeout: table.duration("drain_timeout")?.unwrap_or(default.drain_timeout),
        confirm: confirm(&table, file)?,
        order,
        unload,
        preflight: table.word("preflight", &preflights)?.unwrap_or(trial),
        checkpoint: table.duration("checkpoint")?,
    })
}

fn confirm(reload: &Fields<'_>, file: &Path) -> Result<Option<Confirm>, ManifestError> {
    let default = Confirm::default();
    let Some(node) = reload.node("confirm") else { return Ok(None) };
    if !matches!(node.value, Value::Table(_)) {
        // `spell_out` has replaced a string with a table, so this value has a wrong type. `duration` returns the error.
        return reload.duration("confirm").map(|_| None);
    }
    let table = Fields::open(file, "reload.confirm.", node, CONFIRM_KEYS)?;
    Ok(Some(Confirm {
        window: table.duration("window")?.unwrap_or(default.window),
        max_error_rate: table.rate("max_error_rate")?.unwrap_or(default.max_error_rate),
        errors: table
            .word("errors", &[("ignored", OwnErrors::Ignored), ("counted", OwnErrors::Counted)])?
            .unwrap_or(default.errors),
        min_calls: table.count("min_calls")?.unwrap_or(default.min_calls),
    }))
}
