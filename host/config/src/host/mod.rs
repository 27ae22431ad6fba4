//! What a host is told before it starts and while it runs: its keys, and the layers that their values come from.

mod error;
mod file;
mod filter;
mod keys;
mod layers;

pub use error::ConfigError;
pub use file::{HostConfig, HttpSettings, LogFormat, LogSettings, OtelSettings, TlsFiles, WatchPoll};
pub use layers::Layers;
