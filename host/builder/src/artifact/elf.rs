//! The parts of an ELF file that the dynamic loader reads: its segments, the libraries that it needs, and its own name.
//!
//! The code locates everything by the segments, as the loader does: a loadable file may have missing or wrong sections.

use object::{
    LittleEndian, ReadRef, elf,
    read::{
        ReadCache,
        elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
    },
};
use std::fs::File;

pub(super) type Elf = elf::FileHeader64<LittleEndian>;

const ENDIAN: LittleEndian = LittleEndian;

/// The content of a dynamic table.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    pub(super) needed: Vec<String>,
    pub(super) soname: Option<String>,
    pub(super) rpath: Vec<String>,
    pub(super) runpath: Vec<String>,
    pub(super) flags: u64,
    pub(super) flags_1: u64,
}

impl Dynamic {
    /// Reads the dynamic table of an open file. Does not read the whole file.
    pub(super) fn of(file: File) -> Result<Self, String> {
        Self::read(&ReadCache::new(file))
    }

    /// Reads the dynamic table of the object `data`. The result is empty if the object has no dynamic table.
    pub(super) fn read<'d, R: ReadRef<'d>>(data: R) -> Result<Self, String> {
        let mut dynamic = Self::default();
        let Some(table) = Table::find(data)? else { return Ok(dynamic) };
        for entry in table.entries() {
            let value = entry.val(ENDIAN);
            let text = || table.string(value).map(|text| String::from_utf8_lossy(text).into_owned());
            let paths = || text().map(|text| text.split(':').map(str::to_owned).collect());
            match entry.tag(ENDIAN) {
                elf::DT_NEEDED => dynamic.needed.push(text()?),
                elf::DT_SONAME => dynamic.soname = Some(text()?),
                elf::DT_RPATH => dynamic.rpath = paths()?,
                elf::DT_RUNPATH => dynamic.runpath = paths()?,
                elf::DT_FLAGS => dynamic.flags = value,
                elf::DT_FLAGS_1 => dynamic.flags_1 = value,
                _ => {}
            }
        }
        Ok(dynamic)
    }
}

/// A file's dynamic table, with the strings that it refers to.
pub(super) struct Table<'d, R> {
    data: R,
    pub(super) segments: &'d [elf::ProgramHeader64<LittleEndian>],
    entries: &'d [elf::Dyn64<LittleEndian>],
    /// The file offset of the table.
    pub(super) offset: u64,
    /// The address of the string table.
    pub(super) strings: u64,
}

impl<'d, R: ReadRef<'d>> Table<'d, R> {
    /// Finds the table. Returns `None` for an object that is linked statically.
    pub(super) fn find(data: R) -> Result<Option<Self>, String> {
        let header = Elf::parse(data).map_err(|error| error.to_string())?;
        let segments = header.program_headers(ENDIAN, data).map_err(|error| error.to_string())?;
        let Some(segment) = segments.iter().find(|it| it.p_type(ENDIAN) == elf::PT_DYNAMIC) else {
            return Ok(None);
        };
        let Ok(Some(entries)) = segment.dynamic(ENDIAN, data) else {
            return Err("its dynamic table is outside of the file".to_owned());
        };
        let mut table = Self { data, segments, entries, offset: segment.p_offset(ENDIAN), strings: 0 };
        table.strings = table.value(elf::DT_STRTAB).unwrap_or(0);
        Ok(Some(table))
    }

    /// The entries before the terminating `DT_NULL`.
    pub(super) fn entries(&self) -> impl Iterator<Item = &'d elf::Dyn64<LittleEndian>> {
        self.entries.iter().take_while(|entry| entry.tag(ENDIAN) != elf::DT_NULL)
    }

    /// The value of the first entry with this tag.
    pub(super) fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.entries().find(|entry| entry.tag(ENDIAN) == tag).map(|entry| entry.val(ENDIAN))
    }

    /// The string at this offset of the string table, without the terminating NUL.
    pub(super) fn string(&self, at: u64) -> Result<&'d [u8], String> {
        let outside = || "one of its names is outside of the file".to_owned();
        let range = self.file_range(self.strings.wrapping_add(at)).ok_or_else(outside)?;
        self.data.read_bytes_at_until(range, 0).map_err(|()| outside())
    }

    /// The file offset of the byte at this address, and the file offset at which its segment ends.
    pub(super) fn file_range(&self, address: u64) -> Option<std::ops::Range<u64>> {
        self.segments.iter().filter(|it| it.p_type(ENDIAN) == elf::PT_LOAD).find_map(|segment| {
            let into = address.checked_sub(segment.p_vaddr(ENDIAN))?;
            let (offset, bytes) = segment.file_range(ENDIAN);
            (into < bytes).then(|| offset.saturating_add(into)..offset.saturating_add(bytes))
        })
    }
}
