//! The properties of a file, read without running any of its code.
//!
//! Opening a library runs its constructors, and an access to a mapped page beyond the end of a truncated file raises
//! SIGBUS. So this module checks the bytes of a file before any library is opened. For arbitrary bytes, it returns
//! facts or an error and never panics.

mod error;
#[cfg(test)]
mod tests;

pub use error::InspectError;

use super::{
    allocator::Allocator,
    elf::{Dynamic, Elf},
    libraries::{Known, Libraries, is_std},
};
use abi_stable::library::ROOT_MODULE_LOADER_NAME;
use object::{
    LittleEndian, Object as _, ObjectSymbol as _, ReadCache, ReadRef, U16, elf,
    read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _, SectionHeader as _},
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The symbol that `replug_api::export!` defines. The root module, the table of functions that every plugin exports,
/// refers to it.
const HOOKS_SYMBOL: &str = "__replug_plugin_hooks";

const PAGE_BYTES: u64 = 4096;

/// The properties of a shared object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Always `64-bit ELF shared object`; [`inspect()`] returns an [`InspectError`] for any other kind.
    pub kind: &'static str,
    /// The machine of the object, such as `x86-64`. It is the machine of the host.
    pub machine: String,
    /// The name of the object (DT_SONAME), if it has one.
    pub soname: Option<String>,
    /// The search path for libraries, as written in the file: DT_RUNPATH, or else DT_RPATH.
    pub runpath: Vec<String>,
    /// The libraries that the object needs, in the order in which the loader searches for them.
    pub needed: Vec<Needed>,
    /// The libraries that belong to the object: those that it needs and that the loader finds by a run path, outside of
    /// the system's folders. The same rule then adds the libraries that these libraries need.
    pub libraries: Vec<OwnLibrary>,
    /// How the Rust standard library is linked.
    pub std: StdLinkage,
    /// Where the shared standard library is, if this object or one of its libraries needs it and it was found.
    pub std_path: Option<PathBuf>,
    /// Whether the object mixes two allocators: it has a `#[global_allocator]` and links the shared standard library,
    /// which uses another allocator. Each of the two would free memory that the other allocated.
    pub mixes_allocators: bool,
    /// Whether the object has the symbols of a plugin.
    pub root: RootSymbol,
    /// Whether the dynamic loader never unmaps the object, because of its flags (DF_1_NODELETE), or because it has
    /// unique symbols (STB_GNU_UNIQUE).
    pub nodelete: bool,
    /// Whether the object registers destructors of thread-locals with the C library. The dynamic loader does not unmap
    /// the object while a thread has such a thread-local.
    pub tls_destructors: bool,
    /// The GNU build id in hexadecimal, if there is one.
    pub build_id: Option<String>,
    /// Whether the file has debug information.
    pub debug_info: bool,
    /// The size of the file in bytes.
    pub file_bytes: u64,
    /// The address space of the object's segments in bytes, in whole pages.
    pub mapped_bytes: u64,
    /// The size of the writable segments of the object and of its libraries in bytes, in whole pages, including data
    /// that relocation changes. Each generation has its own copy of these pages. The other pages are backed by the
    /// file, and the kernel reclaims them when memory is short.
    pub private_bytes: u64,
    /// The thread-local data that the object and its libraries need in the static TLS block of each thread, in bytes.
    /// The block has little space for libraries that are opened after the program has started, and each generation
    /// needs this amount again.
    pub static_tls_bytes: u64,
    /// The file offset at which the object's segments end. Data after this offset, such as debug information, is not
    /// mapped.
    pub loaded_file_bytes: u64,
}

impl Facts {
    /// Where the shared standard library is, if the object needs one and it was found.
    pub fn shared_std(&self) -> Option<&Path> {
        self.std_path.as_deref()
    }
}

/// A library that a shared object needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Needed {
    /// The name by which the object refers to the library.
    pub name: String,
    /// Where the library is, or where it was searched for.
    #[serde(flatten)]
    pub lookup: Lookup,
}

/// A library that belongs to a shared object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnLibrary {
    /// The name by which other files refer to the library.
    pub name: String,
    /// The path of the library.
    pub path: PathBuf,
    /// The missing libraries that this library needs.
    pub missing: Vec<Needed>,
}

/// The result of the search for a library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lookup {
    /// The library has this path.
    Found(PathBuf),
    /// The library is in none of these folders, and this process has not loaded a library of that name.
    Missing(Vec<PathBuf>),
}

/// How the Rust standard library is linked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StdLinkage {
    /// The object links a libstd that all plugins share.
    Shared {
        /// The library's name.
        library: String,
    },
    /// The object does not link a shared libstd. Either it contains its own copy of std, which occupies thread-local
    /// keys until the process exits, or it does not use std.
    Static,
}

/// Whether a shared object has the symbols of a plugin: the root module and the symbol of `replug_api::export!`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RootSymbol {
    /// The object has the symbols.
    Exported,
    /// The object is linked with `replug-api`, but does not use `replug_api::export!`.
    NothingExported,
    /// The object is not a plugin.
    Absent,
}

/// Reads the properties of the file at `path`. `$ORIGIN` in the file's search path stands for the folder of `path`.
///
/// # Errors
///
/// - [`InspectError::Unreadable`] if the file, or a library that belongs to it, cannot be read;
/// - [`InspectError::NotElf`], [`InspectError::Truncated`], [`InspectError::Malformed`] if one of these files is
///   not a complete ELF file;
/// - [`InspectError::OtherMachine`], [`InspectError::NotShared`] if this host cannot open one of these files.
pub fn inspect(path: &Path) -> Result<Facts, InspectError> {
    inspect_stored(path, (path, &Known::new()))
}

/// Like [`inspect()`], for the copy at `path`. `of` contains the path of the original (`$ORIGIN` is its folder), and the
/// path of the copy of each library that was copied, by the library's name.
pub(super) fn inspect_stored(path: &Path, of: (&Path, &Known)) -> Result<Facts, InspectError> {
    read(path, &contents(path)?, of)
}

/// The paths of the libraries that belong to the file at `path`, and all other paths at which the loader would look for
/// them.
pub(crate) fn places_of_libraries(path: &Path) -> BTreeSet<PathBuf> {
    let Some(dynamic) = fs::File::open(path).ok().and_then(|file| Dynamic::of(file).ok()) else {
        return BTreeSet::new();
    };
    let libraries = Libraries::of(path, &dynamic, &Known::new());
    let found = libraries.own.into_iter().map(|(_, path)| path);
    // If the path is a link, an edit of its target is an edit of the library.
    let found = found.flat_map(|path| [path.canonicalize().unwrap_or_else(|_| path.clone()), path]);
    found.chain(libraries.places).collect()
}

fn contents(path: &Path) -> Result<Vec<u8>, InspectError> {
    fs::read(path).map_err(|source| InspectError::Unreadable { path: path.to_owned(), source })
}

/// A shared object that passed the checks of this module.
struct Shared<'d> {
    machine: String,
    file: ElfFile64<'d, LittleEndian>,
    dynamic: Dynamic,
}

impl<'d> Shared<'d> {
    fn read(path: &Path, bytes: &'d [u8]) -> Result<Self, InspectError> {
        let machine = error::check_start(path, bytes)?;
        check_extent(path, bytes)?;
        let file = ElfFile64::<LittleEndian>::parse(bytes);
        let file = file.map_err(|error| InspectError::malformed(path, error))?;
        let dynamic = Dynamic::read(bytes).map_err(|reason| InspectError::malformed(path, reason))?;
        error::check_kind(path, &file, dynamic.flags_1)?;
        Ok(Self { machine, file, dynamic })
    }

    /// The private memory that this file adds to each generation.
    fn private_bytes(&self) -> u64 {
        segment_bytes(&self.file, |flags| flags.0 & elf::PF_W.0 != 0)
    }

    /// The bytes that this file adds to the static block of each thread.
    fn static_tls_bytes(&self) -> u64 {
        if self.dynamic.flags & elf::DF_STATIC_TLS.0 == 0 {
            return 0;
        }
        let headers = self.file.elf_program_headers().iter();
        let block = headers.filter(|it| it.p_type(LittleEndian) == elf::PT_TLS).map(|segment| {
            let align = segment.p_align(LittleEndian).max(1);
            segment.p_memsz(LittleEndian).checked_next_multiple_of(align).unwrap_or(u64::MAX)
        });
        block.fold(0, u64::saturating_add)
    }
}

fn read(path: &Path, bytes: &[u8], of: (&Path, &Known)) -> Result<Facts, InspectError> {
    let (origin, known) = of;
    let own = Shared::read(path, bytes)?;
    let Shared { machine, file, dynamic } = &own;
    let shared = dynamic.needed.iter().find(|name| is_std(name));
    let found = Libraries::of(origin, dynamic, known);
    let mut facts = Facts {
        kind: "64-bit ELF shared object",
        machine: machine.clone(),
        soname: dynamic.soname.clone(),
        runpath: if dynamic.runpath.is_empty() { &dynamic.rpath } else { &dynamic.runpath }.clone(),
        needed: found.needed,
        libraries: Vec::new(),
        std: shared.map_or(StdLinkage::Static, |library| StdLinkage::Shared { library: library.clone() }),
        std_path: found.std.map(|(_, path)| path),
        mixes_allocators: Allocator::read(dynamic, file) == Allocator::Mixed,
        root: root_symbol(file),
        nodelete: dynamic.flags_1 & elf::DF_1_NODELETE.0 != 0 || has_unique_symbols(file),
        tls_destructors: registers_tls_destructors(file),
        build_id: file.build_id().ok().flatten().map(hexadecimal),
        debug_info: file.has_debug_symbols(),
        file_bytes: bytes.len() as u64,
        mapped_bytes: segment_bytes(file, |_| true),
        loaded_file_bytes: loaded_file_bytes(file),
        private_bytes: 0,
        static_tls_bytes: 0,
    };
    facts.count(&own);
    for (name, path) in found.own {
        // A library that is needed under several names is counted once.
        let is_new = facts.libraries.iter().all(|known| known.path != path);
        if is_new {
            facts.count(&Shared::read(&path, &contents(&path)?)?);
        }
        let lacks = found.missing.iter().filter(|(of, _)| is_new && *of == path);
        let missing = lacks.map(|(_, needed)| needed.clone()).collect();
        facts.libraries.push(OwnLibrary { name, path, missing });
    }
    Ok(facts)
}

impl Facts {
    fn count(&mut self, file: &Shared<'_>) {
        self.private_bytes = self.private_bytes.saturating_add(file.private_bytes());
        self.static_tls_bytes = self.static_tls_bytes.saturating_add(file.static_tls_bytes());
    }
}

/// Whether the file at `path` is truncated, for example because a linker still writes it. A file that is shorter than an
/// ELF header counts as truncated. Returns `false` for a longer file that is not ELF, and for a file that cannot be read.
pub fn is_cut_off(path: &Path) -> bool {
    let Ok(file) = fs::File::open(path) else { return false };
    let data = ReadCache::new(file);
    let is_shorter_than_a_header = (&data).len().is_ok_and(|len| len < size_of::<Elf>() as u64);
    is_shorter_than_a_header || matches!(check_extent(path, &data), Err(InspectError::Truncated { .. }))
}

/// Rejects a file that is shorter than its headers describe: an access to a mapped page beyond the file's end kills the
/// process.
fn check_extent<'d>(path: &Path, bytes: impl ReadRef<'d>) -> Result<(), InspectError> {
    let malformed = |error: object::Error| InspectError::malformed(path, error);
    let endian = LittleEndian;
    let present = bytes.len().map_err(|()| InspectError::malformed(path, "its length is unknown"))?;
    let within = |promised: u64| {
        if promised <= present {
            return Ok(());
        }
        Err(InspectError::Truncated { path: path.to_owned(), present, promised })
    };
    let header = Elf::parse(bytes).map_err(malformed)?;
    let table = |offset: u64, entries: U16<LittleEndian>, size: U16<LittleEndian>| {
        offset.saturating_add(u64::from(entries.get(endian)) * u64::from(size.get(endian)))
    };
    within(table(header.e_phoff.get(endian), header.e_phnum, header.e_phentsize))?;
    within(table(header.e_shoff.get(endian), header.e_shnum, header.e_shentsize))?;
    for segment in header.program_headers(endian, bytes).map_err(malformed)? {
        let (offset, size) = segment.file_range(endian);
        within(offset.saturating_add(size))?;
    }
    for section in header.sections(endian, bytes).map_err(malformed)?.iter() {
        if let Some((offset, size)) = section.file_range(endian) {
            within(offset.saturating_add(size))?;
        }
    }
    Ok(())
}

fn root_symbol(file: &ElfFile64<'_, LittleEndian>) -> RootSymbol {
    let mut root = RootSymbol::Absent;
    for symbol in file.dynamic_symbols() {
        match symbol.name() {
            Ok(HOOKS_SYMBOL) if symbol.is_undefined() => return RootSymbol::NothingExported,
            Ok(name) if name == ROOT_MODULE_LOADER_NAME && !symbol.is_undefined() => {
                root = RootSymbol::Exported;
            }
            _ => {}
        }
    }
    root
}

/// Whether the file defines unique symbols. C++ compilers emit them for some templates and inline variables.
fn has_unique_symbols(file: &ElfFile64<'_, LittleEndian>) -> bool {
    file.dynamic_symbols().any(|it| !it.is_undefined() && it.elf_symbol().st_bind() == elf::STB_GNU_UNIQUE)
}

/// Whether the file calls the functions that register a destructor of a thread-local.
fn registers_tls_destructors(file: &ElfFile64<'_, LittleEndian>) -> bool {
    let names = ["__cxa_thread_atexit_impl", "__cxa_thread_atexit"];
    let mut imported = file.dynamic_symbols().filter(|symbol| symbol.is_undefined());
    imported.any(|symbol| symbol.name().is_ok_and(|name| names.contains(&name)))
}

/// The size of the loaded segments whose flags `counts` accepts, in bytes, as whole pages.
fn segment_bytes(file: &ElfFile64<'_, LittleEndian>, counts: fn(elf::ProgramFlags) -> bool) -> u64 {
    let endian = LittleEndian;
    let pages = |segment: &elf::ProgramHeader64<LittleEndian>| {
        let before = segment.p_vaddr(endian) % PAGE_BYTES;
        before.saturating_add(segment.p_memsz(endian)).div_ceil(PAGE_BYTES)
    };
    file.elf_program_headers()
        .iter()
        .filter(|segment| segment.p_type(endian) == elf::PT_LOAD && counts(segment.p_flags(endian)))
        .fold(0u64, |sum, segment| sum.saturating_add(pages(segment).saturating_mul(PAGE_BYTES)))
}

/// The file offset at which the last loaded segment ends.
fn loaded_file_bytes(file: &ElfFile64<'_, LittleEndian>) -> u64 {
    let endian = LittleEndian;
    let loaded = file.elf_program_headers().iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
    loaded.map(|segment| segment.p_offset(endian).saturating_add(segment.p_filesz(endian))).max().unwrap_or(0)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
