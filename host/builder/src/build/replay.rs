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
    compiled::{Compiled, Needs, Stamps},
    content::{InputStamp, stamp},
    facts::{PackageFacts, stamp_before},
    linker::{Linker, without_cc},
    note::{Note, write_program},
    out_dirs::OutDirs,
    process::{Ended, Exiting, Finished, LockFile, Process},
    units::Unit,
    warm::Warm,
};
use crate::watch::Inputs;
use parking_lot::Mutex;
use replug_config::manifest::{BuildSpec, Manifest};
use replug_model::event::{BuildWay, BuiltBy, Diagnostic, DiagnosticLevel};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs, io,
    ops::ControlFlow,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

/// Variables that rustc must not get: they are meant for the wrapper, or belong to the cargo that called the wrapper.
const NOT_FOR_RUSTC: [&str; 5] =
    ["RUSTC_WORKSPACE_WRAPPER", "REPLUG_NOTE", "CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"];

/// The stamps of files when a cargo build began.
#[derive(Debug)]
pub(super) struct Beginning {
    at: SystemTime,
    stamps: Stamps,
    /// The stamps of other files whose content did not change during the build.
    pub(super) unchanged: Stamps,
    target_dir: PathBuf,
}

impl Beginning {
    /// Takes the stamps of the files that are known before the build. `manifests` are those that the last build used.
    pub(super) fn now(facts: &PackageFacts, manifests: BTreeSet<PathBuf>) -> Self {
        let at = SystemTime::now();
        let known = facts.inputs.files.iter().chain(&facts.settings.files).chain(&facts.toolchain.places);
        let known = known.cloned().chain(manifests);
        let stamps = known.map(|path| (path.clone(), stamp(&path))).collect();
        Self { at, stamps, unchanged: BTreeMap::new(), target_dir: facts.target_dir.clone() }
    }

    /// The stamp that the file had when cargo read it. Returns `None` if the file may have been saved since the build
    /// began, and `Some(None)` if the file did not exist.
    fn stamp(&self, path: &Path) -> Option<Option<InputStamp>> {
        match self.stamps.get(path).or_else(|| self.unchanged.get(path)) {
            Some(stamp) => Some(*stamp),
            // Cargo itself writes the files in its target folder, so they may be newer than the beginning of the build.
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
    /// The arguments with which rustc links without `cc`, if that is possible.
    direct: Mutex<Option<Vec<OsString>>>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    spec: BuildSpec,
    /// The name of the files that rustc writes, without prefix and extension: the crate's name with cargo's suffix.
    stem: String,
    /// The inputs of the artifact that are not read by the own crate alone. None of them may change, unless another run
    /// of cargo has compiled the change.
    others: Mutex<Stamps>,
    needs: Needs,
    inputs: Mutex<Inputs>,
    out_dirs: OutDirs,
    warm: Warm,
    /// The rustc process of the last run, if it had not exited when its output was complete.
    exiting: Mutex<Option<Exiting>>,
}

impl Template {
    /// Makes a template of the recorded call. The call may come from an earlier build that made the same artifact. If
    /// no template can be made, returns the reason.
    pub(super) fn of(
        (note, facts, compiled): (&Note, &PackageFacts, &Compiled),
        beginning: &Beginning,
        manifest: &Manifest,
        made: (&Output, Option<&Linker>),
    ) -> Result<Self, String> {
        let noted = note.read("args").zip(note.read("env"));
        let (args, env) = noted.ok_or("cargo's call of rustc was not recorded")?;
        let template = Self::of_call((args, env), (note, beginning), (manifest, facts, compiled), made);
        template.unwrap_or_else(|| Err("cargo's call of rustc is of an unknown form".to_owned()))
    }

    /// Returns `None` if the call lacks something that every call by cargo has.
    fn of_call(
        (args, env): (Vec<OsString>, Vec<OsString>),
        (note, beginning): (&Note, &Beginning),
        (manifest, facts, compiled): (&Manifest, &PackageFacts, &Compiled),
        (output, linker): (&Output, Option<&Linker>),
    ) -> Option<Result<Self, String>> {
        let mut noted = args.into_iter();
        let (cwd, rustc, args) = (PathBuf::from(noted.next()?), noted.next()?, noted.collect::<Vec<_>>());
        let value = |flag: &str| after(&args, flag).and_then(OsStr::to_str);
        // For a cdylib of a local package, cargo usually passes no `extra-filename`. Then the suffix is empty.
        let suffix = args.iter().find_map(|arg| arg.to_str()?.strip_prefix("extra-filename="));
        let suffix = suffix.unwrap_or_default();
        let stem = format!("{}{suffix}", value("--crate-name")?);
        let out_dir = Path::new(value("--out-dir")?);
        // The output that cargo reports is a hard link to the file that rustc has written, so both have the same stamp.
        if stamp(&out_dir.join(format!("lib{stem}.so"))) != stamp(&output.artifact) {
            return Some(Err("the recorded call of rustc has not made the library".to_owned()));
        }
        let list = out_dir.join(format!("{stem}.d"));
        let dep_info = fs::read_to_string(&list).ok()?;
        let own: BTreeSet<_> =
            cargo::dep_info_sources(&dep_info).into_iter().map(|it| cwd.join(it)).collect();
        let externs = args.iter().filter_map(|arg| Some(PathBuf::from(arg.to_str()?.split_once('=')?.1)));
        let externs = externs.filter(|path| path.extension().is_some_and(|it| it == "rlib" || it == "so"));
        let externs: BTreeSet<_> = externs.collect();
        // A file that the own crate and a dependency read must not change either: the dependency would be outdated.
        let units = compiled.units();
        let dependencies = units.iter().filter(|(key, _)| Path::new(key) != list);
        let of_dependencies: BTreeSet<_> = dependencies.flat_map(|(_, unit)| unit.all_files()).collect();
        let scripts: BTreeSet<_> = units.values().filter_map(Unit::script).collect();
        // The remaining inputs, such as links, are not read by rustc.
        let others = output.inputs.files.iter().filter(|file| !own.contains(*file)).cloned();
        let others = others.chain(of_dependencies).chain(units.values().flat_map(Unit::manifests));
        let others = others.chain(scripts.iter().cloned());
        let others = others.chain(externs.iter().cloned()).chain(beginning.stamps.keys().cloned());
        let mut known = BTreeMap::new();
        for path in others {
            let stamp = match beginning.stamp(&path) {
                Some(stamp) => stamp,
                // Cargo has not found the script either. Otherwise, it would have run it, and there would be no template.
                None if scripts.contains(&path) && !path.exists() => None,
                None => return Some(Err(format!("{} was saved while cargo built", path.display()))),
            };
            known.insert(path, stamp);
        }
        let env = env.into_iter().filter_map(|pair| {
            let pair = pair.into_vec();
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let name = OsString::from_vec(pair[..at].to_vec());
            Some((name, OsString::from_vec(pair[at + 1..].to_vec())))
        });
        let env = env.filter(|(name, _)| !NOT_FOR_RUSTC.iter().any(|not| name == not));
        let out_dirs = OutDirs::take(&note.path).ok()?;
        let direct = linker.filter(|linker| linker.has_made(&output.artifact)).and_then(|linker| {
            let script = out_dirs.path("-link.sh");
            let direct = without_cc(&args, &script)?;
            write_program(&script, &linker.script()).ok()?;
            Some(direct)
        });
        record(&out_dirs.path(".call"), (&cwd, &rustc, direct.as_ref().unwrap_or(&args)));
        Some(Ok(Self {
            direct: Mutex::new(direct),
            others: Mutex::new(known),
            needs: compiled.needs(facts, (externs, &list), beginning.stamps.keys().cloned().collect()),
            env: env.collect(),
            spec: manifest.build.clone(),
            inputs: Mutex::new(output.inputs.clone()),
            out_dirs,
            warm: Warm::default(),
            exiting: Mutex::default(),
            rustc,
            args,
            cwd,
            stem,
        }))
    }

    /// Why the repeated call could give another result than cargo. `None` if it gives the same result.
    pub(super) fn reason_for_cargo(&self, manifest: &Manifest) -> Option<String> {
        if self.spec != manifest.build {
            return Some("`[build]` of the manifest has changed".to_owned());
        }
        let others = self.others.lock();
        let changed = others.iter().find(|(path, found)| stamp(path) != **found);
        changed.map(|(path, _)| format!("{} has changed", path.display()))
    }

    /// Whether the call gives the same result as cargo, now that another run of cargo has compiled this.
    pub(super) fn accept(&self, compiled: &Compiled, manifest: &Manifest) -> bool {
        let mut others = self.others.lock();
        if self.spec != manifest.build {
            return false;
        }
        let Some(changed) = compiled.covers(&self.needs, &others) else { return false };
        self.inputs.lock().files.extend(changed.keys().cloned());
        others.extend(changed);
        true
    }

    /// Repeats the call. Returns `None` if cargo has to build.
    pub(super) async fn run(
        &self,
        manifest: &Manifest,
        facts: &PackageFacts,
    ) -> Option<Result<Output, BuildError>> {
        let direct = self.direct.lock().clone();
        match direct {
            None => self.run_with(&self.args, manifest, facts).await,
            Some(direct) => match self.run_with(&direct, manifest, facts).await {
                None => {
                    let result = self.run_with(&self.args, manifest, facts).await;
                    if matches!(result, Some(Ok(_))) {
                        tracing::debug!("{}: links only with `cc`", manifest.id);
                        *self.direct.lock() = None;
                    }
                    result
                }
                result => result,
            },
        }
    }

    /// Starts the rustc process that waits for the next run.
    pub(super) fn warm_up(&self) {
        self.warm.prepare(self.rustc(), self.out_dirs.path("-args"));
    }

    /// Ends the rustc process that waits for the next run.
    pub(super) fn cool(&self) {
        drop(self.warm.take());
    }

    /// Whether rustc links without `cc`.
    #[cfg(test)]
    pub(super) fn links_without_cc(&self) -> bool {
        self.direct.lock().is_some()
    }

    /// The rustc process that waits for the next run.
    #[cfg(test)]
    pub(super) fn warm(&self) -> &Warm {
        &self.warm
    }

    async fn run_with(
        &self,
        args: &[OsString],
        manifest: &Manifest,
        facts: &PackageFacts,
    ) -> Option<Result<Output, BuildError>> {
        let warm = self.warm.take();
        // The previous rustc may still be removing its temporary files, and the next one writes into the same folder.
        let exiting = self.exiting.lock().take();
        if let Some(exiting) = exiting {
            exiting.wait().await;
        }
        let out_dir = self.out_dirs.empty().ok()?;
        let args = || {
            let values_out = [OsStr::new("")].into_iter().chain(args.iter().map(|arg| &**arg));
            args.iter().zip(values_out).map(|(arg, before)| match before == "--out-dir" {
                true => out_dir.as_os_str(),
                false => arg,
            })
        };
        let process = match warm.and_then(|waiting| waiting.compile(args()).ok()) {
            Some(process) => process,
            None => {
                let mut rustc = self.rustc();
                rustc.args(args());
                Process::start(rustc, LockFile::Unwritten).ok()?
            }
        };
        let library = format!("lib{}.so", self.stem);
        let (diagnostics, stale, ended) = read(process, &library, facts).await.ok()?;
        match ended {
            Ended::Exited(finished) if !finished.status.success() => {
                return failure((manifest, facts), (diagnostics, stale), &finished);
            }
            Ended::Exited(_) => {}
            Ended::Exiting(exiting) => *self.exiting.lock() = Some(exiting),
        }
        let [artifact, dep_info] = self.out_dirs.finish([library, format!("{}.d", self.stem)]).ok()?;
        let dep_info = fs::read_to_string(dep_info).ok()?;
        let mut inputs = self.inputs.lock().clone();
        inputs.files.extend(cargo::dep_info_sources(&dep_info).into_iter().map(|it| self.cwd.join(it)));
        inputs.files.retain(|file| !file.starts_with(&facts.target_dir));
        let reason = "only the sources of the plugin's own crate have changed".to_owned();
        let way = BuildWay { by: BuiltBy::Rustc, reason };
        Some(Ok(Output { artifact, inputs, warnings: diagnostics, way }))
    }

    /// rustc with the environment and the working folder of the recorded call, without arguments.
    fn rustc(&self) -> Command {
        let mut rustc = Command::new(&self.rustc);
        rustc.current_dir(&self.cwd).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        rustc
    }
}

/// A message of rustc, in JSON, about a file that rustc has written.
#[derive(Deserialize)]
struct Written {
    artifact: PathBuf,
    emit: String,
}

/// Reads the messages of rustc until the process has exited or has written `library`. rustc needs some more milliseconds
/// to exit after that. For a crate of several types, rustc writes one file for each type, and reports each of them.
///
/// Returns the messages for the author, and whether one of them may come from a changed dependency.
async fn read(
    process: Process,
    library: &str,
    facts: &PackageFacts,
) -> io::Result<(Vec<Diagnostic>, bool, Ended)> {
    let is_library = |it: Written| it.emit == "link" && it.artifact.ends_with(library);
    let (mut diagnostics, mut stale) = (Vec::new(), false);
    let ended = process.read(
        |_| {},
        |line| {
            if let Ok(message) = serde_json::from_str::<cargo_metadata::diagnostic::Diagnostic>(line) {
                stale |= message.code.as_ref().is_some_and(|code| is_about_crates(&code.code));
                diagnostics.extend(cargo::diagnostic(message, &facts.workspace_root));
            } else if serde_json::from_str(line).is_ok_and(is_library) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        },
    );
    let ended = ended.await?;
    Ok((diagnostics, stale, ended))
}

/// The error of the author's source. Returns `None` if the cause of the failure may be something else.
fn failure(
    (manifest, facts): (&Manifest, &PackageFacts),
    (diagnostics, stale): (Vec<Diagnostic>, bool),
    finished: &Finished,
) -> Option<Result<Output, BuildError>> {
    let ordinary = diagnostics.iter().any(|it| it.level == DiagnosticLevel::Error && it.file.is_some());
    let by_itself = finished.status.code() == Some(1);
    (ordinary && by_itself && !stale).then(|| Err(cargo::failure(manifest, facts, diagnostics, finished)))
}

/// Writes the recorded call to a file, for programs that measure the call. Each part ends with a null byte.
fn record(file: &Path, (cwd, rustc, args): (&Path, &OsStr, &[OsString])) {
    let parts = [cwd.as_os_str(), rustc].into_iter().chain(args.iter().map(|arg| &**arg));
    let bytes: Vec<u8> = parts.flat_map(|part| part.as_bytes().iter().copied().chain([0])).collect();
    // No build reads the file.
    let _ = fs::write(file, bytes);
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
