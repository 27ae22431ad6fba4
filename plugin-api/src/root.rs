//! The root module, through which a host reaches everything else in a plugin's library. It is compiled here, and not in
//! the plugin's crate.
//!
//! This module needs the [`Hooks`] that `export!` defines. A program that links this crate, but is not a plugin, does
//! not define them. Such a program still links, because nothing in it refers to this module, so the linker omits the
//! module.

use crate::{
    Context, PluginError, SavedState,
    abi::{
        ABI_VERSION, CreateParams, Descriptor, ErrorReport, HealthReport, HostServices, Instance,
        InterfaceExport, Object, Outcome, PluginRoot, PluginRootRef,
    },
    bridge,
    edge::contain,
    hooks::{Created, ErasedPlugin, Hooks},
};
use abi_stable::{
    library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult},
    prefix_type::PrefixTypeTrait,
    std_types::{RSlice, RStr, RVec},
};

unsafe extern "Rust" {
    /// Defined by `export!` in the plugin's crate.
    #[link_name = "__replug_plugin_hooks"]
    safe static HOOKS: Hooks;
}

/// The name by which abi_stable finds the root module: `abi_stable::library::ROOT_MODULE_LOADER_NAME`.
// SAFETY: the name is abi_stable's own for a `LibHeader`, and a library has one root module.
#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
static HEADER: LibHeader = {
    extern "C" fn load() -> RootModuleResult {
        __call_root_module_loader(root)
    }
    // SAFETY: `load` returns a `PluginRootRef`.
    unsafe { LibHeader::from_constructor::<PluginRootRef>(load, CheckTypeLayout::Yes) }
};

fn root() -> PluginRootRef {
    PluginRoot {
        descriptor,
        interfaces,
        attach,
        create,
        start,
        stop,
        health,
        configure,
        save,
        restore,
        destroy,
        set_max_level,
        hook_panics,
    }
    .leak_into_prefix()
}

extern "C" fn descriptor() -> Descriptor {
    Descriptor {
        abi_version: ABI_VERSION,
        api_version: RStr::from_str(env!("CARGO_PKG_VERSION")),
        package: RStr::from_str(HOOKS.package),
        version: RStr::from_str(HOOKS.version),
        panic_unwinds: HOOKS.panic_unwinds,
        stateful: (HOOKS.stateful)(),
        state_version: HOOKS.state_version,
    }
}

extern "C" fn interfaces() -> RVec<&'static InterfaceExport> {
    HOOKS.interfaces.to_vec().into()
}

extern "C" fn attach(services: HostServices) {
    let _: Outcome<(), ()> = contain(|| {
        bridge::attach(services);
        Outcome::Returned(())
    });
}

extern "C" fn set_max_level(level: u8) {
    let _: Outcome<(), ()> = contain(|| {
        bridge::set_max_level(level);
        Outcome::Returned(())
    });
}

extern "C" fn hook_panics(hooked: bool) {
    let _: Outcome<(), ()> = contain(|| {
        if hooked {
            bridge::hook_panics()
        } else {
            bridge::unhook_panics()
        }
        Outcome::Returned(())
    });
}

/// Catches panics, and converts the author's error into a report.
fn answer<T>(f: impl FnOnce() -> Result<T, PluginError>) -> Outcome<T, ErrorReport> {
    contain(|| match f() {
        Ok(value) => Outcome::Returned(value),
        Err(error) => Outcome::Refused(error.into_report()),
    })
}

extern "C" fn create(params: CreateParams) -> Outcome<Instance, ErrorReport> {
    answer(|| {
        let created = (HOOKS.create)(&Context::of(&params), params.config.as_str())?;
        let created = Box::into_raw(Box::new(created));
        // SAFETY: the value was just created. `destroy` frees it. After that, obligation 2 of `PluginRoot` forbids the
        // use of the object and of its interfaces.
        let interfaces = RSlice::from_slice(unsafe { &(*created).interfaces });
        Ok(Instance { object: Object(created.cast_const().cast()), interfaces })
    })
}

/// The instance behind an object.
///
/// # Safety
///
/// 1. The object comes from [`create`] of this library.
/// 2. [`destroy`] is not called with it while the reference is used.
unsafe fn instance<'a>(object: Object) -> &'a dyn ErasedPlugin {
    // SAFETY: by 1, `object` points to a `Created`. By 2, it has not been freed.
    unsafe { &*object.0.cast::<Created>() }.plugin()
}

/// # Safety
///
/// 1. and 2. of [`PluginRoot`].
unsafe extern "C" fn start(object: Object) -> Outcome<(), ErrorReport> {
    // SAFETY: 1 and 2 are the caller's.
    let it = unsafe { instance(object) };
    answer(|| it.start())
}

/// # Safety
///
/// 1. and 2. of [`PluginRoot`].
unsafe extern "C" fn stop(object: Object) -> Outcome<(), ErrorReport> {
    // SAFETY: 1 and 2 are the caller's.
    let it = unsafe { instance(object) };
    answer(|| it.stop())
}

/// # Safety
///
/// 1. and 2. of [`PluginRoot`].
unsafe extern "C" fn health(object: Object) -> Outcome<HealthReport, ErrorReport> {
    // SAFETY: 1 and 2 are the caller's.
    let it = unsafe { instance(object) };
    answer(|| {
        let health = it.health();
        Ok(HealthReport { healthy: health.healthy, message: health.message.into() })
    })
}

/// # Safety
///
/// 1. and 2. of [`PluginRoot`].
unsafe extern "C" fn configure(object: Object, config: RStr<'_>) -> Outcome<(), ErrorReport> {
    // SAFETY: 1 and 2 are the caller's.
    let it = unsafe { instance(object) };
    answer(|| it.configure(config.as_str()))
}

/// # Safety
///
/// 1. and 2. of [`PluginRoot`].
unsafe extern "C" fn save(object: Object) -> Outcome<RVec<u8>, ErrorReport> {
    // SAFETY: 1 and 2 are the caller's.
    let it = unsafe { instance(object) };
    answer(|| Ok(it.save()?.into_bytes().into()))
}

/// # Safety
///
/// 1. and 2. of [`PluginRoot`].
unsafe extern "C" fn restore(
    object: Object,
    from_version: u32,
    state: RSlice<'_, u8>,
) -> Outcome<(), ErrorReport> {
    // SAFETY: 1 and 2 are the caller's.
    let it = unsafe { instance(object) };
    answer(|| it.restore(from_version, SavedState::from_bytes(state.to_vec())))
}

/// # Safety
///
/// 1. and 2. of [`PluginRoot`].
unsafe extern "C" fn destroy(object: Object) -> Outcome<(), ErrorReport> {
    answer(|| {
        // SAFETY: by 1, `create` leaked the object as a box. By 2, this is the last use of the object. If dropping the
        // author's value panics, the unwinding still frees the box.
        drop(unsafe { Box::from_raw(object.0.cast_mut().cast::<Created>()) });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_header_has_the_symbol_name_that_abi_stable_expects() {
        assert!(
            include_str!("root.rs")
                .contains(&format!("export_name = \"{}\"", abi_stable::library::ROOT_MODULE_LOADER_NAME))
        );
    }
}
