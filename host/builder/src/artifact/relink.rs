//! Changes the names in a copy of a library: its own name, and the names by which it refers to the libraries that it
//! needs.
//!
//! The dynamic loader treats two libraries with the same name as the same library, and it compares names before it
//! opens any file. So each private copy needs a name of its own, and every library that needs the copy must use that
//! name. A new segment after all others holds the new names. It also holds the table of segments, which has one entry
//! more than before. The existing content keeps its offsets in the file.

use super::elf::Table;
use object::{
    LittleEndian, elf,
    read::elf::{Dyn as _, ProgramHeader as _},
};
use std::collections::BTreeMap;

const ENDIAN: LittleEndian = LittleEndian;
const HEADER_BYTES: usize = size_of::<elf::ProgramHeader64<LittleEndian>>();
/// Where the ELF header contains the file offset of the table of segments, and the number of entries in this table.
const E_PHOFF: usize = 32;
const E_PHNUM: usize = 56;

/// The new names for a copy.
pub(super) struct Names<'a> {
    /// The new names of the libraries that the copy needs, by their current names.
    pub(super) needed: &'a BTreeMap<String, String>,
    /// The new name of the copy itself. `None` keeps its current name.
    pub(super) own: Option<&'a str>,
}

/// The replacement of one name.
struct Edit {
    /// The file offset of the field that refers to the name.
    at: usize,
    field: Field,
    name: String,
}

/// The size of the field that refers to a name: 4 or 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Half,
    Whole,
}

impl Names<'_> {
    /// Writes the new names into the shared object `file`. After an error, `file` may be partly changed.
    pub(super) fn put_into(&self, file: &mut Vec<u8>) -> Result<(), String> {
        let Some(table) = Table::find(file.as_slice())? else { return Ok(()) };
        let edits = self.edits(&table, file)?;
        if edits.is_empty() {
            return Ok(());
        }
        let (segments, strings) = (table.segments, table.strings);
        let loaded = segments.iter().filter(|it| it.p_type(ENDIAN) == elf::PT_LOAD);
        let end = loaded.map(|it| it.p_vaddr(ENDIAN).saturating_add(it.p_memsz(ENDIAN))).max().unwrap_or(0);
        let page = rustix::param::page_size();
        let offset = file.len().next_multiple_of(page);
        let address = end
            .checked_next_multiple_of(page as u64)
            .ok_or("its segments leave no address free for the new names")?;

        let mut text = Vec::new();
        let table_bytes = (segments.len() + 1) * HEADER_BYTES;
        let mut places = Vec::new();
        for edit in edits {
            let place = (address + (table_bytes + text.len()) as u64).wrapping_sub(strings);
            text.extend_from_slice(edit.name.as_bytes());
            text.push(0);
            places.push((edit.at, edit.field, place));
        }
        let own = Segment { offset, address, bytes: table_bytes + text.len(), page };
        let headers = own.table(segments)?;

        for (at, field, place) in places {
            match field {
                Field::Whole => set(file, at, &place.to_le_bytes())?,
                Field::Half => {
                    let place = u32::try_from(place)
                        .map_err(|_| "its new names are more than 4 GiB after its string table")?;
                    set(file, at, &place.to_le_bytes())?;
                }
            }
        }
        let count =
            u16::try_from(headers.len() / HEADER_BYTES).map_err(|_| "it has more than 65535 segments")?;
        set(file, E_PHOFF, &(offset as u64).to_le_bytes())?;
        set(file, E_PHNUM, &count.to_le_bytes())?;
        file.resize(offset, 0);
        file.extend_from_slice(&headers);
        file.extend_from_slice(&text);
        Ok(())
    }

    /// The replacements that this file needs.
    fn edits(&self, table: &Table<'_, &[u8]>, file: &[u8]) -> Result<Vec<Edit>, String> {
        let mut edits = Vec::new();
        let entry_bytes = size_of::<elf::Dyn64<LittleEndian>>();
        for (number, entry) in table.entries().enumerate() {
            let name = match entry.tag(ENDIAN) {
                elf::DT_NEEDED => self.renamed(table.string(entry.val(ENDIAN))?),
                elf::DT_SONAME => self.own,
                _ => None,
            };
            let at = table.offset as usize + number * entry_bytes + 8;
            edits.extend(name.map(|name| Edit { at, field: Field::Whole, name: name.to_owned() }));
        }
        // The required symbol versions of a library are listed under its name.
        let wants = table.value(elf::DT_VERNEED).zip(table.value(elf::DT_VERNEEDNUM));
        if let Some((address, count)) = wants {
            let range = table.file_range(address).ok_or("the file does not contain its version table")?;
            let mut at = range.start as usize;
            for _ in 0..count {
                let field = |place: usize| {
                    let bytes = file.get(at.checked_add(place)?..)?.first_chunk()?;
                    Some(u32::from_le_bytes(*bytes))
                };
                let (Some(name), Some(next)) = (field(4), field(12)) else {
                    return Err("the file does not contain its version table".to_owned());
                };
                let name = self.renamed(table.string(name.into())?);
                edits.extend(name.map(|name| Edit { at: at + 4, field: Field::Half, name: name.to_owned() }));
                if next == 0 {
                    break;
                }
                at = at.saturating_add(next as usize);
            }
        }
        Ok(edits)
    }

    fn renamed(&self, name: &[u8]) -> Option<&str> {
        self.needed.get(std::str::from_utf8(name).ok()?).map(String::as_str)
    }
}

/// The new segment that holds the table of segments and the new names.
struct Segment {
    offset: usize,
    address: u64,
    bytes: usize,
    page: usize,
}

impl Segment {
    /// The new table of segments. The entry of the new segment follows the entry of the last loaded segment, because
    /// the loader requires the entries of loaded segments in the order of their addresses.
    fn table(&self, segments: &[elf::ProgramHeader64<LittleEndian>]) -> Result<Vec<u8>, String> {
        let last = segments.iter().rposition(|it| it.p_type(ENDIAN) == elf::PT_LOAD);
        let last = last.ok_or("it has no loadable segment")?;
        let mut table = Vec::with_capacity((segments.len() + 1) * HEADER_BYTES);
        for (number, segment) in segments.iter().enumerate() {
            let mut header = *segment;
            if segment.p_type(ENDIAN) == elf::PT_PHDR {
                let bytes = ((segments.len() + 1) * HEADER_BYTES) as u64;
                header.p_offset.set(ENDIAN, self.offset as u64);
                header.p_vaddr.set(ENDIAN, self.address);
                header.p_paddr.set(ENDIAN, self.address);
                header.p_filesz.set(ENDIAN, bytes);
                header.p_memsz.set(ENDIAN, bytes);
            }
            table.extend_from_slice(object::bytes_of(&header));
            if number == last {
                table.extend_from_slice(object::bytes_of(&self.header(segment)));
            }
        }
        Ok(table)
    }

    fn header(&self, like: &elf::ProgramHeader64<LittleEndian>) -> elf::ProgramHeader64<LittleEndian> {
        let mut header = *like;
        header.p_type.set(ENDIAN, elf::PT_LOAD);
        header.p_flags.set(ENDIAN, elf::PF_R);
        header.p_offset.set(ENDIAN, self.offset as u64);
        header.p_vaddr.set(ENDIAN, self.address);
        header.p_paddr.set(ENDIAN, self.address);
        header.p_filesz.set(ENDIAN, self.bytes as u64);
        header.p_memsz.set(ENDIAN, self.bytes as u64);
        header.p_align.set(ENDIAN, self.page as u64);
        header
    }
}

fn set(file: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), String> {
    let place = file.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len()));
    place.ok_or("the file does not contain its tables")?.copy_from_slice(bytes);
    Ok(())
}
