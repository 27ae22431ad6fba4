//! Implements the plugin's interface for polyplug, which calls an interface a contract. The code is what polyplug's
//! generator would write: each function takes pointers to its arguments, to the place for the result, and to the place
//! for an error.

use peer_interfaces::contract::{MAJOR, NAME};
use polyplug_abi::{
    AbiError, BundleInitContext, DispatchMechanisms, DispatchType, GuestContractInstance,
    GuestContractInterface, HostApi, NativeDispatch, PluginDescriptor, StringView, Version, VmLoaderData,
};
use polyplug_utils::GuestContractId;

/// The functions, by their numbers in the contract.
struct Functions([*const (); 2]);

// SAFETY: the pointers are those of functions, and nothing writes to them.
unsafe impl Sync for Functions {}

static FUNCTIONS: Functions = Functions([increment as *const (), greet as *const ()]);

/// The version of the binary interface, which the loader checks.
#[no_mangle]
pub extern "C" fn polyplug_abi_version() -> u32 {
    polyplug_abi::POLYPLUG_ABI_VERSION
}

/// Registers the contract.
///
/// # Safety
///
/// `host` must point to the table of functions of polyplug's runtime ([`HostApi`]). Only the loader calls this
/// function.
#[no_mangle]
pub unsafe extern "C" fn polyplug_init(host: *const HostApi, _: *const BundleInitContext) -> AbiError {
    let version = Version { major: MAJOR, minor: 0, patch: 0 };
    let view = |text: &'static str| StringView { ptr: text.as_ptr(), len: text.len() };
    let descriptor = PluginDescriptor { name: view("counter"), contract_name: view(NAME), version };
    let interface = Box::leak(Box::new(GuestContractInterface {
        contract_id: GuestContractId::new(NAME, MAJOR),
        contract_version: version,
        dispatch_type: DispatchType::Native,
        create_instance,
        destroy_instance,
        dispatch: DispatchMechanisms {
            native: NativeDispatch {
                function_count: FUNCTIONS.0.len() as u32,
                functions: FUNCTIONS.0.as_ptr(),
            },
        },
    }));
    let mut error = AbiError::ok();
    // SAFETY: the loader gives a valid table, and the other pointers are valid for the call.
    unsafe { ((*host).register_guest_contract)(host, &raw const descriptor, interface, &raw mut error) };
    error
}

/// The plugin has no state, so its instances have no data.
unsafe extern "C" fn create_instance(
    _: VmLoaderData,
    _: *const HostApi,
    _: *const (),
    out: *mut GuestContractInstance,
) {
    let contract_id = GuestContractId::new(NAME, MAJOR);
    // SAFETY: the host passes a place for the instance.
    unsafe { out.write(GuestContractInstance { data: std::ptr::null_mut(), contract_id }) };
}

unsafe extern "C" fn destroy_instance(_: VmLoaderData, _: *const HostApi, _: GuestContractInstance) {}

unsafe extern "C" fn increment(
    _: GuestContractInstance,
    args: *const (),
    out: *mut (),
    error: *mut AbiError,
) {
    // SAFETY: the caller passes a number and the places for a number and for an error.
    unsafe {
        out.cast::<u64>().write(args.cast::<u64>().read().wrapping_add(1));
        error.write(AbiError::ok());
    }
}

/// The text that it returns was allocated as a boxed slice, and the caller frees it with [`free_text`].
unsafe extern "C" fn greet(_: GuestContractInstance, args: *const (), out: *mut (), error: *mut AbiError) {
    // SAFETY: the caller passes a text, and the places for a text and for an error.
    unsafe {
        let name = args.cast::<StringView>().read();
        let name = std::str::from_utf8_unchecked(std::slice::from_raw_parts(name.ptr, name.len));
        let text = Box::leak(format!("Hello, {name}!").into_boxed_str());
        out.cast::<StringView>().write(StringView { ptr: text.as_ptr(), len: text.len() });
        error.write(AbiError::ok());
    }
}

/// Frees a text of [`greet`].
///
/// # Safety
///
/// The text comes from `greet`, and nothing uses it any longer.
#[no_mangle]
pub unsafe extern "C" fn free_text(text: StringView) {
    // SAFETY: `greet` has leaked a box of this length.
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(text.ptr.cast_mut(), text.len)) });
}
