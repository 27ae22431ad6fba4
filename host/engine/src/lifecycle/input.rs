//! The inputs of the lifecycle: commands, results of work, and events, which the worker reports.

#[cfg(doc)]
use super::Lifecycle;
use super::{
    Aim, CommandKind, Compiled, Config, Contents, Death, Ending, History, Installation, ManifestFile,
    NotInstalled, Observation, Placement, ProcessSettings, Programs, Reading, StopWhy, StoredVersion, Ticket,
    VersionId,
};
use crate::{id::Digest, manifest::Manifest, record::Wanted};
use std::{path::PathBuf, sync::Arc, time::SystemTime};

/// A report of the worker to the lifecycle.
#[derive(Debug)]
pub(crate) enum Input {
    /// The plugin was removed, and was found again with this manifest.
    Returned(Arc<Manifest>),
    /// A command was given.
    Command(Ticket, CommandKind),
    /// The command in progress was carried out, or has failed.
    Finished,
    /// The command in progress requires a build with this aim.
    Build(Aim),
    /// Git has stopped writing files, or has been writing files for too long. The compilation begins at the time `at`.
    /// `file` compares the manifest's file with the manifest that was read last.
    GitIsQuiet { at: SystemTime, file: ManifestFile },
    /// A file has changed, and no build was running when the worker observed it.
    Changed(Observation),
    /// The worker has observed a changed file during the compilation. `is_unread`: the file is the manifest, and differs
    /// from the manifest that was read last.
    Considered { seen: Observation, is_unread: bool },
    /// The compiler has ended at the time `at`. `contents`: the contents of the files in [`Lifecycle::held`] after that.
    CompilerEnded { at: SystemTime, contents: Contents },
    /// The worker has observed the result of the compilation.
    Compiled(Compiled),
    /// The pause of the build is over.
    PauseOver,
    /// The build has produced no library. `is_missing`: the manifest is missing, too.
    BuildFailed { text: String, is_missing: bool },
    /// The worker has looked for the manifest.
    LookedForManifest { is_missing: bool },
    /// The plugin's folder was moved.
    Moved { root: PathBuf, file: PathBuf },
    /// The build resulted in the serving version.
    Unchanged,
    /// The command in progress sets this configuration. `serves`: a generation serves.
    Configure { config: Config, serves: bool },
    /// The attempt to apply a configuration has ended. `taken`: the serving generation has accepted the configuration,
    /// or another instance serves with it.
    ConfigureEnded { taken: bool },
    /// The manifest was read. If a generation serves, `serves` states whether its settings are fixed.
    ManifestRead { manifest: Arc<Manifest>, serves: Option<ProcessSettings>, reading: Reading },
    /// The manifest cannot be used.
    ManifestUnusable(String),
    /// The serving version cannot apply this manifest, for the reason `text`.
    ManifestRefused { manifest: Arc<Manifest>, text: String },
    /// The serving version rejects its configuration, or there is no version to roll back to.
    Refused(String),
    /// A user wants the plugin to run.
    Wanted,
    /// The host starts its plugins, or has found the plugin.
    HostStarts(Programs),
    /// A user starts the plugin. `quarantined`: a version is quarantined. `crashed`: a version is recorded as crashed.
    StartAsked { serves: bool, quarantined: bool, crashed: bool },
    /// The start begins. `stored` lists the stored versions, the best first. `takes_time`: the plugin is built from its
    /// source.
    Start { stored: Vec<StoredVersion>, takes_time: bool },
    /// The attempt to install a stored version has ended.
    Tried { serves: bool },
    /// The caller that waits for the start was answered.
    StartAnswered,
    /// The source was built. `stored` lists the stored versions, the best first.
    SourceTried { serves: bool, stored: Vec<StoredVersion> },
    /// A version should be installed.
    Install(Installation),
    /// The version failed to start.
    NotInstalled(NotInstalled),
    /// The state that was saved at the last stop cannot be read.
    StateLost,
    /// The build resulted in a version that was rolled back, so the serving version continues to serve.
    PassedOver,
    /// A generation serves, and has replaced the previous generation, if any.
    Served {
        version: VersionId,
        /// Whether the generation has state to save.
        stateful: bool,
        /// The artifacts that can serve again, in the order in which they first served.
        history: Vec<Digest>,
    },
    /// The serving generation runs in this place.
    Placed(Placement),
    /// The process of a generation has exited unexpectedly.
    Died(Death),
    /// The time that [`Lifecycle::due`] has returned is reached.
    Due,
    /// The number of calls of the watched generation, and the number of calls that have failed.
    Calls { total: u64, failed: u64 },
    /// A restart or a rollback has ended. If its artifact serves, [`Input::Served`] was passed before.
    TaskEnded { serves: bool },
    /// The checkpoint was taken or has failed. `late`: the call that saves the state has not returned yet.
    CheckpointEnded { late: bool },
    /// A command to roll back to this artifact. `None`: to the previous version.
    RollBack(Option<Digest>),
    /// A command to stop.
    Stop(StopWhy),
    /// The generation that served has ended. `checkpoint`: a checkpoint existed before.
    Ended { ending: Ending, checkpoint: bool },
}

/// The facts about a plugin from earlier hosts.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Whether the plugin should run.
    pub(crate) wanted: Wanted,
    /// Why the manifest cannot be used. `None` if it can be used.
    pub(crate) unusable: Option<String>,
    /// Why the newest source does not serve. `None` if no such fault was recorded.
    pub(crate) source: Option<String>,
    /// Whether a state was saved at the last stop and no version has begun with it since.
    pub(crate) saved_at_stop: bool,
    /// The versions that have served.
    pub(crate) history: History,
}
