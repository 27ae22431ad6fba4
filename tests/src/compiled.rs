//! The dependencies of the template of [`Source`]. They are compiled once and copied into the build folder of each
//! test's host, because compiling them takes a minute, and a host shares no build folder between workspaces.

use crate::{Source, fixtures_dir, own_process::once_in_run};
use replug::{BuildDir, manifest};
use replug_builder::build::Builder;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The file that lists the inputs of the builds in a target folder, with absolute paths.
const RECORD: &str = "replug-inputs.json";

/// Copies the compiled dependencies into the target folder of a workspace, unless the folder exists.
///
/// # Panics
///
/// If the template does not build, or its target folder cannot be copied.
pub fn put(target: &Path) {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    let compiled = COMPILED.get_or_init(|| once_in_run("template", compile).into());
    if target.exists() {
        return;
    }
    link_folder(compiled, target).expect("the target folder");
    let record = fs::read_to_string(compiled.join(RECORD)).expect("the list of the template's inputs");
    let [from, to] = [compiled, target].map(|path| path.to_str().expect("a path in UTF-8"));
    fs::write(target.join(RECORD), record.replace(from, to)).expect("the record");
}

/// Builds the template in a workspace of its own, and returns its target folder.
fn compile() -> String {
    let root = fixtures_dir().join("template");
    let mut files = Source::new(0).files("template");
    files.push(("plugin.toml".into(), "id = \"dev.example.template\"\n".into()));
    for (path, content) in files {
        let path = root.join(path);
        if !fs::read_to_string(&path).is_ok_and(|found| found == content) {
            fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
            fs::write(&path, content).expect("the file");
        }
    }
    let build_dir = BuildDir::from(fixtures_dir().join("templates"));
    let manifest = manifest::read(&root).expect("the template's manifest");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(Builder::new(build_dir.clone()).build(&manifest)).expect("the template builds");
    build_dir.target_dir(&root).into_os_string().into_string().expect("a path in UTF-8")
}

/// Copies a folder with hard links to its files. cargo and rustc replace these files and never write to them, with one
/// exception.
fn link_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        match entry.file_type()?.is_dir() {
            true if name == "incremental" || name == "replay" => {}
            true => link_folder(&entry.path(), &target)?,
            // Locks and records belong to one folder only.
            false if name == RECORD || name.to_string_lossy().ends_with("lock") => {}
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
