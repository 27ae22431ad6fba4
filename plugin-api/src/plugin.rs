//! The trait that makes a type a plugin, and what its methods take and give.

use crate::{Context, PluginError, config};
use serde::{Serialize, de::DeserializeOwned};

/// A type of which the host makes an instance per generation.
///
/// Only [`Plugin::init`] has to be written. The host calls `init`, then [`Plugin::start`]; on a reload of a plugin
/// with state [`Plugin::save`] on the old instance and [`Plugin::restore`] on the new one in between; at the end
/// [`Plugin::stop`], and drops it. Calls of its interfaces come on many threads at once. A panic in any of them is
/// contained and reported.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plugin",
    label = "`replug_api::Plugin` is not implemented for it",
    note = "write `impl Plugin for {Self} {{ .. }}`; only `Config`, `State` and `init` are needed"
)]
pub trait Plugin: Send + Sync + Sized + 'static {
    /// `[config]` of the manifest. `()` for none.
    ///
    /// An absent or empty `[config]` gives `Config::default()`. Otherwise every field must be there, but those
    /// that you mark `#[serde(default)]`. A type of yours needs `#[replug_api::data]` and `#[derive(Default)]`.
    type Config: Configuration;

    /// What a new generation takes over from the old one. `()` for nothing. A type of yours needs `#[replug_api::data]`.
    type State: Snapshot;

    /// The version of `State`'s shape. Raise it when the shape changes, and let `restore` read the older ones.
    const STATE_VERSION: u32 = 1;

    /// Makes an instance.
    ///
    /// # Errors
    ///
    /// Whatever keeps the plugin from working. The host reports it, and the generation before goes on.
    fn init(context: &Context, config: Self::Config) -> Result<Self, PluginError>;

    /// Begins what goes on between calls: threads, timers, connections. By default nothing.
    ///
    /// # Errors
    ///
    /// As for [`Plugin::init`].
    fn start(&self) -> Result<(), PluginError> {
        Ok(())
    }

    /// Ends what [`Plugin::start`] began, and joins its threads. No call comes after it. By default nothing.
    ///
    /// # Errors
    ///
    /// Reported by the host, which drops the instance all the same.
    fn stop(&self) -> Result<(), PluginError> {
        Ok(())
    }

    /// Says how it is. By default well.
    fn health(&self) -> Health {
        Health::ok()
    }

    /// Takes a new `[config]` while it runs.
    ///
    /// # Errors
    ///
    /// [`PluginError::restart_required`], which is the default, makes the host replace the instance with a fresh one
    /// that has the new configuration. Any other error refuses the new configuration.
    fn on_config(&self, config: Self::Config) -> Result<(), PluginError> {
        drop(config);
        Err(PluginError::restart_required())
    }

    /// Gives what the next generation is to know. No call runs meanwhile.
    ///
    /// Asked only of a plugin whose `State` is not `()`.
    ///
    /// # Errors
    ///
    /// Abandons the reload: this instance goes on.
    fn save(&self) -> Result<Self::State, PluginError> {
        Err(PluginError::new("save_missing", "the plugin has state but does not implement `Plugin::save`"))
    }

    /// Takes over what an older instance saved, in a shape of version `from_version`.
    ///
    /// # Errors
    ///
    /// Abandons the reload: the older instance goes on.
    fn restore(&self, from_version: u32, state: SavedState) -> Result<(), PluginError> {
        drop(state);
        Err(PluginError::new(
            "restore_missing",
            "the plugin has state but does not implement `Plugin::restore`",
        )
        .with("from_version", from_version))
    }
}

/// What [`Plugin::Config`] can be: every type that implements serde's `DeserializeOwned`, and `Default`.
///
/// [`macro@crate::data`] derives `Deserialize` without a dependency on serde. A type that needs what `#[data]` refuses, such
/// as `#[serde(flatten)]`, derives `replug_api::serde::Deserialize` and says `#[serde(crate = "replug_api::serde")]`.
// The bounds are on the implementation and not on the trait: serde's advice for a type that does not fulfil them assumes a
// dependency on serde, which a plugin does not need.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the configuration of a plugin",
    label = "serde's `Deserialize` or `Default` is not implemented for it",
    note = "add `#[replug_api::data]` and `#[derive(Default)]` to its definition, and `#[replug_api::data]` to those of your types in it",
    note = "instead of `#[replug_api::data]`, `#[derive(replug_api::serde::Deserialize)]` and `#[serde(crate = \"replug_api::serde\")]` will do"
)]
pub trait Configuration: Sized {
    /// Reads a `[config]` that came as JSON.
    #[doc(hidden)]
    fn read_config(json: &str) -> Result<Self, PluginError>;
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Default> Configuration for T {
    fn read_config(json: &str) -> Result<Self, PluginError> {
        config::read(json)
    }
}

/// What [`Plugin::State`] can be: every `'static` type that implements serde's `Serialize` and `DeserializeOwned`.
///
/// [`Configuration`] says how to derive them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the state of a plugin",
    label = "serde's `Serialize` or `Deserialize` is not implemented for it",
    note = "add `#[replug_api::data]` to its definition, and to those of your types in it",
    note = "`#[derive(replug_api::serde::Serialize, replug_api::serde::Deserialize)]` and `#[serde(crate = \"replug_api::serde\")]` will do, too"
)]
pub trait Snapshot: 'static {
    /// Writes it down.
    #[doc(hidden)]
    fn encode_state(&self) -> Result<SavedState, PluginError>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> Snapshot for T {
    fn encode_state(&self) -> Result<SavedState, PluginError> {
        SavedState::encode(self)
    }
}

/// How well a plugin says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether it can do its work.
    pub healthy: bool,
    /// More for people; may be empty.
    pub message: String,
}

impl Health {
    /// It can do its work.
    pub fn ok() -> Self {
        Self { healthy: true, message: String::new() }
    }

    /// It cannot do its work, and why.
    pub fn failing(why: impl Into<String>) -> Self {
        Self { healthy: false, message: why.into() }
    }

    /// The same with something to say.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }
}

/// What an older instance saved: MessagePack with field names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    bytes: Vec<u8>,
}

impl SavedState {
    /// Writes a state down.
    ///
    /// # Errors
    ///
    /// - `state_not_encodable` if its `Serialize` fails.
    pub fn encode<T: Serialize>(state: &T) -> Result<Self, PluginError> {
        rmp_serde::to_vec_named(state)
            .map(|bytes| Self { bytes })
            .map_err(|e| PluginError::new("state_not_encodable", format!("the state cannot be saved: {e}")))
    }

    /// Reads the state as a `T`. Fields that `T` does not know are passed over.
    ///
    /// # Errors
    ///
    /// - `state_mismatch` if what was saved does not have that shape.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PluginError> {
        rmp_serde::from_slice(&self.bytes).map_err(|e| {
            let expected = std::any::type_name::<T>();
            PluginError::new("state_mismatch", format!("the saved state is not a `{expected}`: {e}"))
        })
    }

    /// A state as it came over.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The state as it goes over.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
