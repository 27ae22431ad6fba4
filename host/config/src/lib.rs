//! What a replug host and its plugins are configured by, from text to values.
//!
//! What this crate promises:
//!
//! * A file is taken as a whole or refused as a whole. An error names the file, the line, the key and the remedy.
//! * Of every value of the host's configuration it is known where it comes from: a line, a variable or a flag.
//! * It only reads. What follows from a value, and when, is for those who use it.
//!
//! It imports `replug-model` alone of the host's crates: it knows neither how a plugin is built nor how it is loaded. The
//! crate `replug` hands on what embedding programs need.
//!
//! | module | what is in it |
//! |---|---|
//! | [`manifest`] | `plugin.toml`: where manifests are, what one says, and what it falls back on; `docs/MANIFEST.md` lists the keys |
//! | [`host`] | `replug.toml`, the environment and flags, in layers; `docs/CONFIG.md` lists the keys |
//! | [`workspace`] | the cargo workspace that a folder lies in, and where cargo builds what lies there |

#![forbid(unsafe_code)]

pub mod host;
pub mod manifest;
pub mod workspace;

pub use host::{ConfigError, HostConfig, Layers};
