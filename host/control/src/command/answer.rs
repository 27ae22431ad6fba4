//! The answers to [commands](super::Command): plain data, the same over HTTP and on the command line.
//!
//! The command line may read the answer of a host that runs a different version of replug. So it ignores unknown
//! fields, and a field that is added here needs a default for older hosts, which do not send the field.

use super::schema::StatusSchema;
use replug_api::describe;
use replug_engine::{
    Configured, Event, Generation, PendingConfig, PluginInfo, Status, Version,
    event::{ConfiguredHow, LimitsInForce},
    manifest::{LaneKind, LaneReason, Mode},
    metrics::Failures,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;

/// The plugins, registered and unregistered ones separately.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Plugins {
    /// The plugins on this page that were started at least once.
    pub registered: Vec<Plugin>,
    /// The other plugins on this page.
    pub unregistered: Vec<Plugin>,
    /// The number of plugins on all pages.
    pub total: usize,
    /// The number of this page, from 1.
    pub page_no: u32,
    /// The maximum number of plugins on a page.
    pub page_size: u32,
    /// The settings that the host has not applied.
    #[serde(default)]
    #[schema(required = true)]
    pub configuration: Configuration,
}

/// The settings in the current configuration that the host has not applied.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Configuration {
    /// Why the configuration was rejected, with file, line and key; null if it was not rejected.
    pub refused: Option<String>,
    /// The keys whose new values take effect after a restart of the host.
    pub restart_needed: Vec<String>,
}

impl From<PendingConfig> for Configuration {
    fn from(PendingConfig { refused, restart_needed }: PendingConfig) -> Self {
        Self { refused, restart_needed }
    }
}

/// The state of a plugin at the time of the answer: [`PluginInfo`] as JSON. The two types are separate, because clients
/// of other versions of replug read this type, while the fields of [`PluginInfo`] may change with each version.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Plugin {
    /// The plugin's id.
    pub id: String,
    /// The plugin's display name.
    pub name: String,
    /// The version in the manifest.
    pub version: String,
    /// The description in the manifest.
    pub description: String,
    /// The plugin's role: `provider`, `filter`, `handler` or `notifier`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The mode in the manifest.
    #[schema(value_type = String)]
    pub mode: Mode,
    /// Where the serving generation runs, `in-process` or `process`; null if none serves.
    #[schema(value_type = Option<String>)]
    pub runs_in: Option<Mode>,
    /// The plugin's status.
    #[schema(value_type = StatusSchema)]
    pub status: Status,
    /// Details of the status: what the plugin does, what went wrong, or from which version it was rolled back; may be
    /// empty.
    pub detail: String,
    /// The serving generation; null if none serves.
    pub generation: Option<u64>,
    /// The SHA-256 of the serving artifact, in hexadecimal; null if none serves.
    pub digest: Option<String>,
    /// The pid of the plugin's child process; null if the plugin has none.
    pub process_id: Option<u32>,
    /// Whether the plugin was started, but no generation of it serves now.
    pub is_exited: bool,
    /// The time since the serving generation began to serve, in seconds.
    pub uptime: Option<f64>,
    /// The number of calls that have ended, of all generations.
    pub calls: u64,
    /// The number of calls that have failed.
    pub errors: u64,
    /// The number of calls that have failed, by kind of failure.
    #[serde(default)]
    #[schema(required = true)]
    pub failed: Failures,
    /// The number of calls in progress.
    pub in_flight: usize,
    /// How often the plugin's process was restarted after a crash.
    pub restarts: u64,
    /// The resident memory of the plugin's child process, in bytes; null if the plugin has none.
    pub memory: Option<u64>,
    /// The CPU time of the plugin's child process, in seconds; null if the plugin has none.
    pub cpu: Option<f64>,
    /// The number of open descriptors of the plugin's child process; null if the plugin has none.
    pub open_files: Option<u64>,
    /// How the last call was passed to the plugin's child process: `shared-memory` or `socket`. Null if the plugin does
    /// not run in a child process, or no method of it was called.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub lane: Option<LaneKind>,
    /// Why calls use this lane: `requested`, because it is the lane of the manifest or the default, or `no-memory`,
    /// because shared memory is not available.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub lane_reason: Option<LaneReason>,
    /// The limits that apply to the plugin's process, and the limits of the manifest that do not apply.
    #[schema(value_type = Option<Object>)]
    pub limits: Option<LimitsInForce>,
    /// The number of generations that have ended since the host started, by outcome: `kept`, `unloaded`, `threads`,
    /// `pinned_tls`, `nodelete`, `ended` or `drop_panicked`. `docs/monitoring/README.md` explains them.
    #[serde(default)]
    #[schema(required = true, value_type = Object)]
    pub retired: BTreeMap<String, u64>,
    /// The names of the serving generation's interfaces.
    pub interfaces: Vec<String>,
    /// The plugin's folder.
    pub path: String,
}

impl From<PluginInfo> for Plugin {
    fn from(info: PluginInfo) -> Self {
        Self {
            is_exited: info.status.is_registered() && info.generation.is_none(),
            id: info.id.to_string(),
            name: info.name,
            version: info.version,
            description: info.description,
            kind: info.kind.name().to_owned(),
            mode: info.mode,
            runs_in: info.runs_in,
            status: info.status,
            detail: info.detail,
            generation: info.generation.map(|generation| generation.0),
            digest: info.digest.map(|digest| digest.to_string()),
            process_id: info.process_id,
            uptime: info.uptime_s,
            calls: info.calls,
            errors: info.failures,
            failed: info.failed,
            in_flight: info.in_flight,
            restarts: info.restarts,
            memory: info.process.map(|process| process.resident_bytes),
            cpu: info.process.map(|process| process.cpu_seconds),
            open_files: info.process.and_then(|process| process.open_files),
            lane: info.lane,
            lane_reason: info.lane_reason,
            limits: info.limits,
            retired: info.retired.iter().map(|(it, count)| (it.name().to_owned(), *count)).collect(),
            interfaces: info.interfaces,
            path: info.path.display().to_string(),
        }
    }
}

/// The state of a plugin after a command has changed it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// The plugin's id.
    pub id: String,
    /// The serving generation; null if none serves.
    pub generation: Option<u64>,
    /// The plugin's status.
    #[schema(value_type = StatusSchema)]
    pub status: Status,
}

/// The result of a call.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Executed {
    /// The plugin's id.
    pub id: String,
    /// The method.
    pub method: String,
    /// The generation that served when the call began.
    pub generation: Option<u64>,
    /// The value that the method returned, as the plugin's JSON, unchanged.
    #[schema(value_type = Value)]
    pub result: Box<RawValue>,
}

/// The answer to a new configuration.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConfigTaken {
    /// The plugin's id.
    pub id: String,
    /// `live`: the running instance has applied the configuration. `restarted`: a new generation has applied it.
    /// `at_start`: the plugin does not run and has not checked it. If it is invalid, the next start fails.
    #[schema(value_type = String)]
    pub how: ConfiguredHow,
    /// The generation that uses the configuration; null for `at_start`.
    pub generation: Option<u64>,
    /// A text for people: how long the configuration stays in effect, and whether the plugin has checked it.
    pub holds: String,
}

impl ConfigTaken {
    pub(crate) fn new(id: String, how: Configured) -> Self {
        let generation = match how {
            Configured::Live(Generation(number)) | Configured::Restarted(Generation(number)) => Some(number),
            Configured::AtStart => None,
        };
        let unchecked = match how {
            Configured::AtStart => {
                "not checked yet: if it is invalid, starts fail until a different configuration is given; "
            }
            Configured::Live(_) | Configured::Restarted(_) => "",
        };
        let holds = format!(
            "{unchecked}until the host restarts, or `[config]` in the manifest changes; to keep it, \
             write it into the manifest"
        );
        Self { id, how: how.how(), generation, holds }
    }
}

/// The methods of the serving generation.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Methods {
    /// The plugin's id.
    pub id: String,
    /// The serving generation.
    pub generation: Option<u64>,
    /// The interfaces of the serving generation.
    pub interfaces: Vec<Interface>,
}

/// One interface of a plugin.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// The trait's name.
    pub name: String,
    /// The trait's doc comment.
    pub docs: String,
    /// The methods in declaration order.
    pub methods: Vec<Method>,
    /// The definitions of the author's types that the methods use, by name. Each is an object with `docs` and `shape`.
    #[schema(value_type = Object)]
    pub types: Value,
}

/// One method of an interface.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Method {
    /// The method's name.
    pub name: String,
    /// The method's doc comment.
    pub docs: String,
    /// The signature in Rust syntax.
    pub signature: String,
    /// The parameters in order.
    pub params: Vec<Param>,
    /// The type of the result, as data. [`Param::ty`] shows the form.
    pub returns: Value,
    /// The type of the method's own errors, as data; null if it has none.
    pub error: Value,
}

/// One parameter of a method.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Param {
    /// The parameter's name.
    pub name: String,
    /// The parameter's type in Rust syntax.
    pub rust: String,
    /// The parameter's type as data, such as `"string"`, `{"number":"f64"}`, `{"option":..}` or `{"named":"Entry"}`.
    #[serde(rename = "type")]
    pub ty: Value,
}

impl Interface {
    pub(crate) fn of(interface: &describe::Interface) -> Self {
        Self {
            name: interface.name.clone(),
            docs: interface.docs.clone(),
            methods: interface.methods.iter().map(Method::of).collect(),
            types: json!(interface.types),
        }
    }
}

impl Method {
    fn of(method: &describe::Method) -> Self {
        let params: Vec<_> = method
            .params
            .iter()
            .map(|param| Param { name: param.name.clone(), rust: param.declared(), ty: json!(param.ty) })
            .collect();
        let taken: String = params.iter().map(|param| format!(", {}: {}", param.name, param.rust)).collect();
        let returned = match (&method.error, method.returns.to_string()) {
            (Some(error), ok) => format!(" -> Result<{ok}, {error}>"),
            (None, ok) if ok == "()" => String::new(),
            (None, ok) => format!(" -> {ok}"),
        };
        Self {
            name: method.name.clone(),
            docs: method.docs.clone(),
            signature: format!("fn {}(&self{taken}){returned}", method.name),
            params,
            returns: json!(method.returns),
            error: json!(method.error),
        }
    }
}

/// Recent log entries of plugins, the oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Logged {
    /// The plugin's id; null for all plugins.
    pub id: Option<String>,
    /// Events of the kinds `log`, `plugin_panicked` and `plugin_crashed`.
    #[schema(value_type = Vec<Object>)]
    pub logs: Vec<Arc<Event>>,
}

/// The versions to which a plugin can roll back.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Versions {
    /// The plugin's id.
    pub id: String,
    /// The serving generation; null if none serves.
    pub generation: Option<u64>,
    /// The versions, the oldest first.
    pub generations: Vec<OldVersion>,
}

/// A version that has served, and may serve again.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OldVersion {
    /// The first generation that ran this version.
    pub generation: u64,
    /// The SHA-256 of the artifact, in hexadecimal.
    pub digest: String,
    /// Whether this version serves now.
    pub is_serving: bool,
}

impl Versions {
    pub(crate) fn new(id: String, versions: &[Version]) -> Self {
        Self {
            id,
            generation: versions.iter().find_map(|version| version.serves_as).map(|generation| generation.0),
            generations: versions
                .iter()
                .map(|version| OldVersion {
                    generation: version.generation.0,
                    digest: version.digest.to_string(),
                    is_serving: version.serves_as.is_some(),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
