//! The events of a host, emitted to all readers. Every stage emits events, and no stage reads them.

mod build_way;
mod diagnostic;
mod limits;
mod name;
mod progress;
mod stage;
mod stream;
mod tally;

pub use build_way::{BuildWay, BuiltBy};
pub use diagnostic::{Diagnostic, DiagnosticLevel};
pub use limits::{Bound, Enforcer, LimitedResource, LimitsInForce};
pub use name::EventName;
pub use progress::BuildProgress;
pub use stage::{Stage, Stages};
pub use stream::{EventSink, Events, WeakEventSink};
pub use tally::{PluginTally, ReloadOutcome, Tally};

use crate::id::{Digest, Generation, PluginId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

/// One event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The time of the event, as RFC 3339 in UTC with milliseconds.
    pub at: String,
    /// The plugin that the event concerns; `None` if the event concerns the whole host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginId>,
    /// The generation that the event concerns, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The artifact of that generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The kind of the event, with its data.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The kinds of [`Event`]. In JSON, the field `event` names the kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The host has started: each plugin that starts with the host serves, or has reported an error.
    HostStarted {
        /// The plugins folder.
        plugins_dir: PathBuf,
        /// The number of plugins that serve.
        running: usize,
    },
    /// A manifest was found.
    PluginDiscovered {
        /// The plugin's folder.
        path: PathBuf,
    },
    /// A manifest is invalid, or the plugins folder cannot be read.
    DiscoveryFailed {
        /// The file or folder.
        path: PathBuf,
        /// The reason, and what to do.
        error: String,
    },
    /// A build began.
    BuildStarted {
        /// The file whose change triggered the build; none if the start of the host or a command triggered the build.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<PathBuf>,
    },
    /// The progress of a build; emitted when the progress has changed, at most once a second.
    BuildProgress(BuildProgress),
    /// A build failed. The serving generation, if any, keeps serving.
    BuildFailed {
        /// The error, in one line.
        error: String,
        /// The compiler's messages.
        diagnostics: Vec<Diagnostic>,
    },
    /// The build begins again, because the source changed again or files of the plugin were missing.
    BuildSuperseded,
    /// No new generation was loaded after a build. The result of the build is the serving artifact or, with
    /// `rolled_back`, the artifact from which the plugin was rolled back.
    BuildUnchanged {
        /// Whether the plugin was rolled back from the result of the build. The result is not loaded again until the
        /// source is edited or the plugin is reloaded by command.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rolled_back: bool,
        /// The compiler's warnings; empty if nothing was compiled.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<Diagnostic>,
        /// How the plugin was built.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        way: Option<BuildWay>,
    },
    /// A new generation serves.
    Reloaded {
        /// The duration of each stage.
        stages: Stages,
        /// The time from the save or the command until calls reach the new generation, in milliseconds.
        total_ms: f64,
        /// How long calls waited because the previous version was stopped first, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gap_ms: Option<f64>,
        /// The compiler's warnings; empty if nothing was compiled.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<Diagnostic>,
        /// How the plugin was built; none if it was not built.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        way: Option<BuildWay>,
    },
    /// The limits of the serving generation's process that are in force, and the requested limits that are not in
    /// force. Emitted if the manifest has `[limits]`.
    LimitsApplied(LimitsInForce),
    /// A new version was rejected, or, with the stage `detect`, the manifest cannot be used.
    ReloadFailed {
        /// The stage that rejected the version.
        stage: Stage,
        /// The reason, and what to do.
        error: String,
        /// The generation that keeps serving, if any.
        kept_generation: Option<Generation>,
        /// How long calls waited, in milliseconds, if the previous version was stopped first and then started again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gap_ms: Option<f64>,
    },
    /// A generation that no longer serves has ended, after its last call.
    GenerationRetired {
        /// How the generation ended.
        outcome: RetireOutcome,
    },
    /// An earlier artifact serves again, as a new generation.
    RolledBack {
        /// The generation that was replaced.
        from: Generation,
        /// The reason.
        reason: String,
    },
    /// A call that the option `--call` of `replug dev` requested has ended.
    CallResult {
        /// The method.
        method: String,
        /// The value that the method returned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
        /// The error, if there is no result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Value>,
    },
    /// The plugin's configuration changed while it ran.
    Configured {
        /// How the configuration was applied.
        how: ConfiguredHow,
    },
    /// The plugin has rejected a new configuration, and keeps the previous configuration.
    ConfigureFailed {
        /// The manifest with the new configuration. None if a command has passed the new configuration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<PathBuf>,
        /// The reason, and what to do.
        error: String,
        /// The generation that keeps serving, if any.
        kept_generation: Option<Generation>,
    },
    /// A panic in the plugin: in a call or in a lifecycle step, or on a thread that the plugin has started.
    PluginPanicked {
        /// The panic's message.
        message: String,
        /// `file:line:column`.
        location: String,
        /// The thread.
        thread: String,
        /// The backtrace; empty unless `RUST_BACKTRACE` enables backtraces.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        backtrace: String,
    },
    /// The plugin's process ended unexpectedly. The calls that were in progress return an error with the same reason.
    PluginCrashed {
        /// The signal that ended the process: `SIGSEGV`, `SIGKILL`, ...
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// The exit status of the process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
        /// The last lines of the process's standard error.
        stderr_tail: String,
        /// The time in milliseconds until the process is restarted; none if it is not restarted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_in_ms: Option<u64>,
    },
    /// The plugin's process was restarted after a crash, as a new generation.
    PluginRestarted {
        /// The number of times that the plugin's process has ended within `death_window`; at least 1.
        deaths: usize,
    },
    /// A call into a plugin in the host's own process has not returned within its `call_timeout`. The host cannot
    /// interrupt such a call. Emitted once for each such call.
    PluginStuck {
        /// The method.
        method: String,
        /// The kernel's name of the thread that runs the call.
        thread: String,
        /// The kernel's id of that thread.
        thread_id: u32,
        /// The minimum time for which the call has run, in milliseconds.
        for_ms: u64,
    },
    /// The plugin runs in a child process, although its manifest does not require one.
    PluginDemoted {
        /// The crash of the host that is the reason; empty if there was no crash.
        #[serde(flatten)]
        crash: CrashSite,
        /// Why the plugin runs in a child process.
        reason: String,
    },
    /// The plugin is quarantined until a user starts it or its artifact changes, because it has crashed the host, or
    /// because its process has ended too often.
    PluginQuarantined {
        /// The crash of the host that is the reason; empty if the plugin did not crash the host.
        #[serde(flatten)]
        crash: CrashSite,
        /// The reason.
        reason: String,
    },
    /// The previous host did not shut down cleanly, and the cause could not be attributed to one plugin.
    HostCrashed {
        /// The signal that ended the previous host, if the signal is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// Each plugin that had a call or lifecycle step in progress, with the method or step.
        in_flight: Vec<String>,
        /// The known facts about the crash.
        reason: String,
    },
    /// The plugin begins without a saved state, because the state that was saved before a crash or a stop is unusable,
    /// or because no state could be saved.
    CheckpointLost {
        /// The reason, and the file with the state, if the file was kept.
        reason: String,
    },
    /// The plugin was stopped.
    PluginStopped {
        /// The reason.
        reason: String,
    },
    /// A `tracing` event of the plugin, or a line that its process has written. In a second, at most 100 `tracing`
    /// events and 100 lines of each stream are emitted, and one more event with the number of omitted ones. Under
    /// `replug dev` and `replug run`, a line that is written in the host's process is emitted as such an event, too. If
    /// more than one plugin may have written the line, the event names no plugin.
    Log {
        /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
        level: String,
        /// The event's target.
        target: String,
        /// The event's message.
        message: String,
        /// The event's other fields.
        fields: Value,
        /// The spans around the event, the outermost first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        spans: Vec<Value>,
    },
    /// The host's configuration has changed.
    ConfigChanged {
        /// The keys whose new values take effect now.
        applied: Vec<String>,
        /// The keys whose new values take effect when the host is restarted.
        restart_needed: Vec<String>,
    },
    /// The host's configuration has changed and is invalid. The previous configuration stays in force.
    ConfigRefused {
        /// The reason, with file, line and key, and what to do.
        error: String,
    },
    /// The control plane accepts requests.
    ControlListening {
        /// The Unix socket for the commands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        socket: Option<PathBuf>,
        /// The HTTP address, as the beginning of a URL.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        http: Option<String>,
    },
    /// A client changed something in the host, or tried to.
    Audit {
        /// The client: `uid 1000, pid 4242` over the socket, or the client's address over HTTP.
        who: String,
        /// The command, such as `reload`.
        command: String,
        /// `ok`, or the error.
        outcome: String,
        /// The number of equal calls since the last such event. Present only for calls of a method, which are combined
        /// because they may be very frequent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
    },
    /// The host has stopped all plugins.
    HostStopped,
    /// The reader of this event was too slow and has lost events. Only that reader gets this event.
    EventsLost {
        /// The number of lost events.
        count: u64,
    },
}

/// How a new configuration takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfiguredHow {
    /// The running instance has applied it.
    Live,
    /// A new generation has applied it.
    Restarted,
    /// The plugin does not run. The next instance applies it.
    AtStart,
}

/// Where and how a plugin crashed the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashSite {
    /// The method or lifecycle step in which the plugin crashed the host. `None` if it did not crash the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The source line that crashed the host, such as `src/lib.rs:12`. `None` if it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// The signal that ended the process, such as `SIGSEGV`. `None` if the process ended without a signal, for example
    /// by `exit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

/// How a generation that no longer serves has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetireOutcome {
    /// The instance was dropped, and the code stays mapped. This is the default. With `unload = "verified"`, a warning
    /// in the log states the reason.
    Kept,
    /// The instance was dropped, and the host has verified that the code was unmapped.
    Unloaded,
    /// The instance was dropped. The code stays mapped, because a thread may still run it.
    Threads,
    /// The instance was dropped. The dynamic loader keeps the code mapped, because a thread that still runs has a value
    /// with a destructor in the library's thread-local storage.
    PinnedTls,
    /// The instance was dropped. The dynamic loader never unmaps the code, because of the way in which it was linked.
    Nodelete,
    /// The generation ran in a child process, which has ended.
    Ended,
    /// The instance could not be dropped because its drop panicked; the code stays mapped.
    DropPanicked,
}

impl RetireOutcome {
    /// All values.
    pub const ALL: [Self; 7] = [
        Self::Kept,
        Self::Unloaded,
        Self::Threads,
        Self::PinnedTls,
        Self::Nodelete,
        Self::Ended,
        Self::DropPanicked,
    ];

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Unloaded => "unloaded",
            Self::Threads => "threads",
            Self::PinnedTls => "pinned_tls",
            Self::Nodelete => "nodelete",
            Self::Ended => "ended",
            Self::DropPanicked => "drop_panicked",
        }
    }

    /// Whether the generation's code stays mapped in the host's process.
    pub fn stays_mapped(self) -> bool {
        !matches!(self, Self::Unloaded | Self::Ended)
    }
}

/// A duration in milliseconds, rounded to a thousandth.
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests;
