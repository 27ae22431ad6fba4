//! The program's own panic hook, where the program is linked to the standard library that its plugins share.
//!
//! Most programs have a standard library of their own, and a hook that no plugin can reach. Where it is the same one, each
//! plugin that is loaded puts its own hook in the place of the program's. So the program's hook is kept, and put back each
//! time: what comes from the library of a plugin goes to whoever listens to that plugin, and everything else to the
//! program's hook. A program sets its hook before it loads its first plugin.

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

/// Keeps the program's hook. To be called before a library puts its own in place; [`put_back`] after that.
pub(super) fn keep() -> Option<&'static Hook> {
    OWN.get_or_init(|| is_shared(library_of_std().as_deref()?).then(panic::take_hook)).as_ref()
}

/// Puts the program's hook in the place of whatever a library has put there, whose code is to be mapped still.
pub(super) fn put_back() {
    let Some(own) = keep() else { return };
    panic::set_hook(Box::new(move |info| {
        if !report(info) {
            own(info);
        }
    }));
}

/// The file that the program's standard library is in.
fn library_of_std() -> Option<std::path::PathBuf> {
    let function: fn() -> Hook = panic::take_hook;
    library_at(Object(function as *const ()))
}

/// Whether that is a standard library by itself, and not a program that has it built in.
fn is_shared(library: &Path) -> bool {
    let name = library.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("libstd-") && name.ends_with(".so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_its_own_standard_library_keeps_its_hook_as_it_is() {
        let own = library_of_std().unwrap();
        assert_eq!(own.file_name(), std::env::current_exe().unwrap().file_name());
        assert!(!is_shared(&own));
        assert!(is_shared(Path::new("/lib/libstd-0123456789abcdef.so")));
        assert!(keep().is_none());
    }
}
