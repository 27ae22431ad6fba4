//! The trait that makes a type a plugin, and the parameters and results of its methods.

use crate::{Context, PluginError, config};
use serde::{Serialize, de::DeserializeOwned};

/// The type that implements a plugin. The host creates one instance of it for each generation.
///
/// Every plugin implements [`Plugin::init`]; a plugin with state also implements [`Plugin::save`] and
/// [`Plugin::restore`]. The host calls `init`, then [`Plugin::start`]. On a reload of a plugin with state, the host
/// calls `save` on the old instance and `restore` on the new one, between `init` and `start` of the new one. At the
/// end, the host calls [`Plugin::stop`] and drops the instance. Calls of the plugin's interfaces arrive on many threads
/// at once. A panic in any of these functions is contained and reported.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plugin",
    label = "`replug_api::Plugin` is not implemented for it",
    note = "write `impl Plugin for {Self} {{ .. }}`; only `Config`, `State` and `init` are needed"
)]
pub trait Plugin: Send + Sync + Sized + 'static {
    /// The type of `[config]` in the manifest. `()` for a plugin without configuration.
    ///
    /// An absent or empty `[config]` becomes `Config::default()`. Otherwise every field must be set, except those
    /// that you mark `#[serde(default)]`. Your own type needs `#[replug_api::config]` and `#[derive(Default)]`.
    type Config: Configuration;

    /// The data that a new generation gets from the old one. `()` for a plugin without state. Your own type needs
    /// `#[replug_api::state]`.
    type State: Snapshot;

    /// The version of the shape of `State`. Increase it when the shape changes, and let `restore` read states of older
    /// versions.
    const STATE_VERSION: u32 = 1;

    /// Creates an instance.
    ///
    /// # Errors
    ///
    /// The reason why the plugin cannot work. The host reports the error, and the previous generation keeps serving.
    fn init(context: &Context, config: Self::Config) -> Result<Self, PluginError>;

    /// Starts background work: threads, timers, connections. Does nothing by default.
    ///
    /// # Errors
    ///
    /// As for [`Plugin::init`].
    fn start(&self) -> Result<(), PluginError> {
        Ok(())
    }

    /// Stops the work that [`Plugin::start`] started, and joins its threads. No call follows. Does nothing by default.
    ///
    /// # Errors
    ///
    /// The host reports the error, and still drops the instance.
    fn stop(&self) -> Result<(), PluginError> {
        Ok(())
    }

    /// Reports the health of the instance. Healthy by default.
    fn health(&self) -> Health {
        Health::ok()
    }

    /// Applies a new `[config]` while the instance runs.
    ///
    /// # Errors
    ///
    /// [`PluginError::restart_required`], which is the default, makes the host replace the instance with a new one
    /// that has the new configuration. Any other error rejects the new configuration.
    fn on_config(&self, config: Self::Config) -> Result<(), PluginError> {
        drop(config);
        Err(PluginError::restart_required())
    }

    /// Returns the state for the next generation. No call runs at the same time.
    ///
    /// Called only if `State` is not `()`.
    ///
    /// # Errors
    ///
    /// An error abandons the reload: this instance keeps serving.
    fn save(&self) -> Result<Self::State, PluginError> {
        Err(PluginError::new(
            "save_missing",
            "the running version has state but does not implement `Plugin::save`, so no other version can take over: \
             implement `save` and `restore`, then run `replug stop --discard` and `replug reload` for this plugin",
        ))
    }

    /// Restores the state that an older instance saved. `from_version` is the `STATE_VERSION` of that instance.
    ///
    /// # Errors
    ///
    /// An error abandons the reload: the older instance keeps serving.
    fn restore(&self, from_version: u32, state: SavedState) -> Result<(), PluginError> {
        drop(state);
        Err(PluginError::new(
            "restore_missing",
            "the plugin has state but does not implement `Plugin::restore`",
        )
        .with("from_version", from_version))
    }
}

/// The bounds of [`Plugin::Config`]: every type that implements serde's `DeserializeOwned`, and `Default`.
///
/// [`macro@crate::config`] derives `Deserialize` without a dependency on serde. A type that is also part of a signature
/// is marked with [`macro@crate::data`] instead. In a plugin that depends on serde, `#[derive(serde::Deserialize)]` has
/// the same effect.
///
/// ```
/// #[replug_api::config]
/// #[derive(Default)]
/// #[serde(default)]
/// struct Settings {
///     folder: std::path::PathBuf,
///     limits: Limits,
/// }
///
/// #[replug_api::config]
/// #[derive(Default)]
/// struct Limits {
///     size: u64,
/// }
/// ```
// The bounds are on the implementation and not on the trait, because serde's hint for a type that does not satisfy them
// assumes a dependency on serde, which a plugin does not need.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the configuration of a plugin",
    label = "serde's `Deserialize` or `Default` is not implemented for it",
    note = "add `#[replug_api::config]` and `#[derive(Default)]` to its definition, and `#[replug_api::config]` to each of your own types in it",
    note = "a type that is also part of a signature needs `#[replug_api::data]` instead of `#[replug_api::config]`"
)]
pub trait Configuration: Sized {
    /// Reads a `[config]` from JSON.
    #[doc(hidden)]
    fn read_config(json: &str) -> Result<Self, PluginError>;
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Default> Configuration for T {
    fn read_config(json: &str) -> Result<Self, PluginError> {
        config::read(json)
    }
}

/// The bounds of [`Plugin::State`]: every `'static` type that implements serde's `Serialize` and `DeserializeOwned`.
///
/// [`macro@crate::state`] derives them without a dependency on serde. A type that is also part of a signature is marked
/// with [`macro@crate::data`] instead. In a plugin that depends on serde, `#[derive(serde::Serialize,
/// serde::Deserialize)]` has the same effect as `#[replug_api::state]`.
///
/// A state is encoded as MessagePack by the implementations of serde. They cannot encode a path that is not UTF-8, or a
/// time before 1970: [`Plugin::save`] then fails. They lose the scope and the flow information of an IPv6 socket address.
/// A field of a type marked `#[data]` has none of these limits, if its type is written out and not an alias. MessagePack
/// cannot distinguish `Some(None)` and `Some(())` from `None`, and outside a type marked `#[data]` neither
/// `Some(Value::Null)`: each of them is restored as `None`.
///
/// The mark of a type decides the form in which it is saved. These changes of a mark change the form:
///
/// - from or to `#[data(serde)]`, for every type;
/// - from `#[state]`, or from serde's derives, to `#[data]` or back, for a type with a field whose type calls encode in a
///   form of their own, such as a `SocketAddrV6` or a `serde_json::Value`.
///
/// With such a change, increase [`Plugin::STATE_VERSION`], keep the older type under another name, and let
/// [`Plugin::restore`] read older states as this type. Otherwise, [`SavedState::decode`] rejects a state that was saved
/// before. From `#[data(serde)]` to another mark, and from `#[data]` to `#[state]`, it may instead return wrong values.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the state of a plugin",
    label = "serde's `Serialize` or `Deserialize` is not implemented for it",
    note = "add `#[replug_api::state]` to its definition, and to each of your own types in it",
    note = "a type that is also part of a signature needs `#[replug_api::data]` instead"
)]
pub trait Snapshot: 'static {
    /// Encodes the state.
    #[doc(hidden)]
    fn encode_state(&self) -> Result<SavedState, PluginError>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> Snapshot for T {
    fn encode_state(&self) -> Result<SavedState, PluginError> {
        SavedState::encode(self)
    }
}

/// The health of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether the plugin can do its work.
    pub healthy: bool,
    /// A message for people; may be empty.
    pub message: String,
}

impl Health {
    /// The health of a plugin that can do its work.
    pub fn ok() -> Self {
        Self { healthy: true, message: String::new() }
    }

    /// The health of a plugin that cannot do its work; `why` is the reason.
    pub fn failing(why: impl Into<String>) -> Self {
        Self { healthy: false, message: why.into() }
    }

    /// The same health with a message.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }
}

/// The state that an older instance saved: MessagePack with field names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    bytes: Vec<u8>,
}

impl SavedState {
    /// Encodes a state.
    ///
    /// # Errors
    ///
    /// - `state_not_encodable` if its `Serialize` fails.
    pub fn encode<T: Serialize>(state: &T) -> Result<Self, PluginError> {
        rmp_serde::to_vec_named(state)
            .map(|bytes| Self { bytes })
            .map_err(|e| PluginError::new("state_not_encodable", format!("the state cannot be saved: {e}")))
    }

    /// Decodes the state as a `T`. Fields that `T` does not have are ignored.
    ///
    /// # Errors
    ///
    /// - `state_mismatch` if the saved state does not have that shape.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PluginError> {
        rmp_serde::from_slice(&self.bytes).map_err(|e| {
            let expected = std::any::type_name::<T>();
            PluginError::new("state_mismatch", format!("the saved state is not a `{expected}`: {e}"))
        })
    }

    /// Converts the FFI form, which is MessagePack, to the state.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Converts the state to its FFI form, which is MessagePack.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
