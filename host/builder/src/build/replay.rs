//! Builds an edit without cargo. A wrapper records how cargo calls `rustc` for the plugin's package. As long as only
//! the sources of that package change, this module repeats the recorded call. This saves the time that cargo needs to
//! determine what has changed. A [`Template`] is a recorded call with the conditions under which it may be repeated.
//!
//! **Never allowed:** an artifact that cargo would not have built from the same files. If anything but these sources
//! may have changed, or if `rustc` reports an error outside of the author's source, the template is dropped, and cargo
//! builds.

use super::{
    BuildError,
    cargo::{self, Output},
    content::{InputStamp, stamp},
    facts::{PackageFacts, stamp_before},
    process,
};
use crate::watch::Inputs;
use replug_config::manifest::{BuildSpec, Manifest};
use replug_model::event::DiagnosticLevel;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime},
};

/// The wrapper, a shell script. It records how cargo calls rustc for the requested package, and then runs rustc.
const WRAPPER: &str = r#"#!/bin/sh
if [ "$CARGO_PRIMARY_PACKAGE" = 1 ] && [ -n "$REPLUG_NOTE" ]; then
    { printf '%s\0' "$PWD" "$@" > "$REPLUG_NOTE.args" && env -0 > "$REPLUG_NOTE.env"; } || rm -f "$REPLUG_NOTE.args"
fi
exec "$@"
"#;

/// Variables that rustc must not get: they are meant for the wrapper, or belong to the cargo that called the wrapper.
const NOT_FOR_RUSTC: [&str; 5] =
    ["RUSTC_WORKSPACE_WRAPPER", "REPLUG_NOTE", "CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"];

/// The note of cargo's call of rustc: two files, which the wrapper writes during a build by cargo.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
}

impl Note {
    /// Adds the wrapper to `command`, which runs cargo, so that the wrapper records how cargo calls rustc. Returns
    /// `None` if another wrapper of rustc is configured, or if the wrapper cannot be written.
    pub(super) fn request(command: &mut Command, facts: &PackageFacts) -> Option<Self> {
        let wrapped = ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"]
            .iter()
            .any(|name| env::var_os(name).is_some());
        if wrapped || facts.settings.mention("wrapper") {
            return None;
        }
        let dir = facts.target_dir.join("replay");
        let wrapper = dir.join("rustc-note.sh");
        let path = dir.join(&facts.package);
        write_wrapper(&dir, &wrapper).ok()?;
        command.env("RUSTC_WORKSPACE_WRAPPER", wrapper).env("REPLUG_NOTE", &path);
        Some(Self { path })
    }

    fn read(&self, extension: &str) -> Option<Vec<OsString>> {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{extension}"));
        let bytes = fs::read(path).ok()?;
        let parts = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0);
        Some(parts.map(|part| OsString::from_vec(part.to_vec())).collect())
    }
}

/// Writes the wrapper, unless the file already has this content: cargo would rebuild all crates for a newer wrapper.
fn write_wrapper(dir: &Path, wrapper: &Path) -> io::Result<()> {
    if fs::read(wrapper).is_ok_and(|found| found == WRAPPER.as_bytes()) {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    io::Write::write_all(&mut file, WRAPPER.as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
    file.into_temp_path().persist(wrapper)?;
    wait_until_executable(wrapper, || thread::sleep(Duration::from_millis(1)));
    Ok(())
}

/// Waits until the file can be executed. Another thread may have started a process while the file was open for writing.
/// Until that process executes its program, it has the file open, too, and the kernel does not execute the file.
/// `pause` is called between two attempts.
fn wait_until_executable(wrapper: &Path, mut pause: impl FnMut()) {
    const ATTEMPTS: u32 = 2000;
    for _ in 0..ATTEMPTS {
        match Command::new(wrapper).arg("true").stdin(Stdio::null()).status() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => pause(),
            // Cargo reports every other error.
            _ => return,
        }
    }
}

/// The stamps of files when a cargo build began.
#[derive(Debug)]
pub(super) struct Beginning {
    at: SystemTime,
    stamps: BTreeMap<PathBuf, Option<InputStamp>>,
    target_dir: PathBuf,
}

impl Beginning {
    /// Takes the stamps of the files that are known before the build.
    pub(super) fn now(facts: &PackageFacts) -> Self {
        let at = SystemTime::now();
        let known = facts.inputs.files.iter().chain(&facts.settings.files).chain(&facts.toolchain.places);
        let stamps = known.map(|path| (path.clone(), stamp(path))).collect();
        Self { at, stamps, target_dir: facts.target_dir.clone() }
    }

    /// The stamp that the file had when cargo read it. Returns `None` if the file may have been saved since the build
    /// began, and `Some(None)` if the file did not exist.
    fn stamp(&self, path: &Path) -> Option<Option<InputStamp>> {
        match self.stamps.get(path) {
            Some(stamp) => Some(*stamp),
            // Cargo itself writes the files in its target folder, possibly in this build.
            None if path.starts_with(&self.target_dir) => Some(stamp(path)),
            None => stamp_before(path, self.at).map(Some),
        }
    }
}

/// A recorded call of rustc, and the conditions under which it may be repeated.
#[derive(Debug)]
pub(super) struct Template {
    rustc: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    spec: BuildSpec,
    /// The name of the files that rustc writes, without prefix and extension: the crate's name with cargo's suffix.
    stem: String,
    /// The inputs of the artifact other than the crate's own sources. None of them may change.
    others: BTreeMap<PathBuf, Option<InputStamp>>,
    inputs: Inputs,
    folders: Folders,
}

impl Template {
    /// Makes a template of the recorded call. The call may come from an earlier build that made the same artifact.
    /// Returns `None` if the note is unusable, or if a file was saved while cargo built, because it is unknown which
    /// content of the file cargo read.
    pub(super) fn of(
        note: &Note,
        beginning: &Beginning,
        manifest: &Manifest,
        output: &Output,
    ) -> Option<Self> {
        let mut noted = note.read("args")?.into_iter();
        let (cwd, rustc, args) = (PathBuf::from(noted.next()?), noted.next()?, noted.collect::<Vec<_>>());
        let value = |flag: &str| after(&args, flag).and_then(OsStr::to_str);
        // Cargo passes no `extra-filename` for a cdylib.
        let suffix = args.iter().find_map(|arg| arg.to_str()?.strip_prefix("extra-filename="));
        let suffix = suffix.unwrap_or_default();
        let stem = format!("{}{suffix}", value("--crate-name")?);
        let out_dir = Path::new(value("--out-dir")?);
        // The output that cargo reports is a hard link to the file that rustc wrote.
        if stamp(&out_dir.join(format!("lib{stem}.so"))) != stamp(&output.artifact) {
            return None;
        }
        let dep_info = fs::read_to_string(out_dir.join(format!("{stem}.d"))).ok()?;
        let own: BTreeSet<_> =
            cargo::dep_info_sources(&dep_info).into_iter().map(|it| cwd.join(it)).collect();
        let externs = args.iter().filter_map(|arg| Some(PathBuf::from(arg.to_str()?.split_once('=')?.1)));
        let externs = externs.filter(|path| path.extension().is_some_and(|it| it == "rlib" || it == "so"));
        let others = output.inputs.files.iter().filter(|file| !own.contains(*file)).cloned();
        let others = others.chain(externs).chain(beginning.stamps.keys().cloned());
        let others = others.map(|path| beginning.stamp(&path).map(|stamp| (path, stamp)));
        let others = others.collect::<Option<_>>()?;
        let env = note.read("env")?.into_iter().filter_map(|pair| {
            let pair = pair.into_vec();
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let name = OsString::from_vec(pair[..at].to_vec());
            Some((name, OsString::from_vec(pair[at + 1..].to_vec())))
        });
        let env = env.filter(|(name, _)| !NOT_FOR_RUSTC.iter().any(|not| name == not));
        Some(Self {
            others,
            env: env.collect(),
            spec: manifest.build.clone(),
            inputs: output.inputs.clone(),
            folders: Folders::take(&note.path).ok()?,
            rustc,
            args,
            cwd,
            stem,
        })
    }

    /// Whether repeating the call gives the same result as cargo.
    pub(super) fn holds(&self, manifest: &Manifest) -> bool {
        self.spec == manifest.build && self.others.iter().all(|(path, found)| stamp(path) == *found)
    }

    /// Repeats the call. Returns `None` if cargo has to build.
    pub(super) async fn run(
        &self,
        manifest: &Manifest,
        facts: &PackageFacts,
    ) -> Option<Result<Output, BuildError>> {
        let out_dir = self.folders.empty().ok()?;
        let mut command = Command::new(&self.rustc);
        command.current_dir(&self.cwd).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        let mut is_out_dir = false;
        for arg in &self.args {
            command.arg(if is_out_dir { out_dir.as_os_str() } else { arg });
            is_out_dir = arg == "--out-dir";
        }
        let (mut diagnostics, mut stale) = (Vec::new(), false);
        let finished = process::run_reading_errors(command, |line| {
            if let Ok(message) = serde_json::from_str::<cargo_metadata::diagnostic::Diagnostic>(line) {
                stale |= message.code.as_ref().is_some_and(|code| is_about_crates(&code.code));
                diagnostics.extend(cargo::diagnostic(message, &facts.workspace_root));
            }
        });
        let finished = finished.await.ok()?;
        if !finished.status.success() {
            let ordinary =
                diagnostics.iter().any(|it| it.level == DiagnosticLevel::Error && it.file.is_some());
            let by_itself = finished.status.code() == Some(1);
            let error = || Err(cargo::failure(manifest, facts, diagnostics, &finished));
            return (ordinary && by_itself && !stale).then(error);
        }
        let finished_dir = self.folders.finish().ok()?;
        let artifact = finished_dir.join(format!("lib{}.so", self.stem));
        let dep_info = fs::read_to_string(finished_dir.join(format!("{}.d", self.stem))).ok()?;
        if !artifact.is_file() {
            return None;
        }
        let mut inputs = self.inputs.clone();
        inputs.files.extend(cargo::dep_info_sources(&dep_info).into_iter().map(|it| self.cwd.join(it)));
        inputs.files.retain(|file| !file.starts_with(&facts.target_dir));
        Some(Ok(Output { artifact, inputs, warnings: diagnostics }))
    }
}

/// A set of output folders, which one template uses. A lock excludes all other templates from them, including those of
/// other processes.
#[derive(Debug)]
struct Folders {
    /// The common prefix of the folders' paths.
    base: OsString,
    finished: AtomicU64,
    _alone: fs::File,
}

impl Folders {
    /// Takes the first free set of folders. The paths of all sets begin with `path`, followed by the number of the set.
    fn take(path: &Path) -> io::Result<Self> {
        let mut number = 0_u32;
        loop {
            let mut base = path.to_owned().into_os_string();
            base.push(format!("-{number}"));
            let mut lock = base.clone();
            lock.push(".lock");
            let alone = fs::File::create(lock)?;
            match flock(&alone, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { base, finished: AtomicU64::new(0), _alone: alone }),
                Err(Errno::WOULDBLOCK) => number += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Empties the folder to which rustc writes. Every run uses the same path. If the path changed, rustc's incremental
    /// cache would treat every codegen unit that has debug information as changed, and rustc would compile all of them
    /// again.
    fn empty(&self) -> io::Result<PathBuf> {
        let folder = self.folder("-out");
        remove(&folder)?;
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Moves rustc's output folder to another path, so that the next run does not overwrite the output. Two paths are
    /// used in turn, because the previous output may still be in use.
    fn finish(&self) -> io::Result<PathBuf> {
        let is_even = self.finished.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let folder = self.folder(if is_even { "-even" } else { "-odd" });
        remove(&folder)?;
        fs::rename(self.folder("-out"), &folder)?;
        Ok(folder)
    }

    fn folder(&self, suffix: &str) -> PathBuf {
        let mut folder = self.base.clone();
        folder.push(suffix);
        folder.into()
    }
}

/// Removes a folder with its content, if it exists.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The argument that follows `flag`.
fn after<'a>(args: &'a [OsString], flag: &str) -> Option<&'a OsStr> {
    let at = args.iter().position(|arg| arg == flag)?;
    args.get(at + 1).map(OsString::as_os_str)
}

/// Whether an error with this code may come from a changed dependency and not from the author's source.
fn is_about_crates(code: &str) -> bool {
    ["E0457", "E0459", "E0460", "E0461", "E0462", "E0463", "E0464", "E0514", "E0519"].contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrapper_is_used_only_when_no_process_has_it_open_for_writing() {
        let dir = tempfile::tempdir().unwrap();
        let wrapper = dir.path().join("rustc-note.sh");
        write_wrapper(dir.path(), &wrapper).unwrap();
        let mut writer = Some(fs::File::options().append(true).open(&wrapper).unwrap());
        let mut pauses = 0;
        wait_until_executable(&wrapper, || {
            pauses += 1;
            drop(writer.take());
        });
        // A process that another test has just started may have a copy of the descriptor for a moment.
        assert!(pauses >= 1);
        assert!(Command::new(&wrapper).arg("true").status().unwrap().success());
    }
}
