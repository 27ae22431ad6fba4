//! The configuration of a replug host and its plugins, from text to values.
//!
//! Guarantees of this crate:
//!
//! * A file is accepted or rejected as a whole. An error names the file, the line, the key and the remedy.
//! * An error about a value of the host's configuration names the source of the value: a line, a variable or a flag.
//! * This crate only reads. The other crates decide when a value takes effect.
//!
//! Of the host's crates, this crate imports only `replug-model`. The crate `replug` re-exports the API of this crate for
//! embedding programs.
//!
//! | module | content |
//! |---|---|
//! | [`manifest`] | `plugin.toml`: finds manifests, reads their keys, and applies defaults; `docs/MANIFEST.md` lists the keys |
//! | [`host`] | `replug.toml`, the environment and flags, in layers; `docs/CONFIG.md` lists the keys |
//! | [`workspace`] | the cargo workspace of a folder, and the folder in which cargo builds its packages |

#![forbid(unsafe_code)]

pub mod host;
pub mod manifest;
pub mod workspace;

pub use host::{ConfigError, HostConfig, Layers};
