//! What a [`Command`](super::Command) gives: plain data, the same over HTTP and on the command line.
//!
//! The command line reads what another version of the host may have written. So an answer is read without regard to what it has
//! beside the fields here, and a field that is added here has a value for a host that does not know it yet.

use super::schema::StatusSchema;
use replug_api::describe;
use replug_engine::{
    Configured, Event, Generation, PendingConfig, PluginInfo, Status, Version, event::LimitsInForce,
    manifest::Mode, metrics::Failures,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use std::sync::Arc;
use utoipa::ToSchema;

/// The plugins, those that the host has taken in apart from those that it has not.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Plugins {
    /// The plugins that were started at least once, on this page.
    pub registered: Vec<Plugin>,
    /// The others, on this page.
    pub unregistered: Vec<Plugin>,
    /// How many there are on all pages.
    pub total: usize,
    /// Which page this is.
    pub page_no: u32,
    /// How many plugins a page holds.
    pub page_size: u32,
    /// What the host was told and has not applied.
    pub configuration: Configuration,
}

/// What of its configuration, as it stands, the host has not applied.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Configuration {
    /// Why it was refused, with file, line and key; null if it was not.
    pub refused: Option<String>,
    /// The keys whose new values count when the host is started again.
    pub restart_needed: Vec<String>,
}

impl From<PendingConfig> for Configuration {
    fn from(PendingConfig { refused, restart_needed }: PendingConfig) -> Self {
        Self { refused, restart_needed }
    }
}

/// A plugin as the host sees it at one moment.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Plugin {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The version that its manifest says.
    pub version: String,
    /// What it is for, in its manifest's words.
    pub description: String,
    /// What part it plays: `provider`, `filter`, `handler` or `notifier`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where its generations run, as its manifest says.
    #[schema(value_type = String)]
    pub mode: Mode,
    /// Where the generation that serves runs: `in-process` or `process`.
    #[schema(value_type = Option<String>)]
    pub runs_in: Option<Mode>,
    /// How it is.
    #[schema(value_type = StatusSchema)]
    pub status: Status,
    /// More about that: what is going on, or what went wrong; may be empty.
    pub detail: String,
    /// The generation that serves.
    pub generation: Option<u64>,
    /// The artifact that serves, by its SHA-256.
    pub digest: Option<String>,
    /// The number of its process, if that is one of its own.
    pub process_id: Option<u32>,
    /// Whether it was started, and nothing of it runs now.
    pub is_exited: bool,
    /// For how many seconds the generation that serves has done so.
    pub uptime: Option<f64>,
    /// Calls that have ended, of all generations.
    pub calls: u64,
    /// Those of them that gave no value.
    pub errors: u64,
    /// The same by why.
    pub failed: Failed,
    /// Calls that run now.
    pub in_flight: usize,
    /// How often its process was started again after a crash.
    pub restarts: u64,
    /// The memory that its process has in use, in bytes, if that is one of its own.
    pub memory: Option<u64>,
    /// The time on a processor that its process has had, in seconds, if that is one of its own.
    pub cpu: Option<f64>,
    /// How many descriptors its process has open, if that is one of its own.
    pub open_files: Option<u64>,
    /// What bounds its process, and what does not though it was asked for, if that is one of its own.
    #[schema(value_type = Option<Object>)]
    pub limits: Option<LimitsInForce>,
    /// The interfaces of the generation that serves.
    pub interfaces: Vec<String>,
    /// Its folder.
    pub path: String,
}

/// Calls that gave no value, by why.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct Failed {
    /// The method returned an error of its own.
    pub error: u64,
    /// The method panicked.
    pub panicked: u64,
    /// The plugin's process ended meanwhile.
    pub crashed: u64,
    /// They were not back by their deadline.
    pub timeout: u64,
    /// They did not reach the method, or what came back could not be read.
    pub lost: u64,
}

impl From<Failures> for Failed {
    fn from(it: Failures) -> Self {
        let Failures { error, panicked, crashed, timeout, lost } = it;
        Self { error, panicked, crashed, timeout, lost }
    }
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
            failed: info.failed.into(),
            in_flight: info.in_flight,
            restarts: info.restarts,
            memory: info.process.map(|process| process.resident_bytes),
            cpu: info.process.map(|process| process.cpu_seconds),
            open_files: info.process.and_then(|process| process.open_files),
            limits: info.limits,
            interfaces: info.interfaces,
            path: info.path.display().to_string(),
        }
    }
}

/// How a plugin is after a command has changed it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// The plugin's id.
    pub id: String,
    /// The generation that serves now, if one does.
    pub generation: Option<u64>,
    /// How the plugin is now.
    #[schema(value_type = StatusSchema)]
    pub status: Status,
}

/// What a call gave.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Executed {
    /// The plugin's id.
    pub id: String,
    /// The method.
    pub method: String,
    /// The generation that served when the call began.
    pub generation: Option<u64>,
    /// What it returned, as the plugin wrote it.
    #[schema(value_type = Value)]
    pub result: Box<RawValue>,
}

/// A configuration was taken over.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConfigTaken {
    /// The plugin's id.
    pub id: String,
    /// `live` by the running instance, `restarted` as a new generation, or `at_start` because the plugin does not run: then
    /// nothing has checked it yet, and a start that it does not fit is refused.
    pub how: String,
    /// The generation that has it, if one does.
    pub generation: Option<u64>,
    /// How long it holds, and whether that has still to be seen.
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
                "unchecked as yet: if it does not fit, the next start is refused, until another is given; "
            }
            Configured::Live(_) | Configured::Restarted(_) => "",
        };
        let holds = format!(
            "{unchecked}until the host restarts, or `[config]` in the manifest says something else than now; to keep it, \
             write it there"
        );
        Self { id, how: how.how().into(), generation, holds }
    }
}

/// The methods of the generation that serves.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Methods {
    /// The plugin's id.
    pub id: String,
    /// The generation that serves.
    pub generation: Option<u64>,
    /// Its interfaces.
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
    /// The definitions of the author's types that the methods mention, by name: an object of `docs` and `shape`.
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
    /// As one would write it in Rust.
    pub signature: String,
    /// The parameters in order.
    pub params: Vec<Param>,
    /// What it returns, as data.
    pub returns: Value,
    /// The type of its own errors, as data; null if it has none.
    pub error: Value,
}

/// One parameter of a method.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Param {
    /// The parameter's name.
    pub name: String,
    /// Its type as one would write it in Rust.
    pub rust: String,
    /// Its type as data: `"string"`, `{"number":"f64"}`, `{"option":..}`, `{"named":"Entry"}`.
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
            .map(|param| Param { name: param.name.clone(), rust: param.ty.to_string(), ty: json!(param.ty) })
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

/// What plugins have logged lately, the oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Logged {
    /// The plugin's id; none if all were asked for.
    pub id: Option<String>,
    /// Events of the kinds `log`, `plugin_panicked` and `plugin_crashed`.
    #[schema(value_type = Vec<Object>)]
    pub logs: Vec<Arc<Event>>,
}

/// The versions that a plugin can go back to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Versions {
    /// The plugin's id.
    pub id: String,
    /// The generation that serves, if one does.
    pub generation: Option<u64>,
    /// The versions, the oldest first.
    pub generations: Vec<OldVersion>,
}

/// A version that has served, and may serve again.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OldVersion {
    /// The first generation that it served as.
    pub generation: u64,
    /// The artifact, by its SHA-256.
    pub digest: String,
    /// Whether it serves now.
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
