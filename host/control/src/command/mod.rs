//! [`Command`]: every possible request to a running host. HTTP and the command line only translate their input into
//! commands.
//!
//! Each command is declared once, in the list `commands` below. [`Command`], [`Kind`] and [`Answer`] are generated from
//! this list. It also determines each command's path, HTTP method and description in the API, its name in the audit,
//! and the level of the span of its requests. For each command, a function with the command's name in `execute.rs` or
//! `change.rs` executes it. This module does not depend on the transport: it uses no HTTP and no sockets.
//!
//! The payload of a command is also the body or the query of the HTTP request.

pub mod answer;
mod audit;
mod calls;
mod change;
mod declare;
pub(crate) mod error;
pub(crate) mod execute;
mod failure;
pub(crate) mod filter;
pub(crate) mod recent;
pub(crate) mod schema;
mod who;

pub use declare::{Declaration, Effect, Request};
pub(crate) use declare::{Describe, Failures, OF_A_STREAM, Source};
pub use failure::CallFailure;
pub use who::Who;

use answer::{Changed, ConfigTaken, Executed, Logged, Methods, Plugin, Plugins, Versions};
use declare::declare;
use replug_engine::{PluginId, Status};
use schema::StatusSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::{IntoParams, ToSchema};

/// Passes the list of commands to a macro. The entry of a command has these parts:
///
/// * its documentation;
/// * its [`Effect`]; `follows` means an effect of [`Effect::Reads`] and an answer that may continue as a stream;
/// * its variant, its name, its payload and its answer;
/// * the description of success;
/// * the possible failures.
macro_rules! commands {
    ($make:ident) => {
        $make! {
            /// List the plugins, in pages: those that were started at least once, and those that were not.
            reads List as list(List) -> Plugins, "The plugins of the page", [];

            /// Describe one plugin.
            reads Get as get(OfPlugin) -> Plugin, "The plugin", [OF_A_PLUGIN];

            /// Describe the methods of the serving generation: names, parameters, types and docs, from its interfaces.
            reads Methods as methods(OfPlugin) -> Methods, "The methods by interface", [OF_A_PLUGIN];

            /// List the versions to which a plugin can roll back.
            reads Generations as generations(OfPlugin) -> Versions, "The versions, the oldest first", [OF_A_PLUGIN];

            /// Return the recent log entries of a plugin, or of each plugin. With `follow=true`, the answer is a stream
            /// of server-sent events: the recent entries, and then new entries as they are logged. With an id in the
            /// header `Last-Event-ID`, the stream begins after that entry.
            follows Logs as logs(Logs) -> Logged, "The entries, the oldest first", [OF_A_PLUGIN, OF_A_STREAM];

            /// Call a method, always on the newest generation.
            calls Execute as execute(Execute) -> Executed, "What the method returned", [OF_A_PLUGIN, OF_A_CHANGE, OF_A_CALL];

            /// Register a plugin that was never started, or was unregistered: build it if necessary, and start it.
            changes Register as register(Register) -> Changed, "It serves", [OF_A_PLUGIN, OF_A_CHANGE];

            /// Stop a plugin, and list it as never started from then on.
            sets Unregister as unregister(OfPlugin) -> Changed, "It does not run", [OF_A_PLUGIN, OF_A_CHANGE];

            /// Build the plugin, and make the result serve as a new generation.
            changes Reload as reload(OfPlugin) -> Changed, "The new generation serves", [OF_A_PLUGIN, OF_A_CHANGE];

            /// Make an earlier version serve again, as a new generation.
            changes Rollback as rollback(Rollback) -> Changed, "The earlier version serves", [OF_A_PLUGIN, OF_A_CHANGE];

            /// Start a plugin that does not run, and end its quarantine. A running plugin keeps running.
            sets Start as start(OfPlugin) -> Changed, "It serves", [OF_A_PLUGIN, OF_A_CHANGE];

            /// Stop a plugin after its last call. Has no effect on a plugin that does not run.
            sets Stop as stop(Stop) -> Changed, "It does not run", [OF_A_PLUGIN, OF_A_CHANGE];

            /// Give a plugin a new configuration, without changing its manifest. If the plugin rejects it, nothing
            /// changes.
            changes Configure as config(Configure) -> ConfigTaken, "It applies now, or at the next start", [OF_A_PLUGIN, OF_A_CHANGE];
        }
    };
}

use commands;

commands!(declare);

/// The payload of a command.
trait Payload {
    /// The plugin that the payload names, if it names one.
    fn plugin(&self) -> Option<&PluginId>;
}

macro_rules! of_one_plugin {
    ($($payload:ty),+) => {
        $(impl Payload for $payload {
            fn plugin(&self) -> Option<&PluginId> {
                Some(&self.id)
            }
        })+
    };
}

of_one_plugin!(OfPlugin, Register, Stop, Execute, Rollback, Configure);

impl Payload for List {
    fn plugin(&self) -> Option<&PluginId> {
        None
    }
}

impl Payload for Logs {
    fn plugin(&self) -> Option<&PluginId> {
        self.id.as_ref()
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
    /// Only plugins with this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<StatusSchema>)]
    #[param(value_type = Option<StatusSchema>)]
    pub status: Option<Status>,
    /// The number of the page, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 4294967295u64)]
    pub page_no: Option<u32>,
    /// The maximum number of plugins on a page, from 1 to 100; default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 100)]
    pub page_size: Option<u32>,
}

/// A plugin to register.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The plugin's id.
    pub id: PluginId,
    /// Whether to build the plugin and start it again if it is already registered. By default, registering a registered
    /// plugin is an error.
    #[serde(default)]
    pub rebuild: bool,
}

/// A plugin to stop.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The plugin's id.
    pub id: PluginId,
    /// Whether to discard the plugin's state, which is otherwise kept for the next start. Also applies to a plugin that
    /// was already stopped.
    #[serde(default)]
    pub discard: bool,
}

/// A method to call.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Execute {
    /// The plugin's id.
    pub id: PluginId,
    /// The method, or `Interface.method` if two interfaces have a method with the same name.
    #[schema(example = "add")]
    pub method: String,
    /// The arguments: an object by name, or an array by position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::arguments, required = false)]
    pub args: Option<Box<RawValue>>,
    /// The argument of a method that takes one string, instead of `args`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// A version to roll back to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The plugin's id.
    pub id: PluginId,
    /// A digest, a prefix of a digest, or a generation such as `g2`, as `generations` lists them. Default: the newest
    /// version that first served before the serving version first served, and that `confirm` has not rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A configuration for a plugin.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Configure {
    /// The plugin's id.
    pub id: PluginId,
    /// The complete configuration, which replaces `[config]` of the manifest.
    #[schema(value_type = Object)]
    pub config: Map<String, Value>,
}

/// Which logs to return.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Logs {
    /// The plugin's id; default: all plugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<PluginId>,
    /// Whether to continue as server-sent events with new entries.
    #[serde(default)]
    pub follow: bool,
    /// How many recent entries of each plugin to return, from 0 to 500; default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0, maximum = 500)]
    pub lines: Option<u32>,
}
