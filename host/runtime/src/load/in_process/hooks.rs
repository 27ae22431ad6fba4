//! Keeps the program's own panic hook if the program shares its standard library with its plugins.
//!
//! Most programs have a standard library of their own, so plugins cannot reach the program's hook. If the program
//! shares its standard library with its plugins, each plugin that is loaded replaces the program's hook with its own.
//! So the host keeps the program's hook, and restores it after each load. A panic from the library of a plugin goes to
//! that plugin's reporter, and all other panics go to the program's hook. The program must set its hook before it loads
//! its first plugin.

use super::services::{library_at, report};
use replug_api::abi::Object;
use std::{
    panic::{self, PanicHookInfo},
    path::Path,
    sync::OnceLock,
};

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// The program's hook, if plugins can reach it.
static OWN: OnceLock<Option<Hook>> = OnceLock::new();

/// Keeps the program's hook, if plugins can reach it. Must be called before a library sets its own hook. After the
/// library has set its hook, [`restore_own`] must be called.
pub(super) fn take_own() -> Option<&'static Hook> {
    OWN.get_or_init(|| is_shared(library_of_std().as_deref()?).then(panic::take_hook)).as_ref()
}

/// Replaces the hook that a library has set with the program's hook. The library must still be mapped, because dropping
/// the library's hook may run code of the library.
pub(super) fn restore_own() {
    let Some(own) = take_own() else { return };
    panic::set_hook(Box::new(move |info| {
        if !report(info) {
            own(info);
        }
    }));
}

/// The file that contains the program's standard library.
fn library_of_std() -> Option<std::path::PathBuf> {
    let function: fn() -> Hook = panic::take_hook;
    library_at(Object(function as *const ()))
}

/// Whether this file is a shared standard library, and not a program that links the standard library statically.
fn is_shared(library: &Path) -> bool {
    let name = library.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("libstd-") && name.ends_with(".so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_of_a_program_with_its_own_standard_library_is_not_taken() {
        let own = library_of_std().unwrap();
        assert_eq!(own.file_name(), std::env::current_exe().unwrap().file_name());
        assert!(!is_shared(&own));
        assert!(is_shared(Path::new("/lib/libstd-0123456789abcdef.so")));
        assert!(take_own().is_none());
    }
}
