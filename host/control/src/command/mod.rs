//! [`Command`]: every possible request to a running host. HTTP and the command line only parse into it.
//!
//! Each command is declared once, in the list `commands` below. [`Command`], [`Kind`] and [`Answer`] follow from that list, and
//! so do the path, the HTTP method and the description of the API, the name in the audit, and the level of a request's span.
//! `execute.rs` and `change.rs` have a function with each command's name, which executes the command. This module does not
//! depend on the transport: no HTTP, no sockets.
//!
//! A variant's payload is also the body or the query of the request that carries it.

pub mod answer;
mod audit;
mod calls;
mod change;
mod declare;
pub(crate) mod error;
pub(crate) mod execute;
pub(crate) mod filter;
pub(crate) mod recent;
pub(crate) mod schema;
mod who;

pub use declare::{Declaration, Effect, Request};
pub(crate) use declare::{Describe, Failures, OF_A_STREAM, Source};
pub use who::Who;

use answer::{Changed, ConfigTaken, Executed, Logged, Methods, Plugin, Plugins, Versions};
use declare::declare;
use replug_engine::{PluginId, Status};
use schema::StatusSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// Passes the list of commands to a macro. The entry of a command has its documentation; its [`Effect`] (`follows` reads, and
/// may continue as a stream); its variant, its name, its payload and its answer; the description of success; and the possible
/// failures.
macro_rules! commands {
    ($make:ident) => {
        $make! {
            /// List the plugins, in pages: those that were started at least once, and those that were not.
            reads List as list(List) -> Plugins, "The plugins of the page", [];

            /// Tell all of one plugin.
            reads Get as get(OfPlugin) -> Plugin, "The plugin", [OF_A_PLUGIN];

            /// Describe the methods of the generation that serves: names, parameters, types and docs, from its interfaces.
            reads Methods as methods(OfPlugin) -> Methods, "The methods by interface", [OF_A_PLUGIN];

            /// List the versions that a plugin can go back to.
            reads Generations as generations(OfPlugin) -> Versions, "The versions, the oldest first", [OF_A_PLUGIN];

            /// Tell what a plugin, or each, has logged lately; with `follow=true`, as server-sent events that go on with what is
            /// logged from now on, or, with the last id in the header `Last-Event-ID`, after that.
            follows Logs as logs(Logs) -> Logged, "The entries, the oldest first", [OF_A_PLUGIN, OF_A_STREAM];

            /// Call a method, always on the newest generation.
            calls Execute as execute(Execute) -> Executed, "What the method returned", [OF_A_PLUGIN, OF_A_CHANGE, OF_A_CALL];

            /// Take in a plugin that was never started, or was unregistered: build it if need be, and start it.
            changes Register as register(Register) -> Changed, "It serves", [OF_A_PLUGIN, OF_A_CHANGE];

            /// Stop a plugin, and count it among those that were never started.
            sets Unregister as unregister(OfPlugin) -> Changed, "It does not run", [OF_A_PLUGIN, OF_A_CHANGE];

            /// Build the plugin, and let the result serve as a new generation.
            changes Reload as reload(OfPlugin) -> Changed, "The new generation serves", [OF_A_PLUGIN, OF_A_CHANGE];

            /// Let an earlier version serve again, as a new generation.
            changes Rollback as rollback(Rollback) -> Changed, "The earlier version serves", [OF_A_PLUGIN, OF_A_CHANGE];

            /// Start a plugin that does not run; one that does is left alone.
            sets Start as start(OfPlugin) -> Changed, "It serves", [OF_A_PLUGIN, OF_A_CHANGE];

            /// End a plugin after its last call; one that does not run is left alone.
            sets Stop as stop(Stop) -> Changed, "It does not run", [OF_A_PLUGIN, OF_A_CHANGE];

            /// Give a plugin another configuration, without touching its manifest. What the plugin refuses changes nothing.
            changes Configure as config(Configure) -> ConfigTaken, "The plugin has taken it over", [OF_A_PLUGIN, OF_A_CHANGE];
        }
    };
}

use commands;

commands!(declare);

/// The payload of a command.
trait Payload {
    /// The plugin that it names.
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
