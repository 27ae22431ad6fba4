//! The inputs of the lifecycle: what the worker reports to it.

#[cfg(doc)]
use super::Lifecycle;
use super::{
    Aim, Candidate, Compiled, Config, Death, Ending, NotInstalled, Reading, Request, Settings, StartBy,
    Ticket, Version,
};
use crate::{id::Digest, manifest::Manifest};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

/// A report of the worker to the lifecycle.
#[derive(Debug)]
pub(crate) enum Input {
    /// The plugin was removed, and is back with this manifest.
    Returned(Arc<Manifest>),
    /// An order was given.
    Order(Ticket, Request),
    /// The order that was under way is carried out, or has failed.
    Finished,
    /// The order under way has come to a build. From now on, it can be cancelled.
    Build(Aim),
    /// Git writes no files, or has taken too long.
    GitIsQuiet,
    /// Whether the change that was to be considered supersedes the compilation.
    Considered { supersedes: bool },
    /// The compilation has ended by itself.
    Compiled(Compiled),
    /// The pause is over. Missing files have had time to come back.
    PauseOver,
    /// A file that existed before was edited.
    Edited,
    /// The build has produced no library. The manifest may be missing, too.
    BuildFailed { text: String, is_missing: bool },
    /// A build has failed while the manifest was missing. The manifest is back.
    UnclearBuildFailed(String),
    /// The plugin's folder was moved.
    Moved { root: PathBuf, file: PathBuf },
    /// The build resulted in the serving version.
    Unchanged,
    /// The order under way sets this configuration.
    Configure { config: Config, serves: bool },
    /// The serving generation has accepted its configuration, or another instance serves with it; or neither, if not
    /// `taken`.
    ConfigureEnded { taken: bool },
    /// The manifest was read. `serves` tells, if a generation serves, whether its settings are fixed.
    ManifestRead { manifest: Arc<Manifest>, serves: Option<Settings>, reading: Reading },
    /// The manifest cannot be used.
    ManifestUnusable(String),
    /// The version that serves does not follow this manifest.
    ManifestRefused { manifest: Arc<Manifest>, text: String },
    /// The serving version rejects its configuration, or there is no version to go back to.
    Refused(String),
    /// A user or the host wants the plugin to run.
    Wanted,
    /// A user starts the plugin. `pardoned`: a version may run now that was not allowed to before.
    StartAsked { serves: bool, pardoned: bool },
    /// The plugin is to start. The versions in `stored` may run before anything is built, the best first.
    Start { by: StartBy, stored: Vec<Digest> },
    /// Whether a stored version serves, and if not, whether it has rejected its configuration.
    Tried { serves: bool, is_unfit: bool },
    /// Whoever has asked for the start was answered.
    StartAnswered,
    /// The source was built. If nothing serves, the versions in `stored` may be tried.
    SourceTried { serves: bool, stored: Vec<Digest> },
    /// A version is to be installed.
    Install(Candidate),
    /// The version did not come to serve.
    NotInstalled(NotInstalled),
    /// The state that was saved at the last stop cannot be read.
    StateLost,
    /// The build resulted in the version from which the plugin went back, so the serving version stays.
    PassedOver,
    /// A generation serves, and has replaced the previous one, if there was one.
    Served {
        version: Version,
        /// Whether the generation has state to save.
        stateful: bool,
        /// The artifacts that can serve again, in the order in which they first did.
        history: Vec<Digest>,
    },
    /// The process of a generation has ended unexpectedly.
    Died(Death),
    /// The time that [`Lifecycle::due`] has returned is reached.
    Due,
    /// The calls of the watched generation.
    Calls { total: u64, failed: u64 },
    /// The task that was to make an artifact serve has ended. If it serves, [`Input::Served`] came before.
    TaskEnded { serves: bool },
    /// The checkpoint was taken or has failed. `late`: the save has not returned yet.
    CheckpointEnded { late: bool },
    /// An order to go back, to this artifact or to the previous one.
    RollBack(Option<Digest>),
    /// An order to stop. The plugin's state is saved, unless it is to be discarded.
    Stop { discards: bool },
    /// The generation that served has ended. `checkpoint`: there was a checkpoint before.
    Ended { ending: Ending, checkpoint: bool },
}

/// The facts about a plugin from earlier hosts.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Why the manifest cannot be used, if so.
    pub(crate) unusable: Option<String>,
    /// Why the newest source does not serve, if so.
    pub(crate) source: Option<String>,
    /// Whether a state was saved at the last stop and no version has begun with it since.
    pub(crate) saved_at_stop: bool,
    /// The artifacts that have served, in the order in which they first did.
    pub(crate) history: Vec<Digest>,
    /// The version that has proved itself last.
    pub(crate) good: Option<Digest>,
    /// The versions from which the plugin went back, and which have not proved themselves since.
    pub(crate) taken_back: BTreeSet<Digest>,
}
