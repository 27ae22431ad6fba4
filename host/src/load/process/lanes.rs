//! The lanes to one child: as many as there are calls at once. The calling thread owns its lane for the call, writes one
//! frame and reads one, so that a call is one round trip and no other thread has to be woken for it.

use super::child::Child;
use crate::wire::{Lane, WireError};
use parking_lot::Mutex;
use std::{os::unix::net::UnixStream, time::Duration};

/// How long a child may take to open a lane.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

/// Lanes that no call is on.
#[derive(Default)]
pub(super) struct Lanes {
    idle: Mutex<Vec<Lane<UnixStream>>>,
}

impl Child {
    /// Runs `call` on a lane of its own. The lane of a call that failed is closed.
    pub(super) fn on_lane<T>(
        &self,
        deadline: Option<Duration>,
        call: impl FnOnce(&mut Lane<UnixStream>) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        let idle = self.lanes.idle.lock().pop();
        let mut lane = match idle {
            Some(lane) => lane,
            None => self.open_lane()?,
        };
        if let Some(deadline) = deadline {
            lane.stream().set_read_timeout(Some(deadline)).map_err(WireError::from)?;
        }
        let done = call(&mut lane);
        if done.is_ok() {
            self.lanes.idle.lock().push(lane);
        }
        done
    }

    fn open_lane(&self) -> Result<Lane<UnixStream>, WireError> {
        use super::ProcessError as E;
        let opened = self.ask("open_lane", OPEN_DEADLINE, |control| control.open_lane());
        let lane = opened.map_err(|error| match error {
            E::Refused(failure) => WireError::from(std::io::Error::other(failure)),
            _ => WireError::Closed,
        })?;
        self.end_with_process(lane.stream()).map_err(WireError::from)?;
        Ok(lane)
    }
}
