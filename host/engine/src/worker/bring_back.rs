//! Starting the version again that was stopped for one that did not come up.

use super::{Worker, serve::Cause};
use crate::{event::Stages, lifecycle::Input, reload::Source, stop_first::Stopped};

impl Worker {
    /// Brings the artifact up again with the state that it had, and says for how many milliseconds calls have waited. If
    /// it does not come up either, the plugin does not run, and calls say why.
    pub(super) async fn bring_back(&mut self, stopped: Stopped) -> Result<f64, String> {
        let earlier = (Source::Stored(stopped.digest), self.manifest());
        let cause = Cause::resume().with_state(stopped.state.clone());
        match Box::pin(self.install(earlier, cause, Stages::default())).await {
            Ok(_) => Ok(stopped.gap_ms()),
            Err(error) => {
                let generation = stopped.generation;
                let reason = format!(
                    "{generation} was stopped for a new version that did not come up, and did not come up again itself: {error}; repair the plugin, or `start` it"
                );
                self.do_now(Input::Lost);
                drop(self.shared.entry.close(&reason));
                Err(reason)
            }
        }
    }
}
