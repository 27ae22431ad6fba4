//! What happens in a host, as it is told to everyone who listens. Written by every stage, read by none of them.

mod limits;
mod name;
mod progress;
mod stage;
mod stream;
mod tally;

pub use limits::{Bound, Enforcer, LimitsInForce};
pub use progress::BuildProgress;
pub use stage::{Stage, Stages};
pub use stream::{EventSink, Events, WeakEventSink};
pub use tally::{PluginTally, ReloadOutcome, Tally};

use crate::id::{Digest, Generation, PluginId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

/// One thing that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When, as RFC 3339 in UTC with milliseconds.
    pub at: String,
    /// To which plugin, where it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginId>,
    /// To which generation of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The artifact of that generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The kinds of [`Event`]; in JSON the field `event` names them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The host is up: the plugins that it found are loaded, or have said why not.
    HostStarted {
        /// The plugins folder.
        plugins_dir: PathBuf,
        /// How many plugins run.
        running: usize,
    },
    /// A manifest was found.
    PluginDiscovered {
        /// The plugin's folder.
        path: PathBuf,
    },
    /// A manifest could not be used, or the plugins folder could not be read.
    DiscoveryFailed {
        /// The file or folder.
        path: PathBuf,
        /// Why, and what to do.
        error: String,
    },
    /// A build began.
    BuildStarted {
        /// The file whose change asked for it; none at the start of the host and on command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<PathBuf>,
    },
    /// How far a build has come; told when that has changed, and not more than once a second.
    BuildProgress(BuildProgress),
    /// A build failed. The generation before it, if any, goes on.
    BuildFailed {
        /// What went wrong, in one line.
        error: String,
        /// The compiler's messages.
        diagnostics: Vec<Diagnostic>,
    },
    /// A build was cancelled because the source changed again.
    BuildSuperseded,
    /// A build gave nothing new: the very artifact that already serves, or, when the host or the plugin starts, the one from
    /// which the plugin went back. Nothing was swapped.
    BuildUnchanged {
        /// The compiler's warnings; none if it had nothing to compile.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<Diagnostic>,
    },
    /// A new generation serves.
    Reloaded {
        /// How long each stage took.
        stages: Stages,
        /// From the save (or the command) until calls reach the new generation, in milliseconds.
        total_ms: f64,
        /// How long calls waited because the version before was stopped first, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gap_ms: Option<f64>,
        /// The compiler's warnings; none if it had nothing to compile.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<Diagnostic>,
    },
    /// What bounds the process of the generation that serves now, and what does not; told where the manifest has `[limits]`.
    LimitsApplied(LimitsInForce),
    /// A new artifact did not come to serve.
    ReloadFailed {
        /// The stage that refused it.
        stage: Stage,
        /// Why, and what to do.
        error: String,
        /// The generation that goes on, if there is one.
        kept_generation: Option<Generation>,
        /// How long calls waited, in milliseconds, if the version before was stopped first and then started again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gap_ms: Option<f64>,
    },
    /// An old generation has run its last call.
    GenerationRetired {
        /// What became of it.
        outcome: RetireOutcome,
    },
    /// An earlier artifact serves again, as a new generation.
    RolledBack {
        /// The generation that was left.
        from: Generation,
        /// Why.
        reason: String,
    },
    /// The answer to a `--call`.
    CallResult {
        /// The method.
        method: String,
        /// What it returned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
        /// Why there is no result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Value>,
    },
    /// The plugin's configuration changed while it ran.
    Configured {
        /// How it took effect: `live` by the running instance, or `restarted` as a new generation.
        how: String,
    },
    /// The plugin has refused a new configuration: the one before holds.
    ConfigureFailed {
        /// The manifest that says it; none if it was given by order, after which all is as before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<PathBuf>,
        /// Why, and what to do.
        error: String,
        /// The generation that goes on, if there is one.
        kept_generation: Option<Generation>,
    },
    /// A panic in the plugin, caught at the edge or on a thread of its own.
    PluginPanicked {
        /// The panic's message.
        message: String,
        /// `file:line:column`.
        location: String,
        /// The thread.
        thread: String,
        /// Where `RUST_BACKTRACE` asks for it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        backtrace: String,
    },
    /// The plugin's process ended without having been asked to. Calls that were in it got the same reason.
    PluginCrashed {
        /// What ended it: `SIGSEGV`, `SIGKILL`, ...
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// The status that it ended with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
        /// The last lines of its standard error.
        stderr_tail: String,
        /// In how many milliseconds it will be started again; none if it will not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_in_ms: Option<u64>,
    },
    /// The plugin's process was started again after a crash, as a new generation.
    PluginRestarted {
        /// How many times its process has ended within the window that counts; at least once.
        deaths: usize,
    },
    /// A call into a plugin in the host's own process has not come back within its `call_timeout`. Told once for each such
    /// call; nothing can end it.
    PluginStuck {
        /// The method.
        method: String,
        /// The name of the thread that is in it, as the kernel knows it.
        thread: String,
        /// The number of that thread, as the kernel counts.
        thread_id: u32,
        /// For how long it has been there at least, in milliseconds.
        for_ms: u64,
    },
    /// The plugin runs in a process of its own from now on, though its manifest does not ask for it.
    PluginDemoted {
        /// In which of its methods it crashed the host, or in which step of its life, if that is why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<String>,
        /// The line of its source that crashed the host, such as `src/lib.rs:12`, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<String>,
        /// The signal that it crashed the host with; none if it was no crash, or a call of `exit`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// Why.
        reason: String,
    },
    /// The plugin has crashed the host, or its process has ended too often: it is left alone until it is started, or its
    /// artifact is another.
    PluginQuarantined {
        /// In which of its methods it crashed the host, or in which step of its life, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<String>,
        /// The line of its source that crashed the host, such as `src/lib.rs:12`, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<String>,
        /// The signal that it crashed the host with; none if it did not, or called `exit`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// Why.
        reason: String,
    },
    /// The host before this one did not end in good order, and no plugin was kept from doing that again.
    HostCrashed {
        /// The signal that ended it, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// The plugins that were in the middle of something, with the method.
        in_flight: Vec<String>,
        /// What is known of it.
        reason: String,
    },
    /// The state that was saved before a crash or a stop is of no use, or none could be saved: the plugin begins without it.
    CheckpointLost {
        /// Why, and where it is.
        reason: String,
    },
    /// The plugin was stopped.
    PluginStopped {
        /// Why.
        reason: String,
    },
    /// A `tracing` event of the plugin's, or a line that its process has written. Of each, 100 a second are told; where there
    /// were more, one says how many were left out. Under `replug dev` and `replug run`, also a line that was written in the
    /// host's process, without a plugin where more than one can have written it.
    Log {
        /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
        level: String,
        /// The event's target.
        target: String,
        /// Its message.
        message: String,
        /// Its other fields.
        fields: Value,
        /// The spans around it, from the outside in.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        spans: Vec<Value>,
    },
    /// The host's configuration says something else than before.
    ConfigChanged {
        /// The keys whose new values count from now on.
        applied: Vec<String>,
        /// The keys whose new values count when the host is started again.
        restart_needed: Vec<String>,
    },
    /// The host's configuration has changed and cannot be used: what it said before goes on.
    ConfigRefused {
        /// Why, with file, line and key, and what to do.
        error: String,
    },
    /// The control plane takes requests.
    ControlListening {
        /// The Unix socket, for the commands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        socket: Option<PathBuf>,
        /// Where it serves HTTP, as the beginning of a URL.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        http: Option<String>,
    },
    /// Someone had the host change something, or tried to.
    Audit {
        /// Who: `uid 1000, pid 4242` over the socket, else the address that it came from.
        who: String,
        /// What was asked for, such as `reload`.
        command: String,
        /// `ok`, or why not.
        outcome: String,
        /// For calls of a method, which may come by the thousand: how many like this there were since the last word of
        /// them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
    },
    /// The host has stopped all plugins.
    HostStopped,
    /// Whoever reads this was too slow: these events are gone. Only the reader that lost them is told.
    EventsLost {
        /// How many.
        count: u64,
    },
}

/// A message of the compiler's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// `error`, `warning`, ...
    pub level: String,
    /// The message in one line.
    pub message: String,
    /// The source file it points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The line in that file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// As rustc prints it, with ANSI colours.
    pub rendered: String,
}

/// What became of a generation that no longer serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetireOutcome {
    /// Its instance was dropped; its code stays mapped, which is the default.
    Kept,
    /// Its instance was dropped, and its code was unmapped, which was verified.
    Unloaded,
    /// It was to be unmapped, but something still holds it: it stays.
    StillMapped,
    /// It lived in a process of its own, which has ended.
    Ended,
    /// Its instance could not be dropped because the drop panicked; its code stays mapped.
    DropPanicked,
}

/// A duration in milliseconds to a thousandth.
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests;
