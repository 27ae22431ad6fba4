//! The interface that the *peers*, the other plugin systems of the benchmarks, call. It is declared once for each peer
//! that has interfaces in Rust. Its two methods are the same as in the plugin that is measured with replug: `increment`
//! takes and returns a number, and `greet` takes a text and returns a new one.

#![allow(non_local_definitions, reason = "`sabi_trait` implements traits within a constant")]

use abi_stable::{
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RBox, RStr, RString},
    StableAbi,
};
use savefile_derive::savefile_abi_exportable;

/// For savefile-abi.
#[savefile_abi_exportable(version = 0)]
pub trait SavefileCounter {
    fn increment(&self, by: u64) -> u64;
    fn greet(&self, name: &str) -> String;
}

/// For stabby.
#[stabby::stabby(checked)]
pub trait StabbyCounter {
    extern "C" fn increment(&self, by: u64) -> u64;
    extern "C" fn greet<'a>(&'a self, name: stabby::str::Str<'a>) -> stabby::string::String;
}

/// The object that the plugin gives to a program that uses stabby.
pub type StabbyObject = stabby::dynptr!(stabby::boxed::Box<dyn StabbyCounter>);

/// For abi_stable.
#[sabi_trait]
pub trait SabiCounter: Send + Sync {
    fn increment(&self, by: u64) -> u64;
    fn greet(&self, name: RStr<'_>) -> RString;
}

/// The object that the plugin gives to a program that uses abi_stable.
pub type SabiObject = SabiCounter_TO<'static, RBox<()>>;

/// The functions that a program that uses abi_stable finds in the plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = SabiModuleRef)))]
#[sabi(missing_field(panic))]
pub struct SabiModule {
    #[sabi(last_prefix_field)]
    pub counter: extern "C" fn() -> SabiObject,
}

impl RootModule for SabiModuleRef {
    abi_stable::declare_root_module_statics! {SabiModuleRef}
    const BASE_NAME: &'static str = "peer_plugin";
    const NAME: &'static str = "peer_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// For polyplug: the name of the contract, and the numbers of its functions.
pub mod contract {
    pub const NAME: &str = "bench.counter";
    pub const MAJOR: u32 = 1;
    pub const INCREMENT: usize = 0;
    pub const GREET: usize = 1;
}
