//! The configuration of a replug host and its plugins, from text to values.
//!
//! What this crate promises:
//!
//! * A file is accepted or rejected as a whole. An error names the file, the line, the key and the remedy.
//! * The source of every value of the host's configuration is known: a line, a variable or a flag.
//! * This crate only reads. The other crates decide when a value takes effect.
//!
//! Of the host's crates, this one imports only `replug-model`. It knows neither how a plugin is built nor how it is
//! loaded. The crate `replug` re-exports its API for embedding programs.
//!
//! | module | content |
//! |---|---|
//! | [`manifest`] | `plugin.toml`: where manifests are, their keys, and their defaults; `docs/MANIFEST.md` lists the keys |
//! | [`host`] | `replug.toml`, the environment and flags, in layers; `docs/CONFIG.md` lists the keys |
//! | [`workspace`] | the cargo workspace of a folder, and where cargo builds its packages |

#![forbid(unsafe_code)]

pub mod host;
pub mod manifest;
pub mod workspace;

pub use host::{ConfigError, HostConfig, Layers};
