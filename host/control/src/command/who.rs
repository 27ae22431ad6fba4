//! [`Who`]: the client that sends a request to a host.

use std::{fmt, net::SocketAddr};

/// The client that sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A process of this machine, over the socket.
    Process {
        /// The user of the process.
        uid: u32,
        /// Its pid, if the kernel gives it.
        pid: Option<i32>,
    },
    /// A client over TCP.
    Remote(SocketAddr),
    /// The program that contains the host.
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
    /// The client without its port, so that all connections of a machine are equal.
    pub(super) fn whatever_port(&self) -> Self {
        match self {
            Self::Remote(address) => Self::Remote(SocketAddr::new(address.ip(), 0)),
            other => other.clone(),
        }
    }
}
