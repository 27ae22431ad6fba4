//! Artifacts of the fixture `misbehave`: built once, then patched for each version that a test needs. The patch writes the
//! *directives*, which say how the version behaves, into the artifact.

use crate::{compiled, fixtures_dir, own_process::once_in_run, workspace};
use object::{
    LittleEndian, Object, ObjectSymbol,
    read::elf::{ElfFile64, ProgramHeader},
};
use replug::{BuildDir, manifest};
use replug_builder::build::Builder;
use std::{env, fs, process::Command, sync::OnceLock};

/// The bytes of the artifact directly before the directives.
const MARKER: &[u8] = b"misbehave, these are your directives:";

/// The size of the space for the marker and the directives.
const ROOM_BYTES: usize = 512;

/// The fixture with state, patched with these directives. `tests/fixtures/misbehave/src/lib.rs` lists the directives.
pub fn misbehave(directives: &str) -> Vec<u8> {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    patched(BUILT.get_or_init(|| build(&[])), directives)
}

/// The fixture without state, patched with these directives.
pub fn stateless(directives: &str) -> Vec<u8> {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    patched(BUILT.get_or_init(|| build(&["stateless"])), directives)
}

/// An example plugin that cargo builds with the rest of the workspace.
///
/// # Panics
///
/// If it does not build.
pub fn example(package: &str) -> Vec<u8> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With the features that the command enables, cargo uses the dependencies that it has compiled for the command.
    let cargo = cargo.args(["build", "--quiet", "--lib", "--package", package, "--package", "replug-cli"]);
    let cargo = cargo.current_dir(workspace());
    assert!(cargo.status().is_ok_and(|status| status.success()), "{package} builds");
    let tests = env::current_exe().expect("this program has a path");
    let built = tests.ancestors().nth(2).expect("it is in `deps` of the target folder");
    fs::read(built.join(format!("lib{}.so", package.replace('-', "_")))).expect("it exists")
}

/// The fixture, built with `panic = "abort"` as a plugin author might build it.
///
/// # Panics
///
/// If it does not build.
pub fn aborting() -> Vec<u8> {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let target = fixtures_dir().join("aborting");
        once_in_run("aborting", || {
            compiled::put(&target);
            let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["rustc", "--quiet", "--manifest-path"]);
            cargo.arg(workspace().join("tests/fixtures/misbehave/Cargo.toml"));
            cargo.arg("--target-dir").arg(&target);
            cargo.args(["--", "-C", "panic=abort", "--cap-lints", "allow"]);
            assert!(cargo.status().is_ok_and(|status| status.success()), "the fixture builds");
            String::new()
        });
        fs::read(target.join("debug/libmisbehave.so")).expect("the fixture can be read")
    });
    built.clone()
}

/// Builds the fixture as a host would build it.
fn build(features: &[&str]) -> Vec<u8> {
    let artifact = once_in_run(&format!("misbehave{}", features.concat()), || {
        let mut manifest =
            manifest::read(&workspace().join("tests/fixtures/misbehave")).expect("the fixture's manifest");
        manifest.build.features = features.iter().map(|it| (*it).to_owned()).collect();
        let build_dir = BuildDir::from(fixtures_dir().join(features.concat()));
        // Without features, this is the folder from which `put` would copy. It exists already, so `put` does nothing.
        compiled::put(&build_dir.target_dir(&manifest.root));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let built = runtime.block_on(Builder::new(build_dir).build(&manifest));
        let artifact = built.expect("the fixture builds").artifact;
        artifact.into_os_string().into_string().expect("a path in UTF-8")
    });
    fs::read(artifact).expect("the fixture can be read")
}

fn patched(artifact: &[u8], directives: &str) -> Vec<u8> {
    let mut artifact = artifact.to_vec();
    let at = find(&artifact, MARKER);
    let room = &mut artifact[at..at + ROOM_BYTES][MARKER.len()..];
    assert!(directives.len() <= room.len(), "the space is too small for {directives}");
    room.fill(b' ');
    room[..directives.len()].copy_from_slice(directives.as_bytes());
    artifact
}

/// The position of the bytes, which must occur exactly once.
fn find(artifact: &[u8], wanted: &[u8]) -> usize {
    let mut found = artifact.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted);
    let at = found.next().expect("the bytes are in the artifact").0;
    assert!(found.next().is_none(), "{} occurs twice", String::from_utf8_lossy(wanted));
    at
}

/// The artifact with all occurrences of `from` replaced by `to`, which must have the same length.
pub fn replaced(mut artifact: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<_> = (0..artifact.len().saturating_sub(from.len()))
        .filter(|&at| artifact[at..].starts_with(from))
        .collect();
    assert!(!places.is_empty(), "{} is not in the artifact", String::from_utf8_lossy(from));
    for at in places {
        artifact[at..at + to.len()].copy_from_slice(to);
    }
    artifact
}

/// The artifact with the flag that the linker's option `-z nodelete` sets.
pub fn nodelete(mut artifact: Vec<u8>) -> Vec<u8> {
    let file = ElfFile64::<LittleEndian>::parse(artifact.as_slice()).expect("an ELF file");
    let dynamic =
        file.elf_program_headers().iter().find(|it| it.p_type(LittleEndian) == object::elf::PT_DYNAMIC);
    let (from, size) = dynamic.expect("it is dynamic").file_range(LittleEndian);
    let (from, size) = (usize::try_from(from).expect("it fits"), usize::try_from(size).expect("it fits"));
    let (entries, _) = artifact[from..from + size].as_chunks_mut::<16>();
    // The tag DT_FLAGS_1 and its flag DF_1_NODELETE.
    let (tag, flag) = (0x6fff_fffb_u64.to_le_bytes(), 8);
    entries.iter_mut().find(|entry| entry[..8] == tag).expect("it has flags")[8] |= flag;
    artifact
}

/// The offset of a static in the artifact's file, by the static's symbol name.
pub fn offset_of(artifact: &[u8], symbol: &str) -> usize {
    let file = ElfFile64::<LittleEndian>::parse(artifact).expect("an ELF file");
    let found = file.dynamic_symbols().find(|it| it.name() == Ok(symbol)).expect("the symbol is exported");
    let address = found.address();
    let segments = file.elf_program_headers().iter().map(|segment| {
        let (from, offset) = (segment.p_vaddr(LittleEndian), segment.p_offset(LittleEndian));
        (segment.p_type(LittleEndian), from, from + segment.p_filesz(LittleEndian), offset)
    });
    let mut segments = segments.filter(|it| it.0 == object::elf::PT_LOAD);
    let (_, from, _, offset) =
        segments.find(|it| (it.1..it.2).contains(&address)).expect("a segment contains the symbol");
    usize::try_from(address - from + offset).expect("files fit into memory")
}
