//! The configuration of a host: its keys, and the layers of their values.

mod error;
mod file;
mod filter;
mod keys;
mod layers;

pub use error::ConfigError;
pub use file::{HostConfig, HttpSettings, LogFormat, LogSettings, OtelSettings, TlsFiles, WatchPoll};
pub use layers::Layers;
