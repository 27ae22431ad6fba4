//! Calls a plugin in the same way as the code that polyplug generates for callers: with pointers to the arguments, the
//! result and an error.

use crate::{methods, peers::library, Methods, Outcome};
use libloading::Library;
use peer_interfaces::contract::{GREET, INCREMENT, MAJOR, NAME};
use polyplug::Runtime;
use polyplug_abi::{AbiError, GuestContractInstance, GuestContractInterface, StringView};
use polyplug_native::{NativeConfig, NativeLoader};
use polyplug_utils::{bundle_id, GuestContractId};
use std::{fs, mem::MaybeUninit, path::Path, ptr, sync::Arc};

const BUNDLE: &str = "bench.counter";

type Function = unsafe extern "C" fn(GuestContractInstance, *const (), *mut (), *mut AbiError);
type Free = unsafe extern "C" fn(StringView);

/// Loads the plugin as a bundle in a folder of its own.
fn runtime(folder: &Path, kind: &str) -> Outcome<(Arc<Runtime>, Free)> {
    let bundle = folder.join("polyplug").join(kind);
    fs::create_dir_all(&bundle)?;
    fs::copy(library(folder), bundle.join("plugin.so"))?;
    let manifest = format!(
        "loader = \"native\"\nname = \"{BUNDLE}\"\nid = {}\nversion = \"1.0.0\"\nfile = \"plugin.so\"\n\
         provides = [\"{NAME}@1.0\"]\n[function_count]\n\"{NAME}@{MAJOR}\" = 2\n",
        bundle_id(BUNDLE)
    );
    fs::write(bundle.join("manifest.toml"), manifest)?;
    let runtime = Runtime::builder().loader(NativeLoader::new(NativeConfig::default())).build()?;
    runtime.load_bundle(&bundle)?;
    // SAFETY: loading the library runs only its initializers, which are those of std and of the crates in `benches/peers`.
    let library = Box::leak(Box::new(unsafe { Library::new(bundle.join("plugin.so")) }?));
    // SAFETY: the plugin defines the function with this signature.
    let free = *unsafe { library.get::<Free>(b"free_text\0") }?;
    Ok((runtime, free))
}

/// A text that the plugin has allocated, and the function of the plugin that frees it.
struct Text(StringView, Free);

impl Text {
    fn read(&self) -> String {
        // SAFETY: the plugin has returned a valid text.
        let bytes = unsafe { std::slice::from_raw_parts(self.0.ptr, self.0.len) };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: the plugin has returned this text, and nothing uses it any longer.
        unsafe { (self.1)(self.0) };
    }
}

#[inline(always)]
fn call<A, R>(function: Function, contract: GuestContractId, args: A) -> Option<R> {
    let instance = GuestContractInstance { data: ptr::null_mut(), contract_id: contract };
    let (mut out, mut error) = (MaybeUninit::<R>::uninit(), AbiError::ok());
    // SAFETY: the functions of the contract take these arguments, and write a result of this type if there is no error.
    unsafe {
        function(instance, ptr::from_ref(&args).cast(), out.as_mut_ptr().cast(), &raw mut error);
        error.is_ok().then(|| out.assume_init())
    }
}

/// The function with this number, of an interface that is valid.
#[inline(always)]
unsafe fn function(interface: *const GuestContractInterface, number: usize) -> Function {
    // SAFETY: the interface is a native one with two functions, which have the type `Function`.
    unsafe { std::mem::transmute::<*const (), Function>(*(*interface).dispatch.native.functions.add(number)) }
}

fn view(text: &str) -> StringView {
    StringView { ptr: text.as_ptr(), len: text.len() }
}

fn interface(runtime: &Runtime, contract: GuestContractId) -> Outcome<*const GuestContractInterface> {
    let handle = runtime.find_guest_contract(contract.id(), 0).map_err(|error| error.to_string())?;
    Ok(runtime.resolve_guest_contract(handle).map_err(|error| error.to_string())?)
}

pub(crate) fn cached(folder: &Path) -> Outcome<Methods> {
    let (runtime, free) = runtime(folder, "cached")?;
    let contract = GuestContractId::new(NAME, MAJOR);
    let found = interface(&runtime, contract)?;
    // SAFETY: nothing unloads the plugin.
    let (increment, greet) = unsafe { (function(found, INCREMENT), function(found, GREET)) };
    std::mem::forget(runtime);
    let text = move |name: &str| call(greet, contract, view(name)).map(|text| Text(text, free));
    methods(
        move |by| call(increment, contract, by).unwrap_or_default(),
        text,
        |text| text.as_ref().map(Text::read).unwrap_or_default(),
    )
}

pub(crate) fn resolved(folder: &Path) -> Outcome<Methods> {
    let (runtime, free) = runtime(folder, "resolved")?;
    let contract = GuestContractId::new(NAME, MAJOR);
    let runtime: &'static Runtime = &*Box::leak(Box::new(runtime));
    let find = move |number| {
        let handle = runtime.find_guest_contract(contract.id(), 0).ok()?;
        let found = runtime.resolve_guest_contract(handle).ok()?;
        // SAFETY: nothing unloads the plugin.
        Some(unsafe { function(found, number) })
    };
    methods(
        move |by| find(INCREMENT).and_then(|found| call(found, contract, by)).unwrap_or_default(),
        move |name| find(GREET).and_then(|found| call(found, contract, view(name))).map(|it| Text(it, free)),
        |text| text.as_ref().map(Text::read).unwrap_or_default(),
    )
}
