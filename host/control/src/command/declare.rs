//! The declaration of a command, and the macro that expands the list of commands.

use super::error::Code;
use std::marker::PhantomData;
use utoipa::{IntoParams, ToSchema};

/// The effect of a command on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The command changes nothing.
    Reads,
    /// The command changes something. Repeating it changes nothing more.
    Sets,
    /// The command changes something. Repeating it may change something again.
    Changes,
    /// The command calls a method, and the plugin decides what the call changes.
    Calls,
}

impl Effect {
    /// Whether a command with this effect changes nothing. Such a command is a GET over HTTP. Any other command is a
    /// POST and is audited.
    pub const fn is_read_only(self) -> bool {
        matches!(self, Self::Reads)
    }

    /// Whether repeating a command with this effect changes nothing more.
    pub const fn is_idempotent(self) -> bool {
        matches!(self, Self::Reads | Self::Sets)
    }
}

/// Possible failures, each with its description. `/openapi.json` lists them by the HTTP status of their codes.
pub(crate) type Failures = &'static [(Code, &'static str)];

/// The possible failures of a request that names a plugin.
pub(crate) const OF_A_PLUGIN: Failures = &[
    (Code::UnknownPlugin, "There is no such plugin, method or version"),
    (Code::WrongState, "The plugin's state does not allow the request"),
];
/// The possible failures of a command that is not read-only, because of its body or of the plugin.
pub(crate) const OF_A_CHANGE: Failures = &[
    (Code::SlowBody, "The body did not arrive in time"),
    (Code::NotJson, "The content type of the body is not JSON"),
    (Code::Refused, "The plugin returned an error, or the new version failed to start serving"),
];
/// The possible failures of a method call.
pub(crate) const OF_A_CALL: Failures =
    &[(Code::Busy, "Too many calls run already"), (Code::Deadline, "The call did not end in time")];
/// The possible failures of a stream.
pub(crate) const OF_A_STREAM: Failures =
    &[(Code::UnknownPlugin, "There is no such plugin"), (Code::Busy, "Too many streams are open already")];

/// The declaration of a command, without the types of its payload and its answer.
#[derive(Debug)]
pub struct Declaration {
    /// The name of the command in the path, in the audit and in the description of the API.
    pub name: &'static str,
    /// The path over HTTP.
    pub path: &'static str,
    /// The effect of the command on the host.
    pub effect: Effect,
    /// Whether the answer may be a stream of events.
    pub is_stream: bool,
    /// The documentation.
    pub(crate) docs: &'static str,
    /// The description of success.
    pub(crate) done: &'static str,
    /// The possible failures, in addition to those of every request. If two failures have the same HTTP status,
    /// `/openapi.json` lists only the later one.
    pub(crate) failures: &'static [Failures],
}

/// A source of a payload: a body or a query.
pub(crate) trait Source {
    /// The error for an invalid payload.
    type Error;

    /// Reads the payload.
    fn payload<T: serde::de::DeserializeOwned>(self) -> Result<T, Self::Error>;
}

/// Describes the types of a command's payload and answer.
pub(crate) trait Describe {
    /// The description.
    type Description;

    /// Describes a command whose payload is a query.
    fn by_query<P: IntoParams, A: ToSchema>(self) -> Self::Description;

    /// Describes a command whose payload is a body.
    fn by_body<P: ToSchema, A: ToSchema>(self) -> Self::Description;
}

/// A command together with the type of its answer.
#[derive(Clone, Debug)]
pub struct Request<A> {
    /// The command.
    pub command: super::Command,
    answer: PhantomData<fn() -> A>,
}

impl<A> Request<A> {
    pub(super) const fn new(command: super::Command) -> Self {
        Self { command, answer: PhantomData }
    }
}

/// Defines [`Command`](super::Command), [`Kind`](super::Kind) and [`Answer`](super::Answer) from the list of commands.
macro_rules! declare {
    ($(
        $(#[doc = $doc:literal])+
        $effect:ident $variant:ident as $name:ident($payload:ty) -> $answer:ty, $done:literal, [$($failures:ident),*];
    )+) => {
        /// A command to a running host, with its payload.
        #[derive(Clone, Debug)]
        pub enum Command {
            $($(#[doc = $doc])+ $variant($payload),)+
        }

        /// The answer to a command: one variant for each command.
        #[derive(Clone, Debug, Serialize)]
        #[serde(untagged)]
        #[expect(missing_docs, reason = "each variant is the answer of the command of that name")]
        #[expect(clippy::large_enum_variant, reason = "an answer is made once, and written immediately")]
        pub enum Answer {
            $($variant($answer),)+
        }

        /// The commands, without their payloads.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Kind {
            /// All commands.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The declaration of the command.
            pub const fn declaration(self) -> &'static Declaration {
                match self {
                    $(Self::$variant => &Declaration {
                        name: stringify!($name),
                        path: concat!("/api/v1/plugin/", stringify!($name)),
                        effect: declare!(@effect $effect),
                        is_stream: declare!(@is_stream $effect),
                        docs: concat!($($doc, "\n"),+),
                        done: $done,
                        failures: &[$(declare::$failures),*],
                    },)+
                }
            }

            /// Reads the payload of a command of this kind, and returns the command.
            pub(crate) fn read<S: Source>(self, source: S) -> Result<Command, S::Error> {
                match self {
                    $(Self::$variant => source.payload().map(Command::$variant),)+
                }
            }

            /// Describes the types of the command's payload and answer.
            pub(crate) fn describe<D: Describe>(self, describe: D) -> D::Description {
                match self {
                    $(Self::$variant => declare!(@describe $effect describe, $payload, $answer),)+
                }
            }
        }

        impl Command {
            /// The command without its payload.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$variant,)+
                }
            }

            /// The plugin that the command names, if it names one.
            pub fn plugin(&self) -> Option<&PluginId> {
                match self {
                    $(Self::$variant(it) => it.plugin(),)+
                }
            }

            /// The command's payload as JSON.
            pub fn payload(&self) -> Value {
                let written = match self {
                    $(Self::$variant(it) => serde_json::to_value(it),)+
                };
                // Writing a plain struct as JSON cannot fail.
                written.unwrap_or_default()
            }

            $(
                $(#[doc = $doc])+
                pub const fn $name(payload: $payload) -> Request<$answer> {
                    Request::new(Self::$variant(payload))
                }
            )+
        }
    };
    (@effect reads) => { Effect::Reads };
    (@effect follows) => { Effect::Reads };
    (@effect sets) => { Effect::Sets };
    (@effect changes) => { Effect::Changes };
    (@effect calls) => { Effect::Calls };
    (@describe reads $describe:ident, $payload:ty, $answer:ty) => { $describe.by_query::<$payload, $answer>() };
    (@describe follows $describe:ident, $payload:ty, $answer:ty) => { $describe.by_query::<$payload, $answer>() };
    (@describe $effect:ident $describe:ident, $payload:ty, $answer:ty) => { $describe.by_body::<$payload, $answer>() };
    (@is_stream follows) => { true };
    (@is_stream $effect:ident) => { false };
}

pub(super) use declare;

#[cfg(test)]
mod tests {
    use super::super::{Command, Kind, OfPlugin};

    #[test]
    fn read_only_commands_are_idempotent_and_reload_is_not() {
        let repeatable: Vec<_> =
            Kind::ALL.iter().filter(|kind| kind.declaration().effect.is_idempotent()).collect();
        assert!(Kind::ALL.iter().all(|kind| {
            let effect = kind.declaration().effect;
            effect.is_idempotent() || !effect.is_read_only()
        }));
        assert!(repeatable.contains(&&Kind::Stop) && !repeatable.contains(&&Kind::Reload));
    }

    #[test]
    fn a_request_contains_the_command_that_made_it() {
        let id: replug_engine::PluginId = "dev.test.one".parse().unwrap();
        let command = Command::reload(OfPlugin { id: id.clone() }).command;
        assert_eq!((command.kind(), command.plugin()), (Kind::Reload, Some(&id)));
        assert_eq!(command.kind().declaration().path, "/api/v1/plugin/reload");
        assert_eq!(command.payload(), serde_json::json!({ "id": "dev.test.one" }));
    }
}
