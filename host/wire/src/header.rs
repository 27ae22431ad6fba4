//! The header of a frame: its kind, and the number of its request.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of a frame.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first frame in each direction on the control connection: a [`Hello`](super::Hello).
    Hello = 1,
    /// A [`Request`](super::Request) of the host.
    Request = 2,
    /// The [`Reply`](super::Reply) to a request.
    Reply = 3,
    /// A [`Call`](super::Call) on a lane.
    Call = 4,
    /// The [`Answer`](super::Answer) to a call.
    Answer = 5,
    /// A [`Report`](super::Report) of the shim.
    Report = 6,
    /// A service [`Command`](super::Command) of the host.
    Command = 7,
    /// Wakes a peer that waits for a message in the shared memory of a lane; it has no payload.
    Bell = 8,
}

impl Kind {
    /// The kind with this number, if there is one.
    pub(super) fn read(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Request,
            3 => Self::Reply,
            4 => Self::Call,
            5 => Self::Answer,
            6 => Self::Report,
            7 => Self::Command,
            8 => Self::Bell,
            _ => return None,
        })
    }
}

/// The number of a request on its connection; the reply has the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

impl RequestId {
    /// The number of the next request.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
