//! [`Command`]: everything that can be asked of a running host. HTTP and the command line only parse into it.
//!
//! A variant's payload is at once the body, or the query, of the request that carries it.
//!
//! `execute.rs` does what a command says and gives an [`Answer`](answer::Answer). Nothing here knows by which way the
//! command came: no HTTP, no sockets.

pub mod answer;
mod audit;
mod calls;
pub(crate) mod error;
pub(crate) mod execute;
pub(crate) mod filter;
pub(crate) mod recent;
pub(crate) mod schema;
mod who;

pub use who::Who;

use replug_engine::{PluginId, Status};
use schema::StatusSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// What is asked of a running host.
#[derive(Clone, Debug)]
pub enum Command {
    /// List the plugins, in pages.
    List(List),
    /// Tell all of one plugin.
    Get(OfPlugin),
    /// Take in a plugin that was never started, or was unregistered: build it if need be, and start it.
    Register(Register),
    /// Stop a plugin, and count it among those that were never started.
    Unregister(OfPlugin),
    /// Call a method.
    Execute(Execute),
    /// Build the plugin, and let the result serve as a new generation.
    Reload(OfPlugin),
    /// Let an earlier version serve again, as a new generation.
    Rollback(Rollback),
    /// Start a plugin that does not run; one that does is left alone.
    Start(OfPlugin),
    /// End a plugin after its last call, and keep its state for the next start; one that does not run is left alone.
    Stop(Stop),
    /// Give a plugin another configuration, without touching its manifest.
    Configure(Configure),
    /// Describe the methods of the generation that serves.
    Methods(OfPlugin),
    /// Tell what a plugin has logged lately.
    Logs(Logs),
    /// List the versions that a plugin can go back to.
    Generations(OfPlugin),
}

impl Command {
    /// The last part of its path: `/api/v1/plugin/<name>`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "list",
            Self::Get(_) => "get",
            Self::Register(_) => "register",
            Self::Unregister(_) => "unregister",
            Self::Execute(_) => "execute",
            Self::Reload(_) => "reload",
            Self::Rollback(_) => "rollback",
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Configure(_) => "config",
            Self::Methods(_) => "methods",
            Self::Logs(_) => "logs",
            Self::Generations(_) => "generations",
        }
    }

    /// Whether it may change something: such a command is a POST, and leaves a trace in the audit.
    pub fn changes(&self) -> bool {
        !matches!(
            self,
            Self::List(_) | Self::Get(_) | Self::Methods(_) | Self::Logs(_) | Self::Generations(_)
        )
    }

    /// The plugin that it is about.
    pub fn plugin(&self) -> Option<&PluginId> {
        match self {
            Self::List(_) => None,
            Self::Get(of)
            | Self::Unregister(of)
            | Self::Reload(of)
            | Self::Start(of)
            | Self::Methods(of)
            | Self::Generations(of) => Some(&of.id),
            Self::Register(Register { id, .. })
            | Self::Stop(Stop { id, .. })
            | Self::Execute(Execute { id, .. })
            | Self::Rollback(Rollback { id, .. })
            | Self::Configure(Configure { id, .. }) => Some(id),
            Self::Logs(logs) => logs.id.as_ref(),
        }
    }

    /// Its payload as JSON.
    pub fn payload(&self) -> Value {
        let written = match self {
            Self::List(it) => serde_json::to_value(it),
            Self::Get(it)
            | Self::Unregister(it)
            | Self::Reload(it)
            | Self::Start(it)
            | Self::Methods(it)
            | Self::Generations(it) => serde_json::to_value(it),
            Self::Register(it) => serde_json::to_value(it),
            Self::Stop(it) => serde_json::to_value(it),
            Self::Execute(it) => serde_json::to_value(it),
            Self::Rollback(it) => serde_json::to_value(it),
            Self::Configure(it) => serde_json::to_value(it),
            Self::Logs(it) => serde_json::to_value(it),
        };
        // Payloads are plain structs, which can be written.
        written.unwrap_or_default()
    }
}

/// A plugin.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OfPlugin {
    /// The plugin's id.
    pub id: PluginId,
}

/// Which plugins to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct List {
    /// Only plugins of this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<StatusSchema>)]
    #[param(value_type = Option<StatusSchema>)]
    pub status: Option<Status>,
    /// Which page, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 4294967295u64)]
    pub page_no: Option<u32>,
    /// How many plugins a page holds, from 1 to 100; 100 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 100)]
    pub page_size: Option<u32>,
}

/// A plugin to be taken in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The plugin's id.
    pub id: PluginId,
    /// Whether to take it in again, built again, if it is registered already. Without it, that is an error.
    #[serde(default)]
    pub rebuild: bool,
}

/// A plugin to be stopped.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The plugin's id.
    pub id: PluginId,
    /// Whether to drop its state, which else is kept for the next start; also that of a plugin that was stopped before.
    #[serde(default)]
    pub discard: bool,
}

/// A method to be called.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Execute {
    /// The plugin's id.
    pub id: PluginId,
    /// The method, or `Interface.method` if two interfaces have a method of that name.
    #[schema(example = "add")]
    pub method: String,
    /// The arguments: an object by name, or an array by position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::arguments, required = false)]
    pub args: Option<Value>,
    /// The argument of a method that takes one text, in place of `args`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// A version to go back to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The plugin's id.
    pub id: PluginId,
    /// A digest, or the beginning of one, or a generation such as `g2`, as `generations` lists them. Without it, the
    /// last version that was different.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A configuration for a plugin.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Configure {
    /// The plugin's id.
    pub id: PluginId,
    /// The whole `[config]`, in place of the manifest's.
    #[schema(value_type = Object)]
    pub config: Map<String, Value>,
}

/// Whose logs to tell.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Logs {
    /// The plugin's id; all plugins if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<PluginId>,
    /// Whether to go on as server-sent events with what is logged from now on.
    #[serde(default)]
    pub follow: bool,
    /// How many of the last entries to tell, of each plugin, from 0 to 500; 100 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0, maximum = 500)]
    pub lines: Option<u32>,
}
