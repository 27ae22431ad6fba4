//! From an artifact to an instance, by mode; and before that, to one on trial.

use crate::{
    artifact::{Artifact, Facts},
    error::ReloadCause,
    load::{
        Instance, LoadError, Speaker,
        in_process::{self, Opened},
        process::{self, Purpose, SavedBy, Start},
    },
    manifest::{Mode, Trial},
    preflight::Tried,
    registry::{self, LaneLease, Live, Note, NotedInterface, Step},
    reload::{Job, Workshop},
};
use replug_api::abi::Birth;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

/// One version on its way, as far as it is known before it is loaded.
pub(crate) struct Candidate<'a> {
    pub(crate) shop: &'a Workshop,
    pub(crate) job: &'a Job,
    pub(crate) artifact: &'a Artifact,
    pub(crate) facts: &'a Facts,
    /// The private copy, which is what is tried and what is loaded.
    pub(crate) copy: &'a Path,
}

impl Candidate<'_> {
    /// Runs the version through its beginning in a process that is thrown away, if its manifest wants that and this
    /// program can, and it has not passed before.
    pub(crate) fn try_out(&self) -> Result<(), ReloadCause> {
        let reload = &self.job.manifest.reload;
        let (Ok(program), true) = (&self.shop.program, reload.preflight != Trial::Off) else { return Ok(()) };
        let tried = self.tried();
        let on_death = Box::new(|_, _| ());
        let limits = self.job.manifest.limits;
        let start = Start { program, speaker: self.speaker(), limits, on_death };
        if reload.preflight == Trial::Load {
            if !self.shop.verdicts.has_passed(&tried) {
                process::open_only(start, self.birth()?)?;
                self.shop.verdicts.note(tried);
            }
            return Ok(());
        }
        let serving = self.job.entry.live().filter(|live| live.instance.stateful());
        let state: Option<SavedBy> = match serving {
            None => self.job.state.clone(),
            Some(live) => Some((live.instance.state_version(), live.save()?)),
        };
        if state.is_none() && self.shop.verdicts.has_passed(&tried) {
            return Ok(());
        }
        process::try_out(start, self.birth()?, state)?;
        self.shop.verdicts.note(tried);
        Ok(())
    }

    /// It passed its trial and does not come up: the verdict was worth nothing.
    pub(crate) fn doubt(&self) {
        self.shop.verdicts.forget(&self.tried());
    }

    fn tried(&self) -> Tried {
        Tried::new(self.artifact.digest, &self.job.manifest)
    }

    /// Makes the instance.
    pub(crate) fn bring_up(&self) -> Result<Arc<Live>, ReloadCause> {
        let mut lease = LaneLease::take()?;
        let instance = match self.job.manifest.mode {
            Mode::InProcess => Instance::InProcess(self.open(&mut lease)?),
            Mode::Process => {
                let program = self.shop.program.as_ref().map_err(Clone::clone)?;
                let on_death = (self.job.on_death)(self.job.generation);
                let limits = self.job.manifest.limits;
                let start = Start { program, speaker: self.speaker(), limits, on_death };
                Instance::Process(process::Instance::create(start, self.birth()?, Purpose::Serve)?)
            }
        };
        let of = registry::Birth {
            plugin: self.job.entry.id.clone(),
            generation: self.job.generation,
            digest: self.artifact.digest,
            private_bytes: self.facts.private_bytes,
            loaded_file_bytes: self.facts.loaded_file_bytes,
            lease,
        };
        Ok(Arc::new(Live::new(of, instance)))
    }

    fn open(&self, lease: &mut LaneLease) -> Result<in_process::Instance, ReloadCause> {
        // Before its constructors run: they may crash, too.
        self.note(lease, None);
        let marked = lease.mark(Step::Load);
        let opened = in_process::open(self.copy, self.facts.shared_std());
        drop(marked);
        // One that was opened and is refused stays mapped all the same.
        if !matches!(opened, Err(LoadError::Open { .. })) {
            self.shop.private_bytes.fetch_add(self.facts.private_bytes, Ordering::Relaxed);
        }
        let opened = opened?;
        self.note(lease, Some(&opened));
        let birth = Birth {
            id: self.job.entry.id.as_str().into(),
            generation: self.job.generation.0,
            data_dir: self.data_dir()?.to_string_lossy().as_ref().into(),
            config: self.job.manifest.config_json().into(),
            trial: false,
        };
        let _marked = lease.mark(Step::Init);
        Ok(opened.create(birth, self.speaker())?)
    }

    /// Says in the crash record who this is, as far as it is known.
    fn note(&self, lease: &mut LaneLease, opened: Option<&Opened>) {
        let Some(record) = &self.shop.crash_record else { return };
        let noted = |(name, methods)| NotedInterface { name, methods };
        let note = Note {
            plugin: self.job.entry.id.clone(),
            generation: self.job.generation,
            digest: self.artifact.digest,
            interfaces: opened.into_iter().flat_map(Opened::method_names).map(noted).collect(),
            mapped: opened.and_then(Opened::mapped),
        };
        if let Err(error) = lease.note(record, &note) {
            let (plugin, generation) = (&note.plugin, note.generation);
            tracing::warn!("{plugin} {generation}: if it crashes this program, nothing will say so: {error}");
        }
    }

    fn birth(&self) -> Result<process::Birth, ReloadCause> {
        let manifest = &self.job.manifest;
        Ok(process::Birth {
            id: self.job.entry.id.clone(),
            generation: self.job.generation,
            path: self.copy.to_owned(),
            shared_std: self.facts.shared_std().map(Path::to_owned),
            data_dir: self.data_dir()?,
            config: manifest.config_json(),
            step_timeout: manifest.process.step_timeout,
            call_timeout: manifest.process.call_timeout,
            cancel_grace: manifest.process.cancel_grace,
            successor: Some(registry::successor(&self.job.entry)),
        })
    }

    fn speaker(&self) -> Speaker {
        Speaker {
            plugin: self.job.entry.id.clone(),
            generation: self.job.generation,
            digest: self.artifact.digest,
            events: self.shop.settings.events.downgrade(),
        }
    }

    fn data_dir(&self) -> Result<PathBuf, ReloadCause> {
        let id = &self.job.entry.id;
        self.shop.state.data(id).map_err(|source| ReloadCause::DataDir {
            path: self.shop.settings.state_dir.join("data").join(id.as_str()),
            source,
        })
    }
}
