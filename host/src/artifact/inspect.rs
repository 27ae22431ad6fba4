//! What a file says of itself, read without running any of it.
//!
//! To open a library runs its constructors, and to map one that was cut short ends in SIGBUS. So everything that can be
//! known from the bytes is read here first. The bytes may be anything: whatever they are, the answer is facts or an error.

mod error;
#[cfg(test)]
mod tests;

pub use error::InspectError;

use super::libraries::Search;
use abi_stable::library::ROOT_MODULE_LOADER_NAME;
use object::{
    LittleEndian, Object as _, ObjectSymbol as _, U16, elf,
    read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _, SectionHeader as _},
};
use serde::Serialize;
use std::{fs, path::Path, path::PathBuf};

/// The symbol that `replug_api::export!` defines and the root module calls.
const HOOKS_SYMBOL: &str = "__replug_plugin_hooks";

const PAGE_BYTES: u64 = 4096;

type Elf = elf::FileHeader64<LittleEndian>;

/// What a shared object says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// `64-bit ELF shared object`; anything else is an [`InspectError`].
    pub kind: &'static str,
    /// The machine it is for, such as `x86-64`: the host's own.
    pub machine: String,
    /// The name it gives itself, if it does.
    pub soname: Option<String>,
    /// Where it has its libraries sought, as written in it: DT_RUNPATH, or else DT_RPATH.
    pub runpath: Vec<String>,
    /// The libraries it needs, in the order in which they are sought.
    pub needed: Vec<Needed>,
    /// How the Rust standard library is linked.
    pub std: StdLinkage,
    /// Whether it has what a plugin must have.
    pub root: RootSymbol,
    /// Whether it asks never to be unmapped (DF_1_NODELETE).
    pub nodelete: bool,
    /// Its GNU build id in hexadecimal, if there is one.
    pub build_id: Option<String>,
    /// Whether it holds debug information.
    pub debug_info: bool,
    /// The size of the file in bytes.
    pub file_bytes: u64,
    /// The address space that its segments take, in bytes, in whole pages.
    pub mapped_bytes: u64,
    /// The part of it that can be written, relocations among it. Each generation has its own; the rest is the file's
    /// pages, which the system takes back when memory is short.
    pub private_bytes: u64,
    /// How far into the file its segments reach. What comes after, such as debug information, is not mapped.
    pub loaded_file_bytes: u64,
}

impl Facts {
    /// Where the shared standard library is that it needs, if it needs one and that was found.
    pub fn shared_std(&self) -> Option<&Path> {
        let StdLinkage::Shared { library } = &self.std else { return None };
        self.needed.iter().find(|needed| needed.name == *library).and_then(|needed| match &needed.lookup {
            Lookup::Found(path) => Some(path.as_path()),
            Lookup::Missing(_) => None,
        })
    }
}

/// A library that a shared object needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Needed {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    #[serde(flatten)]
    pub lookup: Lookup,
}

/// What became of the search for a library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lookup {
    /// It is here.
    Found(PathBuf),
    /// It is in none of these folders, and not loaded already.
    Missing(Vec<PathBuf>),
}

/// How the Rust standard library is linked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StdLinkage {
    /// As a library that all plugins share.
    Shared {
        /// The library's name.
        library: String,
    },
    /// As a copy of its own, which takes TLS keys that are never given back; or not at all.
    Static,
}

/// Whether a shared object has the symbols of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RootSymbol {
    /// It has.
    Exported,
    /// It is linked with `replug-api`, but no `replug_api::export!` says what it exports.
    NothingExported,
    /// It is no plugin.
    Absent,
}

/// Reads what the file at `path` says of itself. `$ORIGIN` in its search path stands for the folder of `path`.
///
/// # Errors
///
/// - [`InspectError::Unreadable`] if the file cannot be read;
/// - [`InspectError::NotElf`], [`InspectError::Truncated`], [`InspectError::Malformed`] if it is not a whole ELF file;
/// - [`InspectError::OtherMachine`], [`InspectError::NotShared`] if it is one that this host cannot open.
pub fn inspect(path: &Path) -> Result<Facts, InspectError> {
    let bytes =
        fs::read(path).map_err(|source| InspectError::Unreadable { path: path.to_owned(), source })?;
    read(path, &bytes)
}

fn read(path: &Path, bytes: &[u8]) -> Result<Facts, InspectError> {
    let machine = error::check_start(path, bytes)?;
    check_extent(path, bytes)?;
    let malformed = |error: object::Error| InspectError::malformed(path, error);
    let file = ElfFile64::<LittleEndian>::parse(bytes).map_err(malformed)?;
    let dynamic = Dynamic::read(&file).map_err(malformed)?;
    error::check_kind(path, &file, dynamic.flags_1)?;

    let search = Search::new(path, &dynamic.rpath, &dynamic.runpath);
    let std = dynamic
        .needed
        .iter()
        .find(|name| name.starts_with("libstd-") && name.ends_with(".so"))
        .map_or(StdLinkage::Static, |library| StdLinkage::Shared { library: library.clone() });
    let needed = dynamic.needed.into_iter().map(|name| Needed { lookup: search.find(&name), name }).collect();
    Ok(Facts {
        kind: "64-bit ELF shared object",
        machine,
        soname: dynamic.soname,
        runpath: if dynamic.runpath.is_empty() { dynamic.rpath } else { dynamic.runpath },
        needed,
        std,
        root: root_symbol(&file),
        nodelete: dynamic.flags_1 & elf::DF_1_NODELETE.0 != 0,
        build_id: file.build_id().ok().flatten().map(hexadecimal),
        debug_info: file.has_debug_symbols(),
        file_bytes: bytes.len() as u64,
        mapped_bytes: segment_bytes(&file, |_| true),
        loaded_file_bytes: loaded_file_bytes(&file),
        private_bytes: segment_bytes(&file, |flags| flags.0 & elf::PF_W.0 != 0),
    })
}

/// Refuses a file that promises more than it holds. What is mapped but not there kills the process that touches it.
fn check_extent(path: &Path, bytes: &[u8]) -> Result<(), InspectError> {
    let malformed = |error: object::Error| InspectError::malformed(path, error);
    let endian = LittleEndian;
    let present = bytes.len() as u64;
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

#[derive(Default)]
struct Dynamic {
    needed: Vec<String>,
    soname: Option<String>,
    rpath: Vec<String>,
    runpath: Vec<String>,
    flags_1: u64,
}

impl Dynamic {
    fn read(file: &ElfFile64<'_, LittleEndian>) -> object::Result<Self> {
        let table = file.elf_dynamic_table()?;
        let mut dynamic = Self::default();
        for entry in table.iter() {
            let text = || table.string(entry).map(|text| String::from_utf8_lossy(text).into_owned());
            let paths = || text().map(|text| text.split(':').map(str::to_owned).collect());
            match entry.tag {
                elf::DT_NEEDED => dynamic.needed.push(text()?),
                elf::DT_SONAME => dynamic.soname = Some(text()?),
                elf::DT_RPATH => dynamic.rpath = paths()?,
                elf::DT_RUNPATH => dynamic.runpath = paths()?,
                elf::DT_FLAGS_1 => dynamic.flags_1 = entry.val,
                _ => {}
            }
        }
        Ok(dynamic)
    }
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

/// What the loaded segments take, in whole pages, of those with flags that `counts`.
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

/// Where in the file the last segment that is loaded ends.
fn loaded_file_bytes(file: &ElfFile64<'_, LittleEndian>) -> u64 {
    let endian = LittleEndian;
    let loaded = file.elf_program_headers().iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
    loaded.map(|segment| segment.p_offset(endian).saturating_add(segment.p_filesz(endian))).max().unwrap_or(0)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
