//! The part of a plugin that must be compiled in the plugin's crate, and the symbol by which this crate refers to it.
//!
//! `export!` defines one symbol in the plugin's crate, a [`Hooks`]. The root module in `root` is compiled once, in this
//! crate. It refers to that symbol, and the linker resolves the reference. The code that is generic over the author's
//! type is as small as possible, because the compiler instantiates it again at every edit.

use crate::{
    Configuration, Context, Health, Plugin, PluginError, SavedState, Snapshot, abi::BoundInterface,
    abi::InterfaceExport,
};
use std::any::TypeId;

/// The values and functions that `export!` defines for the root module.
pub struct Hooks {
    /// `CARGO_PKG_NAME` of the plugin.
    pub package: &'static str,
    /// `CARGO_PKG_VERSION` of the plugin.
    pub version: &'static str,
    /// Whether a panic in the plugin unwinds.
    pub panic_unwinds: bool,
    /// Whether the plugin's `State` is not `()`.
    pub stateful: fn() -> bool,
    /// `Plugin::STATE_VERSION`.
    pub state_version: u32,
    /// The plugin's interfaces.
    pub interfaces: &'static [&'static InterfaceExport],
    /// Creates an instance from its context and `[config]` as JSON.
    pub create: fn(&Context, &str) -> Result<Created, PluginError>,
}

/// Whether `P` has state to hand over.
pub fn stateful<P: Plugin>() -> bool {
    TypeId::of::<P::State>() != TypeId::of::<()>()
}

/// A [`Plugin`] with its type erased.
pub(crate) trait ErasedPlugin: Send + Sync {
    fn start(&self) -> Result<(), PluginError>;
    fn stop(&self) -> Result<(), PluginError>;
    fn health(&self) -> Health;
    fn configure(&self, config: &str) -> Result<(), PluginError>;
    fn save(&self) -> Result<SavedState, PluginError>;
    fn restore(&self, from_version: u32, state: SavedState) -> Result<(), PluginError>;
}

impl<P: Plugin> ErasedPlugin for P {
    fn start(&self) -> Result<(), PluginError> {
        Plugin::start(self)
    }

    fn stop(&self) -> Result<(), PluginError> {
        Plugin::stop(self)
    }

    fn health(&self) -> Health {
        Plugin::health(self)
    }

    fn configure(&self, config: &str) -> Result<(), PluginError> {
        self.on_config(Configuration::read_config(config)?)
    }

    fn save(&self) -> Result<SavedState, PluginError> {
        Plugin::save(self)?.encode_state()
    }

    fn restore(&self, from_version: u32, state: SavedState) -> Result<(), PluginError> {
        Plugin::restore(self, from_version, state)
    }
}

/// A new instance and the interfaces bound to it. Owns the instance.
pub struct Created {
    plugin: *mut dyn ErasedPlugin,
    pub(crate) interfaces: Vec<BoundInterface>,
}

impl Created {
    /// Creates a `P`, and binds its interfaces with `bind`.
    ///
    /// # Safety
    ///
    /// 1. `bind` keeps its reference in the objects that it returns and nowhere else: the instance does not live for
    ///    `'static`, but until the `Created` is dropped.
    ///
    /// # Errors
    ///
    /// - The error of `Plugin::init`, or the error of reading the configuration as a `P::Config`.
    pub unsafe fn new<P: Plugin>(
        context: &Context,
        config: &str,
        bind: fn(&'static P) -> Vec<BoundInterface>,
    ) -> Result<Self, PluginError> {
        let plugin = Box::into_raw(Box::new(P::init(context, P::Config::read_config(config)?)?));
        // SAFETY: the value was just created, and is freed only when `Created` is dropped. By 1, only the interfaces
        // have the reference. By 2 of `PluginRoot`, their objects are not used after the drop.
        let interfaces = bind(unsafe { &*plugin });
        Ok(Self { plugin, interfaces })
    }

    pub(crate) fn plugin(&self) -> &dyn ErasedPlugin {
        // SAFETY: `plugin` comes from a box that only `drop` frees.
        unsafe { &*self.plugin }
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        // SAFETY: the pointer comes from `Box::into_raw` in `new`, and is freed only here.
        drop(unsafe { Box::from_raw(self.plugin) });
    }
}
