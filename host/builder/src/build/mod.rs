//! Building the artifact: with cargo, with the author's script, or by using a prebuilt file.
//!
//! **Never allowed:** a process that remains after its build was cancelled; a build in the target folder of the
//! author's own cargo, because the two cargo processes would wait for each other's lock.

mod cargo;
mod compiled;
mod content;
mod error;
mod facts;
mod fingerprints;
mod linker;
mod named;
mod note;
mod out_dirs;
mod own_writes;
mod process;
mod progress;
mod record;
mod replay;
mod script;
mod settings;
mod silence;
mod std_link;
#[cfg(test)]
mod tests;
mod toolchain;
mod turns;
mod units;
mod warm;

pub use error::BuildError;
pub use own_writes::{Moment, OwnWrites};

use crate::{artifact::places_of_libraries, watch::Inputs};
use facts::PackageFacts;
use own_writes::ScriptRuns;
use parking_lot::Mutex;
use replay::Template;
use replug_config::{manifest::Manifest, workspace::BuildDir};
use replug_model::event::{BuildProgress, BuildWay, BuiltBy, Diagnostic};
use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime},
};
use std_link::StdLink;
use turns::Turns;

/// Builds plugins. Several threads can share one builder: builds of different plugins may run in parallel.
#[derive(Debug)]
pub struct Builder {
    dir: BuildDir,
    facts: Mutex<HashMap<FactsKey, Arc<PackageFacts>>>,
    /// For each plugin, the recorded call of rustc that builds the plugin's own crate without cargo, or the reason why
    /// there is none.
    templates: Mutex<HashMap<FactsKey, Result<Arc<Template>, String>>>,
    /// The template of the last build without cargo. Only this template may keep a rustc process that waits for the
    /// next build.
    last: Mutex<Weak<Template>>,
    /// For each plugin, the input files of its last successful build, and the files that messages of later failed
    /// builds have named.
    read: Mutex<HashMap<FactsKey, BTreeSet<PathBuf>>>,
    turns: Turns,
    scripts: ScriptRuns,
}

/// A plugin's folder, and the package that its manifest names.
type FactsKey = (PathBuf, Option<String>);

/// The result of a build.
#[derive(Clone, Debug)]
pub struct Built {
    /// The library. The next build overwrites it, so copy it before opening it.
    pub artifact: PathBuf,
    /// The inputs of the artifact.
    pub inputs: Inputs,
    /// The duration of the build.
    pub took: Duration,
    /// The compiler's warnings.
    pub warnings: Vec<Diagnostic>,
    /// How the plugin was built.
    pub way: BuildWay,
}

/// The method by which a plugin is built.
enum Method<'m> {
    Cargo,
    Script(&'m Path),
    ReadyMade(&'m Path),
}

impl Builder {
    /// A builder that keeps intermediate files in `dir`.
    pub fn new(dir: impl Into<BuildDir>) -> Self {
        Self {
            dir: dir.into(),
            facts: Mutex::default(),
            templates: Mutex::default(),
            last: Mutex::default(),
            read: Mutex::default(),
            turns: Turns::default(),
            scripts: ScriptRuns::default(),
        }
    }

    /// The folder of the intermediate files.
    pub fn dir(&self) -> &BuildDir {
        &self.dir
    }

    /// The inputs of the plugin, as far as they are known without a build. The caller must begin to watch them before
    /// the first build, so that no edit is missed.
    ///
    /// A file that only the compiler finds, such as the argument of `include!`, is an input once a build has read it,
    /// and stays an input while later builds fail. A file that is named in the messages of a failed build is an input
    /// until a build succeeds, whether the file exists or not. If cargo cannot describe the package, the whole folder
    /// is the input.
    pub async fn inputs(&self, manifest: &Manifest) -> Inputs {
        let mut inputs = match method(manifest) {
            Ok(Method::Script(script)) => script::inputs(manifest, script),
            Ok(Method::ReadyMade(binary)) => ready_made_inputs(manifest, binary),
            Ok(Method::Cargo) => {
                let facts = silence::bounded(manifest.build.timeout, self.facts(manifest)).await;
                match facts {
                    Ok(Ok(facts)) => {
                        let mut inputs = facts.inputs.clone();
                        record::add_known(&facts, &mut inputs);
                        inputs
                    }
                    Ok(Err(error)) => {
                        self.remember_failure(manifest, &[], &error);
                        whole_folder(manifest)
                    }
                    Err(silence::TooSilent) => whole_folder(manifest),
                }
            }
            Err(_) => whole_folder(manifest),
        };
        inputs.files.extend(self.read.lock().get(&key(manifest)).into_iter().flatten().cloned());
        inputs.files.insert(manifest.file.clone());
        inputs
    }

    /// Whether a build of the plugin runs processes. It does not if the manifest names a prebuilt library.
    pub fn takes_time(&self, manifest: &Manifest) -> bool {
        !matches!(method(manifest), Ok(Method::ReadyMade(_)))
    }

    /// Builds the plugin, or finds its prebuilt library.
    ///
    /// Dropping the future kills every process in the build's process group. The future needs a tokio runtime with I/O
    /// and time.
    ///
    /// # Errors
    ///
    /// * [`BuildError::Compile`], [`BuildError::PanicAborts`]: the compiler rejected the source. The error contains the
    ///   compiler's messages.
    /// * [`BuildError::NoSource`], [`BuildError::NotACdylib`], [`BuildError::NoCdylib`],
    ///   [`BuildError::SeveralCdylibs`], [`BuildError::NoSuchPackage`]: there is not exactly one library to build.
    /// * [`BuildError::Cargo`], [`BuildError::NoArtifact`], [`BuildError::NoToolchain`]: cargo itself failed.
    /// * [`BuildError::Script`], [`BuildError::ScriptNotStarted`], [`BuildError::NoBinaryKey`],
    ///   [`BuildError::NoBinary`], [`BuildError::Outside`]: the script failed, or there is no library in the plugin's
    ///   folder.
    /// * [`BuildError::TimedOut`]: the build's processes wrote nothing for longer than `build.timeout` in the manifest.
    pub async fn build(&self, manifest: &Manifest) -> Result<Built, BuildError> {
        self.build_reporting(manifest, |_| ()).await
    }

    /// Like [`Builder::build`], but also calls `report` when the progress of the build changes, at most once a second.
    ///
    /// # Errors
    ///
    /// The same as for [`Builder::build`].
    pub async fn build_reporting(
        &self,
        manifest: &Manifest,
        report: impl FnMut(BuildProgress),
    ) -> Result<Built, BuildError> {
        progress::reported(report, self.build_now(manifest)).await
    }

    async fn build_now(&self, manifest: &Manifest) -> Result<Built, BuildError> {
        let (began, as_of) = (Instant::now(), SystemTime::now());
        let after = manifest.build.timeout;
        let cargo::Output { artifact, mut inputs, warnings, way } =
            silence::bounded(after, self.make(manifest)).await.map_err(|silence::TooSilent| {
                BuildError::TimedOut { root: manifest.root.clone(), after }
            })??;
        inputs.files.insert(manifest.file.clone());
        // With `as_of`, the watcher would report every file that changed since the build began. The author's build
        // script may write files next to the sources, so each build would trigger the next one.
        let scripted = matches!(method(manifest), Ok(Method::Script(_)));
        inputs.as_of = Some(as_of).filter(|_| !scripted);
        Ok(Built { artifact, inputs, took: began.elapsed(), warnings, way })
    }

    async fn make(&self, manifest: &Manifest) -> Result<cargo::Output, BuildError> {
        let without_compiler = |artifact, inputs, by, reason: &str| {
            let way = BuildWay { by, reason: reason.to_owned() };
            Ok(cargo::Output { artifact, inputs, warnings: Vec::new(), way })
        };
        match method(manifest)? {
            Method::Cargo => {
                let failed = |bases: &[&Path], error| {
                    self.remember_failure(manifest, bases, &error);
                    error
                };
                let facts = self.facts(manifest).await.map_err(|error| failed(&[], error))?;
                let output = self.compile(manifest, &facts).await;
                let output = output.map_err(|error| failed(&[&facts.workspace_root], error))?;
                self.read.lock().insert(key(manifest), output.inputs.files.clone());
                Ok(output)
            }
            Method::Script(script) => {
                let target_dir = self.dir.rest().join("scripts").join(manifest.id.as_str());
                let built = script::build(manifest, script, &target_dir).await;
                let artifact = built.inspect_err(|error| self.remember_failure(manifest, &[], error))?;
                self.read.lock().remove(&key(manifest));
                let inputs = script::inputs(manifest, script);
                without_compiler(artifact, inputs, BuiltBy::Script, "the plugin has a build script")
            }
            Method::ReadyMade(binary) => {
                let remedy = "put the library there, or remove `binary` from the manifest to build it";
                let artifact = script::ready_made(manifest, binary, remedy)?;
                let inputs = ready_made_inputs(manifest, binary);
                without_compiler(artifact, inputs, BuiltBy::Prebuilt, "the manifest names a prebuilt library")
            }
        }
    }

    /// Adds the files that are named in the messages of a failed build to the inputs of the plugin, because an edit of
    /// such a file may fix the build. Relative paths in the messages are resolved against each of `bases` and the
    /// plugin's folder.
    fn remember_failure(&self, manifest: &Manifest, bases: &[&Path], error: &BuildError) {
        let bases: Vec<_> = bases.iter().copied().chain([&*manifest.root]).collect();
        let named = named::files(error, &bases, self.dir.rest());
        let of_diagnostics = error.diagnostics().iter().filter_map(|it| it.file.clone());
        // The paths of the standard library's own sources do not exist on this machine.
        let of_diagnostics = of_diagnostics.filter(|file| file.is_file());
        self.read.lock().entry(key(manifest)).or_default().extend(named.into_iter().chain(of_diagnostics));
    }

    /// Whether the current or last build of the plugin may itself have written the file at `path`.
    pub fn own_writes(&self, manifest: &Manifest, (moment, path): (Moment, &Path)) -> OwnWrites {
        match method(manifest) {
            Ok(Method::Script(script)) if *path != manifest.root.join(script) => OwnWrites::Unordered,
            Ok(Method::Cargo) => {
                let facts = self.facts.lock().get(&key(manifest)).cloned();
                let packages = facts.map(|facts| facts.package_folders.clone()).unwrap_or_default();
                self.scripts.of((&key(manifest), moment), &packages, path)
            }
            _ => OwnWrites::None,
        }
    }

    /// Builds with the shared standard library or with a copy of it. If the first choice does not fit the plugin,
    /// builds a second time with the other choice. Two facts decide the choice: the plugin's allocator, which only the
    /// built library shows, and the author's rustflags, because rustc rejects the shared library with LTO.
    async fn compile(&self, manifest: &Manifest, facts: &PackageFacts) -> Result<cargo::Output, BuildError> {
        let std = StdLink::of(facts);
        let output = match self.compile_with(std, manifest, facts).await {
            Err(error) if std_link::is_excluded_by_lto(&error) && std == StdLink::Shared => {
                let mut output = self.compile_with(StdLink::Own, manifest, facts).await?;
                output.warnings.push(std_link::explained_by_lto());
                return Ok(output);
            }
            output => output?,
        };
        let Some(other) = std.other_for(&output.artifact) else { return Ok(output) };
        if let Err(error) = other.note(facts) {
            tracing::warn!(
                "{}: cannot save which standard library the plugin is linked with, so the next host builds the plugin \
                 once with each: {error}",
                manifest.id
            );
        }
        // The template would repeat a call of rustc that links the unsuitable standard library.
        self.drop_template(manifest, "the plugin needs the other kind of standard library");
        let mut output = self.compile_with(other, manifest, facts).await?;
        output.warnings.extend(other.explained());
        Ok(output)
    }

    /// Repeats the recorded call of rustc if the call [gives the same result as cargo](Template::reason_for_cargo), or does
    /// so after a build of another plugin. Otherwise, or if the repeated call shows that cargo has to build, builds with
    /// cargo.
    async fn compile_with(
        &self,
        std: StdLink,
        manifest: &Manifest,
        facts: &PackageFacts,
    ) -> Result<cargo::Output, BuildError> {
        let key = key(manifest);
        let mut accepts = true;
        let (turn, reason) = loop {
            let permit = if accepts { None } else { self.turns.permit().await };
            let reason = match self.repeat(&key, manifest, facts).await {
                Ok(outcome) if accepts => return outcome,
                Ok(outcome) => return outcome.map(cargo::Output::after_another_build),
                Err(reason) => reason,
            };
            drop(permit);
            let suffices = |compiled: &_| {
                let template = self.templates.lock().get(&key).and_then(|it| it.clone().ok());
                accepts && template.is_some_and(|it| it.accept(compiled, manifest))
            };
            match self.turns.to_build_unless(&facts.workspace_root, suffices).await {
                Some(turn) => break (turn, reason),
                None => accepts = false,
            }
        };
        // This reason stays if the future is dropped, because of a new edit or of a timeout.
        self.drop_template(manifest, "the last build by cargo did not finish");
        let running = self.scripts.begin(key.clone(), &facts.package_folders);
        let built = cargo::build((manifest, reason), facts, std, (&turn, &running)).await;
        let (output, template) =
            built.inspect_err(|_| self.drop_template(manifest, "the last build by cargo has failed"))?;
        self.templates.lock().insert(key, template.map(Arc::new));
        Ok(output)
    }

    /// Repeats the recorded call of rustc. Returns the reason if cargo has to build.
    async fn repeat(
        &self,
        key: &FactsKey,
        manifest: &Manifest,
        facts: &PackageFacts,
    ) -> Result<Result<cargo::Output, BuildError>, String> {
        let known = self.templates.lock().get(key).cloned();
        let template =
            known.unwrap_or_else(|| Err("this host has not built the plugin before".to_owned()))?;
        if let Some(reason) = template.reason_for_cargo(manifest) {
            return Err(reason);
        }
        let previous = std::mem::replace(&mut *self.last.lock(), Arc::downgrade(&template));
        if let Some(previous) = previous.upgrade().filter(|it| !Arc::ptr_eq(it, &template)) {
            previous.cool();
        }
        let outcome = template.run(manifest, facts).await;
        let outcome = outcome
            .ok_or_else(|| "the repeated call of rustc has failed, not because of the source".to_owned())?;
        // A build of another plugin may have begun in the meantime, or may begin now. The lock makes that build wait until
        // it can end the process.
        let last = self.last.lock();
        if last.ptr_eq(&Arc::downgrade(&template)) {
            template.warm_up();
        }
        drop(last);
        Ok(outcome)
    }

    fn drop_template(&self, manifest: &Manifest, why: &str) {
        self.templates.lock().insert(key(manifest), Err(why.to_owned()));
    }

    /// The facts about the plugin's package, found again if they are no longer valid.
    async fn facts(&self, manifest: &Manifest) -> Result<Arc<PackageFacts>, BuildError> {
        let key = key(manifest);
        let known = self.facts.lock().get(&key).cloned();
        if let Some(facts) = known.filter(|facts| facts.hold()) {
            return Ok(facts);
        }
        let facts = Arc::new(PackageFacts::find(manifest, &self.dir.of(&manifest.root), &self.turns).await?);
        self.facts.lock().insert(key, Arc::clone(&facts));
        Ok(facts)
    }
}

fn key(manifest: &Manifest) -> FactsKey {
    (manifest.root.clone(), manifest.build.package.clone())
}

fn method(manifest: &Manifest) -> Result<Method<'_>, BuildError> {
    let has = |name: &str| manifest.root.join(name).is_file();
    match (&manifest.build.script, &manifest.binary) {
        (Some(script), _) => Ok(Method::Script(script)),
        (None, _) if has(script::CONVENTIONAL) && !has("Cargo.toml") => {
            Ok(Method::Script(Path::new(script::CONVENTIONAL)))
        }
        (None, Some(binary)) => Ok(Method::ReadyMade(binary)),
        (None, None) if has("Cargo.toml") => Ok(Method::Cargo),
        (None, None) => Err(BuildError::NoSource { root: manifest.root.clone() }),
    }
}

/// The paths of the prebuilt library and of the libraries that belong to it, whether they exist or not.
fn ready_made_inputs(manifest: &Manifest, binary: &Path) -> Inputs {
    let binary = manifest.root.join(binary);
    let mut files = places_of_libraries(&binary);
    files.insert(binary);
    Inputs { files, ..Inputs::default() }
}

fn whole_folder(manifest: &Manifest) -> Inputs {
    Inputs { dirs: [manifest.root.clone()].into(), ..Inputs::default() }
}
