//! The `tracing` spans of a reload, for the host's logs and for an embedding program. Calls have no spans. The control
//! plane has a separate span for each request.

use crate::id::{Generation, PluginId};
use tracing::{Span, field::Empty, info_span};

/// The span of one reload, from its cause to its outcome. The spans of the stages are its children.
pub(crate) fn reload(plugin: &PluginId) -> Span {
    info_span!(target: "replug::reload", parent: None, "reload", %plugin, generation = Empty, outcome = Empty)
}

/// Records the generation that the reload will create.
pub(crate) fn is_to_be(reload: &Span, generation: Generation) {
    reload.record("generation", generation.0);
}

/// Records the outcome of the reload: `serving`, `unchanged`, `failed`, `superseded` or `stopped`.
pub(crate) fn ends(reload: &Span, outcome: &'static str) {
    reload.record("outcome", outcome);
}

macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident)+) => {
        $($(#[$doc])* pub(crate) fn $step() -> Span {
            info_span!(target: "replug::reload", stringify!($step))
        })+
    };
}

// Each span is a child of the current span.
steps! {
    /// The build.
    build
    /// Copying into the store.
    store
    /// Inspecting and checking the file.
    preflight
    /// The trial of a new version in a throwaway process.
    trial
    /// Opening the artifact and making the instance.
    load
    /// Handing over the state.
    migrate
    /// Starting the instance, and checking its health.
    start
    /// Swapping the new generation in.
    swap
}
