//! Runs an artifact in a trial, and then makes an instance of it, in this process or in a child process. The manifest's
//! `mode`, earlier crashes of the artifact, the result of the trial and the limits of this process determine in which.

use crate::{
    artifact::{Artifact, Facts},
    context::Context,
    demotion::Demotion,
    error::ReloadCause,
    event::Stage,
    job::Job,
    lifecycle::AfterCrash,
    load::{
        HostReporter, LoadError, LoadSpec, Observer, Unloading,
        process::{self, Environment, ProcessSpec, SavedBy, Start},
    },
    manifest::{Mode, Trial, Unload},
    overdue::Overdue,
    preflight::{self, PreflightError, Tried},
    registry::{CodeOrigin, Identity, Live},
    step::Step,
};
use replug_api::call::Death;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

/// Where a version runs.
#[derive(Debug)]
pub(crate) enum Place {
    /// In this process.
    Inside,
    /// In a child process. Without a [`Moved`], the manifest requires a child process.
    Outside(Option<Moved>),
}

/// Why a version with `mode = "auto"` runs in a child process.
#[derive(Debug)]
pub(crate) enum Moved {
    /// The artifact has crashed before.
    Crashed(Demotion),
    /// The artifact would exceed a limit of this process.
    Unaffordable(PreflightError),
    /// The artifact cannot be loaded into this process, which has too little static thread-local storage left, or has
    /// loaded a different standard library.
    NoRoom(LoadError),
    /// A panic in the plugin would abort this process.
    PanicAborts,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crashed(demotion) => write!(f, "{demotion}"),
            // The messages of these errors advise the user to run the plugin in a child process. The host already does
            // that, so it writes messages without the advice.
            Self::NoRoom(LoadError::NoStaticTls { reason, .. }) => {
                write!(f, "the host cannot load it: it has too little static TLS left: {reason}")
            }
            Self::NoRoom(LoadError::OtherStd { needed, loaded, .. }) => write!(
                f,
                "the host cannot load it: it needs the standard library {}, and the host has loaded a different library of that name, {}",
                needed.display(),
                loaded.display()
            ),
            Self::NoRoom(error) => write!(f, "the host cannot load it: {error}"),
            Self::Unaffordable(error) => write!(f, "it would exceed a limit of the host: {error}"),
            Self::PanicAborts => {
                write!(f, "it was built with `panic = \"abort\"`, and a panic in it would crash the host")
            }
        }
    }
}

impl Place {
    /// Decides where the version runs, from the facts that are known before the trial.
    ///
    /// # Errors
    ///
    /// The reason why the version must not run.
    pub(crate) fn of(
        context: &Context,
        job: &Job,
        (artifact, facts): (&Artifact, &Facts),
    ) -> Result<Self, ReloadCause> {
        if let Some(reason) = job.quarantined.get(&artifact.digest) {
            return Err(ReloadCause::LeftAlone(reason.clone()));
        }
        let mode = job.manifest.mode;
        if mode == Mode::Process {
            return Ok(Self::Outside(None));
        }
        if let Some(demotion) = context.demotions.of(&job.entry.id, artifact.digest) {
            let demotion = Demotion { what: job.after_crash.into(), ..demotion };
            return match job.after_crash {
                AfterCrash::Outside => Ok(Self::Outside(Some(Moved::Crashed(demotion)))),
                AfterCrash::Nowhere => Err(ReloadCause::Quarantined(Box::new(demotion))),
            };
        }
        match preflight::check_budget(artifact, facts, &context.budget()) {
            Ok(()) => Ok(Self::Inside),
            Err(error) if can_move(context, mode) => Ok(Self::Outside(Some(Moved::Unaffordable(error)))),
            Err(error) => Err(error.into()),
        }
    }

    /// Why the version runs in a child process, although its manifest prefers the host's process.
    pub(crate) fn moved(self) -> Option<Moved> {
        match self {
            Self::Inside => None,
            Self::Outside(moved) => moved,
        }
    }
}

/// Whether a version that cannot run in the host's process may run in a child process: its mode allows that, and this
/// host can start child processes.
fn can_move(context: &Context, mode: Mode) -> bool {
    mode == Mode::Auto && context.program.is_ok()
}

/// A version that is about to be loaded, and the facts about it.
pub(crate) struct Candidate<'a> {
    pub(crate) context: &'a Context,
    pub(crate) job: &'a Job,
    pub(crate) artifact: &'a Artifact,
    pub(crate) facts: &'a Facts,
    pub(crate) place: Place,
    /// The private copy of the artifact, which the trial uses and which is then loaded.
    pub(crate) copy: &'a Path,
}

const SAVING_FOR_TRIAL: Overdue =
    Overdue { stage: Stage::Preflight, step: Step::Save, rest: "the previous version keeps serving" };

impl Candidate<'_> {
    /// Runs the trial of the version in a throwaway process. The trial is skipped if the manifest turns it off, or if
    /// this program cannot run trials. A trial that restores no state is also skipped if the version has passed the
    /// same trial before. The trial also determines whether a panic in the plugin unwinds, which may change where
    /// the version runs.
    pub(crate) fn try_out(&mut self) -> Result<(), ReloadCause> {
        let reload = &self.job.manifest.reload;
        if self.context.program.is_err() || reload.preflight == Trial::Off {
            return Ok(());
        }
        let tried = self.tried();
        if reload.preflight == Trial::Load {
            let passed = self.context.verdicts.of(&tried);
            let found = match passed {
                Some(found) => found,
                None => process::open_only(self.start(Box::new(|_, _| ()))?, self.spec()?)?,
            };
            self.context.verdicts.note(tried, found);
            return self.apply_report(found);
        }
        let state: Option<SavedBy> = match self.job.entry.live() {
            None => self.job.state.clone(),
            Some(live) if !live.stateful() => None,
            Some(live) => {
                let saved = self.job.step((&live, SAVING_FOR_TRIAL), || live.save())?;
                Some((live.state_version(), saved))
            }
        };
        let passed = self.context.verdicts.of(&tried).filter(|_| state.is_none());
        let found = match passed {
            Some(found) => found,
            None => process::try_out(self.start(Box::new(|_, _| ()))?, self.spec()?, state)?,
        };
        self.context.verdicts.note(tried, found);
        self.apply_report(found)
    }

    /// Discards the result of the trial, because the version passed the trial but failed to start. The next attempt
    /// repeats the trial.
    pub(crate) fn forget_verdict(&self) {
        self.context.verdicts.forget(&self.tried());
    }

    fn tried(&self) -> Tried {
        let env = match self.environment() {
            Environment::Own(env) => Some(env),
            Environment::Host => None,
        };
        Tried::new(self.artifact.digest, &self.job.manifest, env)
    }

    /// The environment variables with which the version will run. Its trial uses the same variables.
    fn environment(&self) -> Environment<'_> {
        match self.place {
            Place::Inside => Environment::Host,
            Place::Outside(_) => Environment::Own(&self.job.manifest.process.env),
        }
    }

    /// Moves the version to a child process if the trial has shown that its panics do not unwind.
    fn apply_report(&mut self, found: process::TrialReport) -> Result<(), ReloadCause> {
        match self.place {
            Place::Inside if !found.panic_unwinds => {
                self.move_out((LoadError::PanicAborts { path: self.copy.to_owned() }, |_| Moved::PanicAborts))
            }
            Place::Inside | Place::Outside(_) => Ok(()),
        }
    }

    /// Moves the version to a child process because it cannot run in this process. Returns the error if the manifest
    /// does not allow the move.
    fn move_out(&mut self, why: (LoadError, fn(LoadError) -> Moved)) -> Result<(), ReloadCause> {
        let (error, moved) = why;
        if !can_move(self.context, self.job.manifest.mode) {
            return Err(error.into());
        }
        self.place = Place::Outside(Some(moved(error)));
        Ok(())
    }

    /// Makes the instance.
    pub(crate) fn bring_up(&mut self) -> Result<Arc<Live>, ReloadCause> {
        let live = match self.place {
            Place::Inside => match self.bring_in() {
                // These errors depend on this process, so the trial, which runs in a process of its own, cannot detect
                // them.
                Err(ReloadCause::Load(
                    error @ (LoadError::NoStaticTls { .. } | LoadError::OtherStd { .. }),
                )) => {
                    self.move_out((error, Moved::NoRoom))?;
                    self.bring_up_outside()?
                }
                Err(ReloadCause::Load(error @ LoadError::PanicAborts { .. })) => {
                    self.move_out((error, |_| Moved::PanicAborts))?;
                    self.bring_up_outside()?
                }
                live => live?,
            },
            Place::Outside(_) => self.bring_up_outside()?,
        };
        Ok(Arc::new(live))
    }

    /// Makes the instance in this process.
    fn bring_in(&self) -> Result<Live, ReloadCause> {
        let source = LoadSpec {
            path: self.copy,
            shared_std: self.facts.shared_std(),
            static_tls_bytes: self.facts.static_tls_bytes,
            unloading: self.unloading(),
            data_dir: self.data_dir()?,
            config: self.job.manifest.config_json(),
            reporter: self.reporter(),
            crash_record: self.context.crash_record.as_ref(),
            origin: CodeOrigin::of(
                &self.artifact.path,
                self.artifact.companions.file,
                &self.job.manifest.root,
            ),
        };
        Live::load_in_process(self.identity(), source, self)
    }

    /// The facts that decide whether the library can be unmapped. `None` if the manifest says that it stays mapped.
    fn unloading(&self) -> Option<Unloading> {
        let Facts { nodelete, tls_destructors, .. } = *self.facts;
        let unloads = self.job.manifest.reload.unload == Unload::Verified;
        unloads.then_some(Unloading { nodelete, tls_destructors })
    }

    /// Makes the instance in a child process.
    fn bring_up_outside(&self) -> Result<Live, ReloadCause> {
        let on_death = (self.job.on_death)((self.job.generation, self.artifact.digest));
        let child = (self.start(on_death)?, self.spec()?);
        Live::load_in_child(self.identity(), &self.job.entry, child)
    }

    /// The settings with which the child process is started.
    fn start(&self, on_death: Box<dyn FnOnce(Death, String) + Send>) -> Result<Start<'_>, ReloadCause> {
        Ok(Start {
            process: ProcessSpec {
                program: self.context.program.as_ref().map_err(Clone::clone)?,
                plugin: self.job.entry.id.clone(),
                generation: self.job.generation,
                limits: self.job.manifest.limits,
                environment: self.environment(),
                static_tls_bytes: self.facts.static_tls_bytes,
            },
            spares: self.job.spares.as_deref(),
            reporter: self.reporter(),
            lane: self.job.manifest.process.lane,
            on_death,
        })
    }

    fn identity(&self) -> Identity {
        Identity {
            plugin: self.job.entry.id.clone(),
            generation: self.job.generation,
            digest: self.artifact.digest,
            private_bytes: self.facts.private_bytes,
            static_tls_bytes: self.facts.static_tls_bytes,
            loaded_file_bytes: self.facts.loaded_file_bytes,
        }
    }

    /// The parameters that the child process gets for its instance.
    fn spec(&self) -> Result<process::InstanceSpec, ReloadCause> {
        let manifest = &self.job.manifest;
        Ok(process::InstanceSpec {
            id: self.job.entry.id.clone(),
            generation: self.job.generation,
            path: self.copy.to_owned(),
            shared_std: self.facts.shared_std().map(Path::to_owned),
            data_dir: self.data_dir()?,
            config: manifest.config_json(),
            step_timeout: manifest.process.step_timeout,
            call_timeout: manifest.process.call_timeout,
            cancel_grace: manifest.process.cancel_grace,
        })
    }

    fn reporter(&self) -> HostReporter {
        let of = (self.job.entry.id.clone(), self.job.generation, self.artifact.digest);
        HostReporter::new(of, self.context.settings.events.downgrade(), self.context.log_bound.clone())
    }

    fn data_dir(&self) -> Result<PathBuf, ReloadCause> {
        let id = &self.job.entry.id;
        self.context.state.data(id).map_err(|source| ReloadCause::DataDir {
            path: self.context.settings.state_dir.join("data").join(id.as_str()),
            source,
        })
    }
}

impl Observer for Candidate<'_> {
    type Error = ReloadCause;

    fn take<T, E: Into<ReloadCause>>(
        &self,
        step: Step,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, ReloadCause> {
        self.job.steps.take(Overdue::fresh(Stage::Load, step), run)
    }

    fn mapped(&self) {
        self.context.private_bytes.fetch_add(self.facts.private_bytes, Ordering::Relaxed);
    }
}
