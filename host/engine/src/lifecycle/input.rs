//! What the lifecycle learns.

#[cfg(doc)]
use super::Lifecycle;
use super::{
    Aim, Candidate, Compiled, Config, Death, Ending, NotInstalled, Reading, Request, Settings, StartBy,
    Ticket, Version,
};
use crate::{id::Digest, manifest::Manifest};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

/// What the lifecycle learns.
#[derive(Debug)]
pub(crate) enum Input {
    /// The plugin was gone, and is back with this manifest.
    Returned(Arc<Manifest>),
    /// An order was given.
    Order(Ticket, Request),
    /// The order that was under way is carried out, or has failed.
    Finished,
    /// The order under way comes to a build: from now on it can be cancelled.
    Build(Aim),
    /// Git writes no files, or has taken too long.
    GitIsQuiet,
    /// The change that was to be considered makes pointless what is compiled, or does not.
    Considered { supersedes: bool },
    /// Compiling has ended by itself.
    Compiled(Compiled),
    /// What was missing has had time to come back.
    PauseOver,
    /// A file was edited that was there before.
    Edited,
    /// What was built is no library. The manifest may be missing, too.
    BuildFailed { text: String, is_missing: bool },
    /// A build has failed while the manifest was missing, which is back.
    UnclearBuildFailed(String),
    /// The plugin is elsewhere now.
    Moved { root: PathBuf, file: PathBuf },
    /// The build gave what serves.
    Unchanged,
    /// The order under way sets this configuration.
    Configure { config: Config, serves: bool },
    /// What serves has taken its configuration, or has come up again with it; or it has not.
    ConfigureEnded { taken: bool },
    /// The manifest was read. If something serves, its settings are these.
    ManifestRead { manifest: Arc<Manifest>, serves: Option<Settings>, reading: Reading },
    /// The manifest cannot be used.
    ManifestUnusable(String),
    /// The version that serves does not follow this manifest.
    ManifestRefused { manifest: Arc<Manifest>, text: String },
    /// What serves refuses its configuration, or there is no version to go back to.
    Refused(String),
    /// Someone, or the host, starts the plugin.
    Wanted,
    /// Someone asks for the plugin to run. If it is `pardoned`, a version may run that might not before.
    StartAsked { serves: bool, pardoned: bool },
    /// The plugin is to come up. These versions may before anything is built, the best first.
    Start { by: StartBy, stored: Vec<Digest> },
    /// A stored version serves, or does not; and whether because it refuses its configuration.
    Tried { serves: bool, is_unfit: bool },
    /// Whoever waits for the start was answered.
    StartAnswered,
    /// The source was built. Something serves, or these versions may.
    SourceTried { serves: bool, stored: Vec<Digest> },
    /// A version is to be installed.
    Install(Candidate),
    /// The version did not come to serve.
    NotInstalled(NotInstalled),
    /// The state that was saved at the last stop cannot be read.
    StateLost,
    /// The build gave the version from which the plugin went back, and that serves no more.
    PassedOver,
    /// A generation serves, in place of what served before.
    Served {
        version: Version,
        /// Whether it has state to save.
        stateful: bool,
        /// The artifacts that can serve again, in the order in which they first did.
        history: Vec<Digest>,
    },
    /// The process of a generation has ended unasked.
    Died(Death),
    /// A time that [`Lifecycle::due`] gave has come.
    Due,
    /// The calls of the generation that is watched.
    Calls { total: u64, failed: u64 },
    /// The task that was to let an artifact serve has ended; [`Input::Served`] came before if it does.
    TaskEnded { serves: bool },
    /// The checkpoint was taken or failed; `late` if its step has not come back.
    CheckpointEnded { late: bool },
    /// Someone asks for the plugin to go back, to this artifact or to the one before.
    RollBack(Option<Digest>),
    /// The plugin is stopped by an order. Its state is saved unless it `discards` that.
    Stop { discards: bool },
    /// What served has ended. There was a checkpoint before that or none.
    Ended { ending: Ending, checkpoint: bool },
}

/// What is known of a plugin from the hosts before.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// What is wrong with its manifest.
    pub(crate) unusable: Option<String>,
    /// What is wrong with its newest source.
    pub(crate) source: Option<String>,
    /// Whether a state was saved when it was stopped, with which no version has begun since.
    pub(crate) saved_at_stop: bool,
    /// The artifacts that have served, in the order in which they first did.
    pub(crate) history: Vec<Digest>,
    /// The version that has proved itself last.
    pub(crate) good: Option<Digest>,
    /// The versions that were taken back, and have not proved themselves since.
    pub(crate) taken_back: BTreeSet<Digest>,
}
