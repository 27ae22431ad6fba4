//! [`Who`]: who asks something of a host.

use std::{fmt, net::SocketAddr};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A process of this machine, over the socket.
    Process {
        /// Whose it is.
        uid: u32,
        /// Its number, if the kernel says it.
        pid: Option<i32>,
    },
    /// Someone over TCP.
    Remote(SocketAddr),
    /// The program that the host is part of.
    Program,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, pid: Some(pid) } => write!(f, "uid {uid}, pid {pid}"),
            Self::Process { uid, pid: None } => write!(f, "uid {uid}"),
            Self::Remote(address) => write!(f, "{address}"),
            Self::Program => f.write_str("this program"),
        }
    }
}

impl Who {
    /// The same for all connections of a machine.
    pub(super) fn whatever_port(&self) -> Self {
        match self {
            Self::Remote(address) => Self::Remote(SocketAddr::new(address.ip(), 0)),
            other => other.clone(),
        }
    }
}
