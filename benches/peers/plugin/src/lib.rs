//! A plugin that every peer can load. Its methods do the same as those of the plugin that is measured with replug.

mod contract;

use abi_stable::{
    export_root_module,
    prefix_type::PrefixTypeTrait,
    sabi_trait::TD_Opaque,
    std_types::{RStr, RString},
};
use peer_interfaces::{
    SabiCounter, SabiCounter_TO, SabiModule, SabiModuleRef, SabiObject, SavefileCounter, StabbyCounter,
    StabbyObject,
};
use savefile_derive::savefile_abi_export;

/// For hot-lib-reloader, which calls functions by their names.
#[no_mangle]
pub fn increment(by: u64) -> u64 {
    by.wrapping_add(1)
}

/// For hot-lib-reloader and for libloading.
#[no_mangle]
pub fn greet(name: &str) -> String {
    format!("Hello, {name}!")
}

/// For libloading: a function with the C calling convention.
#[no_mangle]
pub extern "C" fn increment_c(by: u64) -> u64 {
    by.wrapping_add(1)
}

#[derive(Default)]
struct PeerPlugin;

impl SavefileCounter for PeerPlugin {
    fn increment(&self, by: u64) -> u64 {
        by.wrapping_add(1)
    }

    fn greet(&self, name: &str) -> String {
        format!("Hello, {name}!")
    }
}

savefile_abi_export!(PeerPlugin, SavefileCounter);

impl StabbyCounter for PeerPlugin {
    extern "C" fn increment(&self, by: u64) -> u64 {
        by.wrapping_add(1)
    }

    extern "C" fn greet<'a>(&'a self, name: stabby::str::Str<'a>) -> stabby::string::String {
        stabby::format!("Hello, {}!", name.as_str()).unwrap_or_default()
    }
}

/// The object for stabby.
#[stabby::export]
pub extern "C" fn stabby_counter() -> StabbyObject {
    stabby::boxed::Box::new(PeerPlugin).into()
}

impl SabiCounter for PeerPlugin {
    fn increment(&self, by: u64) -> u64 {
        by.wrapping_add(1)
    }

    fn greet(&self, name: RStr<'_>) -> RString {
        format!("Hello, {name}!").into()
    }
}

extern "C" fn sabi_counter() -> SabiObject {
    SabiCounter_TO::from_value(PeerPlugin, TD_Opaque)
}

/// The root module for abi_stable.
#[export_root_module]
pub fn sabi_module() -> SabiModuleRef {
    SabiModule { counter: sabi_counter }.leak_into_prefix()
}
