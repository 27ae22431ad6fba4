//! The dependencies of the fixture `misbehave`, which are also those of the template of [`Source`](crate::Source). They
//! are compiled once and copied into the build folder of each test's host and of each variant of the fixture, because
//! compiling them takes a minute, and a host shares no build folder between workspaces.

use crate::{fixtures_dir, own_process::once_in_run, workspace};
use replug::{BuildDir, manifest};
use replug_builder::build::Builder;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The file that lists the inputs of the builds in a target folder, with absolute paths.
const RECORD: &str = "replug-inputs.json";

const FIXTURE: &str = "misbehave";

/// Copies the compiled dependencies into the target folder of a workspace, unless the folder exists.
///
/// # Panics
///
/// If the fixture does not build, or its target folder cannot be copied.
pub fn put(target: &Path) {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    let compiled = COMPILED.get_or_init(|| once_in_run("compiled", compile).into());
    if target.exists() {
        return;
    }
    link_folder(compiled, target).expect("the target folder");
    let record = fs::read_to_string(compiled.join(RECORD)).expect("the list of the fixture's inputs");
    let [from, to] = [compiled, target].map(|path| path.to_str().expect("a path in UTF-8"));
    fs::write(target.join(RECORD), record.replace(from, to)).expect("the record");
}

/// Builds the fixture, and returns its target folder.
fn compile() -> String {
    let manifest = manifest::read(&workspace().join("tests/fixtures").join(FIXTURE)).expect("the manifest");
    let build_dir = BuildDir::from(fixtures_dir());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(Builder::new(build_dir.clone()).build(&manifest)).expect("the fixture builds");
    build_dir.target_dir(&manifest.root).into_os_string().into_string().expect("a path in UTF-8")
}

/// Copies a folder, except for the fixture itself, with hard links to its files. cargo and rustc replace these files and
/// never write to them, with one exception.
fn link_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        match entry.file_type()?.is_dir() {
            // The fixture is no dependency, and cargo changes what it stores about a package in place.
            _ if name.to_string_lossy().contains(FIXTURE) => {}
            true if name == "incremental" || name == "replay" => {}
            true => link_folder(&entry.path(), &target)?,
            // Each target folder has its own locks and its own list of inputs.
            false if name == RECORD || name.to_string_lossy().ends_with("lock") => {}
            // Another test may be building the fixture, and then replaces the list through a temporary file.
            false if name.to_string_lossy().starts_with(".tmp") => {}
            // Cargo changes this file in place.
            false if name == ".rustc_info.json" => drop(fs::copy(entry.path(), &target)?),
            false => link_file(&entry.path(), &target)?,
        }
    }
    Ok(())
}

fn link_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, to)?;
            // Cargo compares the modification times.
            fs::File::options().write(true).open(to)?.set_modified(fs::metadata(from)?.modified()?)
        }
        linked => linked,
    }
}
