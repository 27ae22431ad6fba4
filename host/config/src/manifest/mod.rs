//! The manifests of plugins. `docs/MANIFEST.md` lists the keys.

mod defaults;
mod discover;
mod error;
pub(crate) mod fields;
mod keys;
mod process;
mod read;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

pub use defaults::Defaults;
pub(crate) use defaults::spell_out;
pub use discover::{Discovery, discover};
pub use error::ManifestError;
use keys::interpret;
pub use keys::{BuildSpec, Confirm, Kind, Manifest, Order, OwnErrors, ReloadSpec, Unload};
pub(crate) use keys::{CONFIRM_KEYS, RELOAD_KEYS};
pub(crate) use process::size;
pub use process::{CgroupUse, EnvVar, LaneKind, LaneReason, LimitsSpec, Mode, ProcessSpec, Trial};
pub(crate) use read::read_text;
pub use read::{FILE_NAMES, Text, holds_manifest, read};
pub use read::{id_in, line_of};
pub(crate) use replug_model::limits::LIMITS_KEYS;
