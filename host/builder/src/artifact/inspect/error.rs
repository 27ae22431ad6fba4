//! The errors for files that this host cannot open. Each states what the file is and what to do.

use object::{LittleEndian, elf, read::elf::ElfFile64, read::elf::FileHeader as _};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a file cannot be a plugin on this machine.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why the file cannot be read.
        source: io::Error,
    },
    /// The file is not an ELF file.
    #[error("{} is not an ELF file: it {looks_like}; build the plugin with `crate-type = [\"cdylib\"]`", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
        /// The predicate for the message, such as "is empty" or "looks like text".
        looks_like: &'static str,
    },
    /// The file is truncated.
    #[error("{} is truncated: it has {present} bytes, but its headers describe {promised}; build again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The size of the file in bytes.
        present: u64,
        /// The minimum size of the file in bytes, according to its headers.
        promised: u64,
    },
    /// The file is for another machine.
    #[error("{} is for {found}, and this host runs on {wanted}: build it with `--target` for this machine", path.display())]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// The machine that the file is for.
        found: String,
        /// The machine of this host.
        wanted: String,
    },
    /// The file is for this machine, but cannot be opened as a library.
    #[error("{} is {found}, not a shared object: build it as `crate-type = [\"cdylib\"]`", path.display())]
    NotShared {
        /// The file.
        path: PathBuf,
        /// What the file is instead.
        found: &'static str,
    },
    /// The file's tables are inconsistent.
    #[error("{} is damaged: {reason}; build again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        reason: String,
    },
}

replug_model::readable::readable!(InspectError);

impl InspectError {
    /// The same error for another file with the same content.
    pub(in crate::artifact) fn about(mut self, file: &Path) -> Self {
        match &mut self {
            Self::Unreadable { .. } => {}
            Self::NotElf { path, .. }
            | Self::Truncated { path, .. }
            | Self::OtherMachine { path, .. }
            | Self::NotShared { path, .. }
            | Self::Malformed { path, .. } => file.clone_into(path),
        }
        self
    }

    pub(super) fn malformed(path: &Path, reason: impl ToString) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Checks the header fields that have the same place in every ELF file: magic, class, byte order and machine. Returns
/// the name of the machine, which equals the host's.
pub(super) fn check_start(path: &Path, bytes: &[u8]) -> Result<String, InspectError> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(InspectError::NotElf { path: path.to_owned(), looks_like: looks_like(bytes) });
    }
    let header_bytes = size_of::<elf::FileHeader64<LittleEndian>>();
    if bytes.len() < header_bytes {
        return Err(InspectError::Truncated {
            path: path.to_owned(),
            present: bytes.len() as u64,
            promised: header_bytes as u64,
        });
    }
    let (class, order, machine) = (bytes[4], bytes[5], [bytes[18], bytes[19]]);
    let (machine, order) = match order {
        1 => (u16::from_le_bytes(machine), ""),
        2 => (u16::from_be_bytes(machine), ", big-endian"),
        other => return Err(InspectError::malformed(path, format!("it has an unknown byte order {other}"))),
    };
    let bits = match class {
        1 => ", 32-bit",
        2 => "",
        other => return Err(InspectError::malformed(path, format!("it has an unknown ELF class {other}"))),
    };
    let found = format!("{}{bits}{order}", machine_name(machine));
    let wanted = host_machine();
    if found != wanted {
        return Err(InspectError::OtherMachine { path: path.to_owned(), found, wanted });
    }
    Ok(found)
}

/// Rejects every kind of ELF file that `dlopen` rejects.
pub(super) fn check_kind(
    path: &Path,
    file: &ElfFile64<'_, LittleEndian>,
    flags_1: u64,
) -> Result<(), InspectError> {
    let found = match file.elf_header().e_type(LittleEndian) {
        // Only the flag DF_1_PIE distinguishes a position-independent executable from a shared object.
        elf::ET_DYN if flags_1 & elf::DF_1_PIE.0 != 0 => "an executable",
        elf::ET_DYN => return Ok(()),
        elf::ET_EXEC => "an executable",
        elf::ET_REL => "an object file that was not linked",
        elf::ET_CORE => "a core dump",
        _ => "an ELF file of an unknown kind",
    };
    Err(InspectError::NotShared { path: path.to_owned(), found })
}

fn host_machine() -> String {
    match std::env::consts::ARCH {
        "x86_64" => machine_name(62),
        "aarch64" => machine_name(183),
        "riscv64" => machine_name(243),
        "loongarch64" => machine_name(258),
        other => other.to_owned(),
    }
}

fn machine_name(machine: u16) -> String {
    let name = match machine {
        3 => "x86",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "PowerPC64",
        22 => "s390x",
        40 => "ARM",
        62 => "x86-64",
        183 => "AArch64",
        243 => "RISC-V",
        258 => "LoongArch",
        other => return format!("machine {other}"),
    };
    name.to_owned()
}

fn looks_like(bytes: &[u8]) -> &'static str {
    const MACH_O: [[u8; 4]; 5] = [
        [0xfe, 0xed, 0xfa, 0xce],
        [0xfe, 0xed, 0xfa, 0xcf],
        [0xce, 0xfa, 0xed, 0xfe],
        [0xcf, 0xfa, 0xed, 0xfe],
        [0xca, 0xfe, 0xba, 0xbe],
    ];
    let start = &bytes[..bytes.len().min(512)];
    let is_text = || start.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..));
    if bytes.is_empty() {
        "is empty"
    } else if MACH_O.iter().any(|magic| bytes.starts_with(magic)) {
        "looks like a Mach-O file, which macOS uses"
    } else if bytes.starts_with(b"MZ") {
        "looks like a PE file, which Windows uses"
    } else if bytes.starts_with(b"!<arch>\n") {
        "looks like an archive (`.a` or `.rlib`)"
    } else if bytes.starts_with(b"\0asm") {
        "looks like WebAssembly"
    } else if bytes.starts_with(b"#!") {
        "looks like a script"
    } else if is_text() {
        "looks like text"
    } else {
        "has an unknown format"
    }
}
