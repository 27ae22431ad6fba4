//! Finds the allocator of a plugin.
//!
//! Compiled code calls `__rust_dealloc` and similar functions, under mangled names. A library with its own copy of std
//! defines these functions: they call the `#[global_allocator]` of the library, or std's own `__rdl_dealloc`. A library
//! that links the shared libstd imports these functions from libstd. If such a library has a `#[global_allocator]`, the
//! library defines these functions itself, while libstd still uses its own allocator. The process then aborts or
//! corrupts its memory as soon as one allocator frees a block that the other one allocated.

use super::{elf::Dynamic, libraries::is_std};
use abi_stable::library::ROOT_MODULE_LOADER_NAME;
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, ReadRef,
    read::{ReadCache, elf::ElfFile64},
};
use std::{fs::File, path::Path};

const OF_ALLOCATORS: [&str; 4] = ["__rust_dealloc", "__rust_alloc", "__rust_realloc", "__rust_alloc_zeroed"];
const DEALLOC_OF_STD: &str = "__rdl_dealloc";

/// Whether the allocators of a library and of its std match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allocator {
    /// The library has its own allocator, and links the shared libstd, which uses another one.
    Mixed,
    /// The library has its own copy of std and uses std's allocator. It could link the shared libstd instead.
    OfOwnStd,
    /// The allocators match, or the file does not show which allocator it uses.
    Fit,
}

impl Allocator {
    /// Determines the allocator of the build output at `path`. An unreadable file counts as [`Self::Fit`].
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
            let of_allocator = |name: &str| OF_ALLOCATORS.iter().any(|known| name.ends_with(known));
            let imports = imported.any(|symbol| symbol.name().is_ok_and(of_allocator));
            // Every plugin allocates and frees memory, at least in `replug-api`. A library that is not a plugin
            // possibly never does, so missing imports prove nothing about it.
            let mut exported = file.dynamic_symbols().filter(|symbol| !symbol.is_undefined());
            let is_plugin = exported.any(|symbol| symbol.name() == Ok(ROOT_MODULE_LOADER_NAME));
            return if is_plugin && !imports { Self::Mixed } else { Self::Fit };
        }
        // In a stripped file, these symbols are missing, and the answer is `Fit`.
        let mut defined = file.symbols().filter(|symbol| !symbol.is_undefined());
        match defined.any(|symbol| symbol.name().is_ok_and(|name| name.contains(DEALLOC_OF_STD))) {
            true => Self::OfOwnStd,
            false => Self::Fit,
        }
    }
}

/// The content of the section `.comment` of the file at `path`, in which compilers and linkers leave their names.
pub(crate) fn comment(path: &Path) -> Option<Vec<u8>> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let file = ElfFile64::<LittleEndian, _>::parse(&cache).ok()?;
    Some(file.section_by_name(".comment")?.data().ok()?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    /// Compiles a library that frees memory and exports the symbol by which plugins are recognized, and determines its
    /// allocator.
    fn built(folder: &Path, args: &[&str]) -> Allocator {
        let source = format!(
            "use std::alloc::{{GlobalAlloc, Layout, System}};
            pub struct Own;
            unsafe impl GlobalAlloc for Own {{
                unsafe fn alloc(&self, layout: Layout) -> *mut u8 {{ unsafe {{ System.alloc(layout) }} }}
                unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {{ unsafe {{ System.dealloc(at, layout) }} }}
            }}
            #[cfg(own)]
            #[global_allocator]
            static OWN: Own = Own;
            #[unsafe(no_mangle)]
            pub extern \"C\" fn {ROOT_MODULE_LOADER_NAME}(count: usize) -> usize {{
                struct Odd(u8, u32, String);
                let odd: Vec<Odd> = (0..count).map(|it| Odd(1, 2, it.to_string())).collect();
                std::hint::black_box(&odd).iter().map(|it| it.0 as usize + it.1 as usize + it.2.len()).sum()
            }}"
        );
        fs::write(folder.join("lib.rs"), source).unwrap();
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args(["--edition", "2024", "--crate-type", "cdylib", "--check-cfg", "cfg(own)", "-o", "it.so"]);
        assert!(rustc.args(args).arg("lib.rs").current_dir(folder).status().unwrap().success());
        Allocator::of(&folder.join("it.so"))
    }

    #[test]
    fn a_second_allocator_beside_a_shared_std_is_found_in_a_stripped_file() {
        let folder = tempfile::tempdir().unwrap();
        let built = |args: &[&str]| built(folder.path(), args);
        // With less optimization, such a small library frees memory only through functions of libstd.
        let shared = ["-Cprefer-dynamic", "-Copt-level=2"];
        let stripped = ["-Cprefer-dynamic", "-Copt-level=3", "-Cstrip=symbols"];
        for args in [&shared[..], &stripped[..]] {
            assert_eq!(built(args), Allocator::Fit, "{args:?}");
            assert_eq!(built(&[args, &["--cfg", "own"]].concat()), Allocator::Mixed, "{args:?}");
        }
        assert_eq!(built(&["--cfg", "own"]), Allocator::Fit);
        assert_eq!(built(&[]), Allocator::OfOwnStd);
        assert_eq!(Allocator::of(&folder.path().join("lib.rs")), Allocator::Fit, "not an ELF file");
    }
}
