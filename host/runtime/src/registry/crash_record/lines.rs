//! Finds the source line of an instruction of a library, with the library's line tables.

use addr2line::{
    Context, Frame,
    gimli::{Dwarf, EndianSlice, Error, LittleEndian},
};
use object::{
    Object, ObjectSection, ObjectSegment,
    read::{CompressionFormat, elf::ElfFile},
};
use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// The file format of the plugins' libraries.
type Elf = object::elf::FileHeader64<object::LittleEndian>;

type Bytes<'d> = EndianSlice<'d, LittleEndian>;

/// The first source line of these instructions that is in a file below `root`, in the form `src/lib.rs:12`. If there is
/// none, the first line that is not in std. An instruction of inlined functions has a line in each of these functions;
/// the innermost function comes first.
///
/// An instruction is an offset in bytes from the beginning of the library in memory.
pub(super) fn line(library: &[u8], instructions: &[u64], root: &Path) -> Option<String> {
    let file = ElfFile::<Elf>::parse(library).ok()?;
    let begin = file.segments().map(|segment| segment.address()).min()?;
    let context = Context::from_dwarf(tables(&file)?).ok()?;
    let in_memory = |address: &u64| {
        file.segments().any(|it| address.checked_sub(it.address()).is_some_and(|into| into < it.size()))
    };
    let addresses = instructions.iter().filter_map(|at| begin.checked_add(*at)).filter(in_memory);
    let places: Vec<_> = addresses.flat_map(|address| places(&context, address)).collect();
    let own = places.iter().find_map(|(file, line)| Some((below(root, file)?, line)));
    let foreign = || places.iter().find(|(file, _)| !is_std(file)).map(|(file, line)| (file.clone(), line));
    own.or_else(foreign).map(|(file, line)| format!("{}:{line}", file.display()))
}

/// The debug information; `None` if it is compressed.
fn tables<'d>(file: &ElfFile<'d, Elf>) -> Option<Dwarf<Bytes<'d>>> {
    Dwarf::load(|id| {
        let Some(section) = file.section_by_name(id.name()) else { return Ok(Bytes::default()) };
        let plain = section.compressed_file_range().is_ok_and(|it| it.format == CompressionFormat::None);
        let data = section.data().ok().filter(|_| plain);
        data.map(|data| Bytes::new(data, LittleEndian)).ok_or(Error::Io)
    })
    .ok()
}

/// The file and the line in each function to which the instruction belongs, the innermost function first.
fn places(context: &Context<Bytes<'_>>, address: u64) -> Vec<(PathBuf, u32)> {
    let mut places = Vec::new();
    let Ok(mut frames) = context.find_frames(address).skip_all_loads() else { return places };
    while let Ok(Some(Frame { location, .. })) = frames.next() {
        let place =
            location.and_then(|it| Some((PathBuf::from(it.file?), it.line.filter(|line| *line > 0)?)));
        places.extend(place);
    }
    places
}

/// The path of a file relative to a folder that contains it; `None` if the folder does not contain it. Resolves the
/// links of the file if necessary.
fn below(root: &Path, file: &Path) -> Option<PathBuf> {
    let inside = |file: &Path| {
        let rest = file.strip_prefix(root).ok()?;
        let leaves = rest.components().any(|part| part == Component::ParentDir);
        (!leaves).then(|| rest.to_owned())
    };
    inside(file).or_else(|| inside(&fs::canonicalize(file).ok()?))
}

fn is_std(file: &Path) -> bool {
    // The paths in the prebuilt std, and those of std's sources in an installed toolchain.
    file.starts_with("/rustc") || file.to_string_lossy().contains("/lib/rustlib/src/rust/")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use object::ObjectSymbol;
    use std::process::Command;
    use tempfile::TempDir;

    const LIB: &str = "#[path = \"../elsewhere/other.rs\"]
mod other;
#[unsafe(no_mangle)]
pub extern \"C\" fn own(at: *mut u8) {
    other::inlined(at);
}
#[unsafe(no_mangle)]
pub extern \"C\" fn of_std() -> usize {
    core::ptr::write_volatile::<u8> as *const () as usize
}
";

    const OTHER: &str = "#[inline(always)]
pub fn inlined(at: *mut u8) {
    unsafe { *at = 1 };
}
#[unsafe(no_mangle)]
pub extern \"C\" fn foreign(at: *mut u8) {
    inlined(at);
}
";

    /// A library that is built from files in two folders, `sources` and `elsewhere`.
    pub(in super::super) struct Sample {
        folder: TempDir,
        pub(in super::super) library: Vec<u8>,
    }

    impl Sample {
        /// Builds the library with these additional arguments for rustc. The library has line tables, unless the
        /// arguments remove them.
        pub(in super::super) fn built(args: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (name, content) in [("sources/lib.rs", LIB), ("elsewhere/other.rs", OTHER)] {
                let file = folder.path().join(name);
                fs::create_dir(file.parent().unwrap()).unwrap();
                fs::write(file, content).unwrap();
            }
            let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            rustc.args(["--edition", "2024", "--crate-type", "cdylib", "-Cdebuginfo=line-tables-only"]);
            rustc.args(args).args(["-o", "it.so", "sources/lib.rs"]).current_dir(folder.path());
            assert!(rustc.status().unwrap().success());
            let library = fs::read(folder.path().join("it.so")).unwrap();
            Self { folder, library }
        }

        /// The file of the library.
        pub(in super::super) fn file(&self) -> PathBuf {
            self.folder.path().join("it.so")
        }

        /// The folder of the library's own sources.
        pub(in super::super) fn sources(&self) -> PathBuf {
            self.folder.path().canonicalize().unwrap().join("sources")
        }

        /// The range of instructions of the function whose name contains `name`, as offsets from the beginning of the
        /// library in memory.
        pub(in super::super) fn function(&self, name: &str) -> std::ops::Range<u64> {
            let file = ElfFile::<Elf>::parse(&*self.library).unwrap();
            let begin = file.segments().map(|segment| segment.address()).min().unwrap();
            let mut functions = file.symbols().filter(|it| it.size() > 0);
            let function = functions.find(|it| it.name().unwrap().contains(name)).expect(name);
            function.address() - begin..function.address() - begin + function.size()
        }

        fn line(&self, instructions: &[u64]) -> Option<String> {
            line(&self.library, instructions, &self.sources())
        }
    }

    #[test]
    fn the_authors_line_is_named_even_if_a_foreign_function_is_inlined() {
        let sample = Sample::built(&[]);
        let own: Vec<_> = sample.function("own").collect();
        for at in &own {
            let line = sample.line(&[*at]).expect("the instruction has a line");
            assert!(["lib.rs:4", "lib.rs:5", "lib.rs:6"].contains(&&*line), "{line}");
        }
        let elsewhere = sample.sources().with_file_name("elsewhere");
        assert_eq!(
            line(&sample.library, &own, &elsewhere).as_deref(),
            Some("other.rs:3"),
            "with a different root, a function below that root is named"
        );
    }

    #[test]
    fn a_foreign_line_is_named_if_there_is_no_line_of_the_author() {
        let sample = Sample::built(&[]);
        let (own, foreign) = (sample.function("own").start, sample.function("foreign").start);
        let line = sample.line(&[foreign]).expect("the instruction has a line");
        assert!(line.ends_with("elsewhere/other.rs:6"), "{line}");
        assert_eq!(sample.line(&[foreign, own]).as_deref(), Some("lib.rs:4"));
    }

    #[test]
    fn a_line_of_std_is_not_named() {
        let sample = Sample::built(&[]);
        let (own, std) = (sample.function("own").start, sample.function("write_volatile"));
        for at in std.clone() {
            assert_eq!(sample.line(&[at]), None);
        }
        assert_eq!(sample.line(&[std.start, own]).as_deref(), Some("lib.rs:4"));
        assert_eq!(sample.line(&[u64::MAX, 1 << 40, 0]), None, "these addresses contain no instructions");
    }

    #[test]
    fn a_library_whose_tables_cannot_be_read_has_no_lines() {
        for args in [&["-Cstrip=debuginfo"][..], &["-Clink-arg=-Wl,--compress-debug-sections=zlib"]] {
            let sample = Sample::built(args);
            assert_eq!(sample.line(&[sample.function("own").start]), None, "{args:?}");
        }
        let Sample { library, .. } = Sample::built(&[]);
        for length in (0..library.len()).step_by(library.len() / 50) {
            // Some lines are still found. The test checks only that no reader panics.
            line(&library[..length], &[0, 0x1000, u64::MAX], Path::new("/"));
        }
    }
}
