//! Which allocator a plugin's memory comes from.
//!
//! The compiler calls `__rust_dealloc` and its like, under mangled names. A library with its own copy of std defines them:
//! by the `#[global_allocator]` of the program, or by `__rdl_dealloc`, std's own. One that links the shared libstd takes
//! them from there. If it has a `#[global_allocator]` all the same, it defines them for itself, and libstd goes on with its
//! own: what the one takes and the other gives back ends the process.

use super::{elf::Dynamic, libraries::is_std};
use abi_stable::library::ROOT_MODULE_LOADER_NAME;
use object::{
    LittleEndian, Object as _, ObjectSymbol as _, ReadRef,
    read::{ReadCache, elf::ElfFile64},
};
use std::{fs::File, path::Path};

const DEALLOC: &str = "__rust_dealloc";
const DEALLOC_OF_STD: &str = "__rdl_dealloc";

/// How a library and its std stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allocator {
    /// It has one of its own, of which the shared libstd that it links knows nothing.
    Mixed,
    /// It has its own copy of std, with std's allocator: there is no reason against the shared one.
    OfOwnStd,
    /// There is nothing against how it is linked; or it does not say.
    Fit,
}

impl Allocator {
    /// Reads it from a build output.
    pub(crate) fn of(path: &Path) -> Self {
        let cache = File::open(path).ok().map(ReadCache::new);
        let found = cache.as_ref().and_then(|cache| {
            let (dynamic, file) = (Dynamic::read(cache).ok()?, ElfFile64::parse(cache).ok()?);
            Some(Self::read(&dynamic, &file))
        });
        found.unwrap_or(Self::Fit)
    }

    pub(super) fn read<'d, R: ReadRef<'d>>(dynamic: &Dynamic, file: &ElfFile64<'d, LittleEndian, R>) -> Self {
        if dynamic.needed.iter().any(|name| is_std(name)) {
            let mut imported = file.dynamic_symbols().filter(|symbol| symbol.is_undefined());
            let imports = imported.any(|symbol| symbol.name().is_ok_and(|name| name.contains(DEALLOC)));
            // Every plugin gives memory back. What else is built may never do so.
            let mut exported = file.dynamic_symbols().filter(|symbol| !symbol.is_undefined());
            let is_plugin = exported.any(|symbol| symbol.name() == Ok(ROOT_MODULE_LOADER_NAME));
            return if is_plugin && !imports { Self::Mixed } else { Self::Fit };
        }
        // A stripped file does not say.
        let mut defined = file.symbols().filter(|symbol| !symbol.is_undefined());
        match defined.any(|symbol| symbol.name().is_ok_and(|name| name.contains(DEALLOC_OF_STD))) {
            true => Self::OfOwnStd,
            false => Self::Fit,
        }
    }
}
