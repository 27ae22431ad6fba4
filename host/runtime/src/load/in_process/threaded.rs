//! An instance whose code runs only on threads of its own: for `unload = "verified"`.

use super::{
    call_context::CallContext,
    call_threads::CallThreads,
    instance::Instance,
    unload::{Gone, Unloading},
};
use crate::{
    interface::Offered,
    load::warn,
    panic_location,
    registry::{
        ColumnLease, ColumnMarks, Identity, MAX_DEPTH, OneIn,
        body::{Body, LifecycleError, Retire, Traits, Unmap},
        clear_away, stack_left,
    },
};
use abi_stable::std_types::RVec;
use replug_api::{
    CallError,
    abi::{Encoding, Outcome, Refusal},
    describe::Interface,
    remote::{Remote, RemoteObject, Reply},
};
use replug_model::{
    event::{LimitsInForce, RetireOutcome},
    id::{Generation, PluginId},
    limits::LimitsSpec,
    step::Step,
};
use replug_wire::{Call, Level};
use std::{io, sync::Arc};

/// An instance in this process, and the threads on which its code runs.
///
/// Its interfaces work like those of a plugin in another process: arguments and results are passed between the caller's
/// thread and the instance's thread as bytes. So no value of the plugin reaches a thread of the host.
pub(crate) struct ThreadedInstance {
    own: Arc<Own>,
    offered: Vec<Offered>,
    unloading: Unloading,
}

struct Own {
    plugin: PluginId,
    generation: Generation,
    instance: Arc<Instance>,
    threads: CallThreads,
    marks: ColumnMarks,
}

/// The result of a step that drops the instance.
type Destroyed = (Gone, Result<(), LifecycleError>);

impl ThreadedInstance {
    /// `instance` was made on one of the threads.
    pub(crate) fn new(
        of: &Identity,
        instance: Instance,
        (threads, marks): (CallThreads, ColumnMarks),
        unloading: Unloading,
    ) -> Self {
        let descriptions: Vec<_> = instance.offered().iter().map(|it| it.description().clone()).collect();
        let (plugin, generation) = (of.plugin.clone(), of.generation);
        let own = Arc::new(Own { plugin, generation, instance: Arc::new(instance), threads, marks });
        let offered = descriptions.into_iter().enumerate().map(|(index, interface)| {
            let remote = ThreadedInterface { own: own.clone(), index, interface: interface.clone() };
            Offered::elsewhere(interface, RemoteObject::new(remote))
        });
        Self { offered: offered.collect(), own, unloading }
    }

    fn step<T: Send + 'static>(
        &self,
        step: Step,
        run: impl FnOnce(&Instance) -> Result<T, LifecycleError> + Send + 'static,
    ) -> Result<T, LifecycleError> {
        let (instance, marks) = (self.own.instance.clone(), self.own.marks);
        let work = move || {
            let _marked = marks.step(step);
            run(&instance)
        };
        self.own.threads.run(work).unwrap_or_else(|error| {
            Err(LifecycleError {
                plugin: self.own.plugin.to_string(),
                step,
                message: no_thread(&error),
                code: "no_thread".into(),
                details: String::new(),
            })
        })
    }

    /// Drops the author's value and ends the threads. `None` if the value could not be dropped.
    fn destroy(self) -> Option<(Gone, RetireOutcome)> {
        let Self { own, offered, .. } = self;
        // No call runs, and the interfaces have the only other references to the instance and its threads.
        drop(offered);
        let Own { instance, threads, marks, .. } = Arc::into_inner(own)?;
        let instance = Arc::into_inner(instance)?;
        let destroy = move || -> Destroyed {
            let _marked = marks.step(Step::Drop);
            instance.destroy()
        };
        let destroyed = threads.run(destroy);
        // The threads run the destructors of their thread-locals.
        drop(threads);
        let (gone, outcome) = destroyed.inspect_err(|error| tracing::warn!("{}", no_thread(error))).ok()?;
        warn(outcome.clone());
        Some((gone, outcome.map_or(RetireOutcome::DropPanicked, |()| RetireOutcome::Kept)))
    }
}

/// The reason why code did not run.
fn no_thread(error: &io::Error) -> String {
    format!("no thread could be started for it: {error}; raise the limit on threads or on address space")
}

impl Body for ThreadedInstance {
    fn traits(&self) -> Traits {
        // Each call is timed: compared with the switch to another thread, reading a clock takes little time.
        Traits { timed_one_in: OneIn::ONE, ..self.own.instance.traits() }
    }

    fn offered(&self) -> &[Offered] {
        &self.offered
    }

    fn stateful(&self) -> bool {
        self.own.instance.stateful()
    }

    fn state_version(&self) -> u32 {
        self.own.instance.state_version()
    }

    fn start(&self) -> Result<(), LifecycleError> {
        self.step(Step::Start, Instance::start)
    }

    fn stop(&self) -> Result<(), LifecycleError> {
        self.step(Step::Stop, Instance::stop)
    }

    fn health(&self) -> Result<(bool, String), LifecycleError> {
        self.step(Step::Health, Instance::health)
    }

    fn configure(&self, config: &str) -> Result<(), LifecycleError> {
        let config = config.to_owned();
        self.step(Step::OnConfig, move |instance| instance.configure(&config))
    }

    fn save(&self) -> Result<Vec<u8>, LifecycleError> {
        self.step(Step::Save, Instance::save)
    }

    fn restore(&self, from_version: u32, state: &[u8]) -> Result<(), LifecycleError> {
        let state = state.to_owned();
        self.step(Step::Restore, move |instance| instance.restore(from_version, &state))
    }

    fn set_max_level(&self, level: Level) {
        let instance = self.own.instance.clone();
        // If no thread can be started, the plugin keeps its level, and the host's reporter drops what is too verbose.
        let _ = self.own.threads.run(move || instance.set_max_level(level));
    }

    fn limits(&self, asked: LimitsSpec) -> Option<LimitsInForce> {
        self.own.instance.limits(asked)
    }

    /// Has no effect: calls in this process cannot be aborted.
    fn interrupt(&self, _: &str) {}

    fn retire(self: Box<Self>, how: Retire<'_>) -> RetireOutcome {
        clear_away(self.own.instance.path(), how.loaded_file_bytes);
        warn(self.stop());
        let (unloading, marks) = (self.unloading, self.own.marks);
        match (self.destroy(), how.unmap) {
            (Some((gone, RetireOutcome::Kept)), Unmap::Within(patience)) => {
                gone.unload(unloading, patience, marks)
            }
            (Some((_, outcome)), _) => outcome,
            (None, _) => RetireOutcome::Kept,
        }
    }

    fn discard(self: Box<Self>, _: &ColumnLease) {
        drop(self.destroy());
    }
}

/// One interface of an instance whose code runs on threads of its own.
struct ThreadedInterface {
    own: Arc<Own>,
    /// The position of the interface in `export!`.
    index: usize,
    interface: Interface,
}

impl Remote for ThreadedInterface {
    fn plugin(&self) -> &str {
        self.own.plugin.as_str()
    }

    fn stack_left(&self) -> Option<usize> {
        stack_left()
    }

    fn invoke(&self, method: u32, encoding: Encoding, arguments: &[u8]) -> Result<Reply, CallError> {
        let context = CallContext::of_this_thread();
        if context.depth() > MAX_DEPTH {
            return Err(CallError::TooDeep { plugin: self.own.plugin.to_string(), depth: MAX_DEPTH });
        }
        let Own { instance, threads, marks, .. } = &*self.own;
        let (instance, marks, index) = (instance.clone(), *marks, self.index);
        let arguments = arguments.to_owned();
        let work = move || {
            let _marked = marks.call(index, method);
            let interface = index.try_into().unwrap_or(u16::MAX);
            let outcome = instance.invoke(&Call { interface, method, encoding, arguments: &arguments });
            Answered::of(outcome)
        };
        let answered = threads.run_in(context, work).map_err(|error| CallError::NotRunning {
            plugin: self.own.plugin.to_string(),
            reason: no_thread(&error),
        })?;
        self.reply(method, answered)
    }
}

/// The outcome of a call, in values of the host.
enum Answered {
    Reply(Reply),
    Panicked { message: String, location: Option<String> },
    Lost,
    NoSuchMethod,
}

impl Answered {
    /// Converts an outcome. Must be called on the thread of the call, because the plugin's code frees the values of the
    /// outcome.
    fn of(outcome: Option<Outcome<RVec<u8>, Refusal>>) -> Self {
        let refused = |refusal| Self::Reply(Reply::Refused(refusal));
        match outcome {
            None => Self::NoSuchMethod,
            Some(Outcome::Returned(bytes)) => Self::Reply(Reply::Returned(bytes.to_vec())),
            Some(Outcome::Refused(Refusal::Error(bytes))) => refused(Refusal::Error(bytes.to_vec().into())),
            Some(Outcome::Refused(Refusal::BadArguments(text))) => {
                refused(Refusal::BadArguments(text.as_str().into()))
            }
            Some(Outcome::Refused(Refusal::BadResult(text))) => {
                refused(Refusal::BadResult(text.as_str().into()))
            }
            Some(Outcome::Panicked(panic)) => {
                let message = panic.message().to_string();
                Self::Panicked { location: panic_location::take(&message), message }
            }
            Some(Outcome::Lost) => Self::Lost,
        }
    }
}

impl ThreadedInterface {
    fn reply(&self, method: u32, answered: Answered) -> Result<Reply, CallError> {
        let Own { plugin, generation, .. } = &*self.own;
        let (plugin, generation) = (plugin.to_string(), generation.0);
        let name = self.interface.methods.get(method as usize).map(|method| method.name.clone());
        let name = name.unwrap_or_else(|| format!("method {method}"));
        match answered {
            Answered::Reply(reply) => Ok(reply),
            Answered::Panicked { message, location } => Err(CallError::Panicked {
                plugin,
                generation,
                method: name,
                message,
                location: location.unwrap_or_else(|| "location unknown".into()),
            }),
            Answered::NoSuchMethod => Err(CallError::NotImplemented { plugin, generation, method: name }),
            Answered::Lost => Err(CallError::BadResult {
                plugin,
                method: name,
                message: "it returned no result; rebuild the plugin if this happens again".into(),
            }),
        }
    }
}
