//! Makes a generation: loads an artifact into this process or a child process, and makes a [`Live`].

use super::{
    HostReporter, LoadError,
    in_process::{self, Opened, static_tls_order, take_static_tls},
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
        Err(LoadError::Open { .. } | LoadError::NoStaticTls { .. } | LoadError::OtherStd { .. })
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
        // The note is written before the library's constructors run, because they may crash, too.
        note(&mut lease, (&identity, &spec), None);
        let opened = observer.take(Step::Load, || {
            let _marked = lease.mark(Step::Load);
            let _order = static_tls_order();
            let opened = in_process::open(spec.path, spec.shared_std);
            if is_mapped(&opened) {
                take_static_tls(spec.path, spec.static_tls_bytes);
            }
            Ok::<_, O::Error>(opened)
        })?;
        if is_mapped(&opened) {
            observer.mapped();
        }
        let opened = opened?;
        opened.contains_panics()?;
        note(&mut lease, (&identity, &spec), Some(&opened));
        let params = abi::CreateParams {
            id: identity.plugin.as_str().into(),
            generation: identity.generation.0,
            data_dir: spec.data_dir.to_string_lossy().as_ref().into(),
            config: spec.config.into(),
            trial: false,
        };
        let instance = observer.take(Step::Init, || {
            let _marked = lease.mark(Step::Init);
            opened.create(params, spec.reporter)
        })?;
        Ok(Self::new(identity, lease, Box::new(instance)))
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

/// Writes a note about the generation into the crash record, with the interfaces and addresses if the library is open.
fn note(lease: &mut ColumnLease, (identity, spec): (&Identity, &LoadSpec<'_>), opened: Option<&Opened>) {
    let Some(record) = spec.crash_record else { return };
    let noted = |(name, methods)| NotedInterface { name, methods };
    let note = Note {
        plugin: identity.plugin.clone(),
        generation: identity.generation,
        digest: identity.digest,
        interfaces: opened.into_iter().flat_map(Opened::method_names).map(noted).collect(),
        mapped: opened.and_then(Opened::mapped),
        origin: spec.origin.clone(),
    };
    if let Err(error) = lease.note(record, &note) {
        let (plugin, generation) = (&note.plugin, note.generation);
        tracing::warn!(
            "{plugin} {generation}: if it crashes this program, the crash cannot be attributed to it: {error}"
        );
    }
}
