//! The peers (other plugin systems, with which replug is compared) that are called through Rust functions or trait objects.

use crate::{methods, Methods, Outcome};
use abi_stable::library::RootModule;
use libloading::Library;
use peer_interfaces::{SabiModuleRef, SavefileCounter, StabbyCounterDyn, StabbyObject};
use savefile_abi::AbiConnection;
use stabby::libloading::StabbyLibrary;
use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The file of the plugin.
pub(crate) fn library(folder: &Path) -> PathBuf {
    folder.join("libpeer_plugin.so")
}

/// Opens the plugin for the life of the process.
fn opened(folder: &Path) -> Outcome<&'static Library> {
    // SAFETY: the only constructors of the library are those of std and of the peers.
    Ok(Box::leak(Box::new(unsafe { Library::new(library(folder)) }?)))
}

pub(crate) fn pointer(folder: &Path) -> Outcome<Methods> {
    let library = opened(folder)?;
    // SAFETY: the plugin defines the functions with these signatures, and the same compiler has built the plugin and
    // this crate.
    let increment = *unsafe { library.get::<extern "C" fn(u64) -> u64>(b"increment_c\0") }?;
    let greet = *unsafe { library.get::<fn(&str) -> String>(b"greet\0") }?;
    methods(move |by| increment(by), greet, String::clone)
}

pub(crate) fn stabby(folder: &Path) -> Outcome<Methods> {
    let library = opened(folder)?;
    // SAFETY: stabby compares the types of the function.
    let make = unsafe { library.get_stabbied::<extern "C" fn() -> StabbyObject>(b"stabby_counter") }
        .map_err(|error| error.to_string())?;
    let counter: &'static StabbyObject = Box::leak(Box::new(make()));
    methods(|by| counter.increment(by), |name| counter.greet(name.into()), |text| text.as_str().to_owned())
}

pub(crate) fn sabi(folder: &Path) -> Outcome<Methods> {
    let module = SabiModuleRef::load_from_file(&library(folder)).map_err(|error| error.to_string())?;
    let counter = module.counter()();
    let counter: &'static _ = Box::leak(Box::new(counter));
    methods(|by| counter.increment(by), |name| counter.greet(name.into()), |text| text.as_str().to_owned())
}

pub(crate) fn savefile(folder: &Path) -> Outcome<Methods> {
    let file = library(folder);
    let counter = AbiConnection::<dyn SavefileCounter>::load_shared_library(&file.to_string_lossy())
        .map_err(|error| error.to_string())?;
    let counter: &'static _ = Box::leak(Box::new(counter));
    methods(|by| counter.increment(by), |name| counter.greet(name), String::clone)
}

/// The folder that `hot_lib` watches.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

fn watched() -> PathBuf {
    FOLDER.get().cloned().unwrap_or_default()
}

#[hot_lib_reloader::hot_module(dylib = "peer_plugin", lib_dir = super::watched())]
mod hot_lib {
    #[hot_functions]
    extern "Rust" {
        pub fn increment(by: u64) -> u64;
        pub fn greet(name: &str) -> String;
    }
}

pub(crate) fn hot_lib_reloader(folder: &Path) -> Outcome<Methods> {
    FOLDER.get_or_init(|| folder.to_owned());
    methods(hot_lib::increment, hot_lib::greet, String::clone)
}
