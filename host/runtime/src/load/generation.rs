//! Makes a generation: loads an artifact into this process or a child process, and makes a [`Live`].

use super::{
    HostReporter, LoadError,
    in_process::{self, CallThreads, Opened, ThreadedInstance, Unloading, static_tls_order, take_static_tls},
    process::{self, ProcessError, Purpose, Start},
};
use crate::registry::{
    CodeOrigin, ColumnLease, CrashRecord, Entry, Identity, Live, TooManyGenerations,
    body::{Body, LifecycleError},
    crash_record::{Note, NotedInterface},
    successor,
};
use replug_api::abi;
use replug_model::step::Step;
use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The parameters for loading a generation into this process.
pub struct LoadSpec<'a> {
    /// The private copy of the artifact.
    pub path: &'a Path,
    /// The standard library that the artifact links, if it is a shared one.
    pub shared_std: Option<&'a Path>,
    /// The static thread-local storage that the artifact takes, in bytes.
    pub static_tls_bytes: u64,
    /// Set if the library is going to be unmapped. Then all code of the generation runs on threads of its own.
    pub unloading: Option<Unloading>,
    /// The folder for the plugin's own data.
    pub data_dir: PathBuf,
    /// `[config]` as JSON.
    pub config: String,
    /// Receives the plugin's logs and panics.
    pub reporter: HostReporter,
    /// The crash record that names the plugin if it crashes this process.
    pub crash_record: Option<&'a CrashRecord>,
    /// The artifact and its sources, in which the reader of the crash record looks up source lines.
    pub origin: Option<CodeOrigin>,
}

/// Executes and observes the steps by which a generation is loaded into this process.
pub trait Observer {
    /// The error with which loading fails.
    type Error: From<TooManyGenerations> + From<LoadError> + From<LifecycleError>;

    /// Executes a step that runs the author's code and has no deadline of its own.
    ///
    /// # Errors
    ///
    /// * The error of the step
    /// * The observer's own error, if it rejects the step
    fn take<T, E: Into<Self::Error>>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Self::Error>;

    /// Called when the library is mapped. The library stays mapped even if a later step fails.
    fn mapped(&self);
}

/// Whether the library is mapped: a library that was opened stays mapped, even if it was rejected afterwards.
fn is_mapped(opened: &Result<Opened, LoadError>) -> bool {
    !matches!(
        opened,
        Err(LoadError::Open { .. }
            | LoadError::NoStaticTls { .. }
            | LoadError::OtherStd { .. }
            | LoadError::NoThread { .. })
    )
}

impl Live {
    /// Loads an artifact into this process, and makes the instance.
    ///
    /// # Errors
    ///
    /// * [`TooManyGenerations`], [`LoadError`], [`LifecycleError`] of `init`, and the errors of the observer
    pub fn load_in_process<O: Observer>(
        identity: Identity,
        spec: LoadSpec<'_>,
        observer: &O,
    ) -> Result<Self, O::Error> {
        let mut lease = ColumnLease::take()?;
        let marks = lease.marks();
        let threads = spec.unloading.map(|_| CallThreads::new(thread_name(&identity)));
        // The note is written before the library's constructors run, because they may crash, too.
        note(&mut lease, (&identity, &spec), None);
        let (opened, code) = observer.take(Step::Load, || {
            let (path, shared_std) = (spec.path.to_owned(), spec.shared_std.map(Path::to_owned));
            let static_tls_bytes = spec.static_tls_bytes;
            let open = move || {
                let _marked = marks.step(Step::Load);
                let _order = static_tls_order();
                let opened = in_process::open(&path, shared_std.as_deref());
                if is_mapped(&opened) {
                    take_static_tls(&path, static_tls_bytes);
                }
                let code = opened.as_ref().ok().map(OpenedCode::of);
                (opened, code)
            };
            let opened = on_threads(threads.as_ref(), spec.path, open);
            Ok::<_, O::Error>(opened.unwrap_or_else(|error| (Err(error), None)))
        })?;
        if is_mapped(&opened) {
            observer.mapped();
        }
        let opened = opened?;
        opened.contains_panics()?;
        note(&mut lease, (&identity, &spec), code);
        let params = abi::CreateParams {
            id: identity.plugin.as_str().into(),
            generation: identity.generation.0,
            data_dir: spec.data_dir.to_string_lossy().as_ref().into(),
            config: spec.config.into(),
            trial: false,
        };
        let instance = observer.take(Step::Init, || {
            let reporter = spec.reporter;
            let create = move || {
                let _marked = marks.step(Step::Init);
                opened.create(params, reporter)
            };
            Ok::<_, O::Error>(on_threads(threads.as_ref(), spec.path, create)??)
        })?;
        let body: Box<dyn Body> = match threads.zip(spec.unloading) {
            None => Box::new(instance),
            Some((threads, unloading)) => {
                Box::new(ThreadedInstance::new(&identity, instance, (threads, marks), unloading))
            }
        };
        Ok(Self::new(identity, lease, body))
    }

    /// Starts a child process, loads an artifact there, and makes the instance. `entry` is the plugin's entry in the
    /// registry.
    ///
    /// # Errors
    ///
    /// * [`TooManyGenerations`], [`ProcessError`]
    pub fn load_in_child<E: From<TooManyGenerations> + From<ProcessError>>(
        identity: Identity,
        entry: &Arc<Entry>,
        (start, instance_spec): (Start<'_>, process::InstanceSpec),
    ) -> Result<Self, E> {
        let instance = process::Instance::create(start, instance_spec, Purpose::Serve(successor(entry)))?;
        Ok(Self::in_body(identity, Box::new(instance))?)
    }

    /// Makes the generation whose instance is in this body.
    ///
    /// # Errors
    ///
    /// * [`TooManyGenerations`]
    pub fn in_body(identity: Identity, body: Box<dyn Body>) -> Result<Self, TooManyGenerations> {
        Ok(Self::new(identity, ColumnLease::take()?, body))
    }
}

/// Runs code of the library on the threads of the generation, if it has any; otherwise, on the calling thread.
fn on_threads<T: Send + 'static>(
    threads: Option<&CallThreads>,
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LoadError> {
    let Some(threads) = threads else { return Ok(work()) };
    threads.run(work).map_err(|error| LoadError::NoThread { path: path.into(), reason: error.to_string() })
}

/// The name of a generation's threads. The kernel keeps its first 15 bytes.
fn thread_name(of: &Identity) -> String {
    let id = of.plugin.as_str();
    format!("{} {}", id.rsplit('.').next().unwrap_or(id), of.generation)
}

/// The interfaces and the addresses of an opened library.
struct OpenedCode {
    interfaces: Vec<NotedInterface>,
    mapped: Range<u64>,
}

impl OpenedCode {
    /// Runs code of the library.
    fn of(opened: &Opened) -> Self {
        let noted = |(name, methods)| NotedInterface { name, methods };
        Self {
            interfaces: opened.method_names().into_iter().map(noted).collect(),
            mapped: opened.mapped.clone(),
        }
    }
}

/// Writes a note about the generation into the crash record, with the interfaces and addresses if the library is open.
fn note(lease: &mut ColumnLease, (identity, spec): (&Identity, &LoadSpec<'_>), code: Option<OpenedCode>) {
    let Some(record) = spec.crash_record else { return };
    let (interfaces, mapped) = code.map(|it| (it.interfaces, Some(it.mapped))).unwrap_or_default();
    let note = Note {
        plugin: identity.plugin.clone(),
        generation: identity.generation,
        digest: identity.digest,
        interfaces,
        mapped,
        origin: spec.origin.clone(),
    };
    if let Err(error) = lease.note(record, &note) {
        let (plugin, generation) = (&note.plugin, note.generation);
        tracing::warn!(
            "{plugin} {generation}: if it crashes this program, the crash cannot be attributed to it: {error}"
        );
    }
}
