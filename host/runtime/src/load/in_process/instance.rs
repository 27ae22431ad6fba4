//! One instance of a plugin in this process, and its lifecycle steps.

use super::{open::Opened, services, unload::Gone};
use crate::{
    interface::Offered,
    load::reporter::ReportSink,
    panic_location,
    registry::{
        ColumnLease, OneIn,
        body::{Body, LifecycleError, Retire, Traits},
    },
};
use abi_stable::std_types::RVec;
use libloading::os::unix::Library;
use replug_api::abi::{CreateParams, Descriptor, ErrorReport, Object, Outcome, PluginRootRef, Refusal};
use replug_model::{
    event::{LimitsInForce, RetireOutcome},
    limits::LimitsSpec,
    step::Step,
};
use replug_wire::{Call, Level};
use std::{
    mem::ManuallyDrop,
    path::{Path, PathBuf},
};

/// An instance of a plugin in this process, made by `Plugin::init`.
///
/// Dropping this value without [`Instance::destroy`] leaks the author's value, so that no destructor of the host runs
/// the author's code.
pub(crate) struct Instance {
    plugin: String,
    library: ManuallyDrop<Library>,
    root: PluginRootRef,
    descriptor: Descriptor,
    path: PathBuf,
    object: Object,
    offered: Vec<Offered>,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("plugin", &self.plugin)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Opened {
    /// Creates an instance: connects the plugin to the host, and runs `Plugin::init`.
    pub(crate) fn create(
        self,
        params: CreateParams,
        reporter: impl ReportSink,
    ) -> Result<Instance, LifecycleError> {
        let plugin = params.id.to_string();
        let services = services::services(&self.path, reporter, self.root.hook_panics());
        services::attach(self.root.attach(), services);
        let made = judge(&plugin, Step::Init, self.root.create()(params))?;
        let offered = made.interfaces.iter().map(|&bound| {
            let json = (bound.export.describe)();
            let description = serde_json::from_str(&json).map_err(|error| LifecycleError {
                plugin: plugin.clone(),
                step: Step::Describe,
                message: format!("the description of `{}` cannot be read: {error}", bound.export.name),
                code: "bad_description".into(),
                details: String::new(),
            })?;
            // SAFETY: 1: `bound` is an interface of the instance that was just created. This instance will own the
            // result. Only `destroy` drops the parts of the instance, and it takes the instance by value.
            Ok(unsafe { Offered::here(description, bound) })
        });
        let offered = offered.collect::<Result<_, LifecycleError>>()?;
        let Self { library, root, descriptor, path, .. } = self;
        Ok(Instance { plugin, library, root, descriptor, path, object: made.object, offered })
    }
}

impl Instance {
    /// The private copy from which the library was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a call with encoded arguments; `None` if there is no such method.
    pub(crate) fn invoke(&self, call: &Call<'_>) -> Option<Outcome<RVec<u8>, Refusal>> {
        let offered = self.offered.get(usize::from(call.interface))?;
        let is_there = (call.method as usize) < offered.method_count();
        is_there.then(|| offered.invoke(call.method, call.encoding, call.arguments))
    }

    /// Drops the author's value. The caller guarantees that no call runs in the instance and that none will begin.
    pub(crate) fn destroy(self) -> (Gone, Result<(), LifecycleError>) {
        // SAFETY: 1: as for `start`. 2: this method consumes `self`, so nothing borrows from the instance afterwards.
        // Copies of its interfaces exist only in call tables, which `registry` drops before it destroys the instance.
        let outcome = self.judge(Step::Drop, unsafe { self.root.destroy()(self.object) });
        (Gone { library: self.library, path: self.path }, outcome)
    }

    fn judge<T>(&self, step: Step, outcome: Outcome<T, ErrorReport>) -> Result<T, LifecycleError> {
        judge(&self.plugin, step, outcome)
    }
}

impl Body for Instance {
    fn traits(&self) -> Traits {
        Traits {
            outside_the_process: false,
            attributable: true,
            interruptible: false,
            steps_have_a_deadline: false,
            settings_are_fixed: false,
            timed_one_in: OneIn::SAMPLED,
        }
    }

    fn offered(&self) -> &[Offered] {
        &self.offered
    }

    fn stateful(&self) -> bool {
        self.descriptor.stateful
    }

    fn state_version(&self) -> u32 {
        self.descriptor.state_version
    }

    fn start(&self) -> Result<(), LifecycleError> {
        // SAFETY: 1: `create` of the same library has made the object. 2: `destroy` takes the instance by value, and
        // the instance is borrowed here.
        self.judge(Step::Start, unsafe { self.root.start()(self.object) })
    }

    fn stop(&self) -> Result<(), LifecycleError> {
        // SAFETY: 1 and 2: as for `start`.
        self.judge(Step::Stop, unsafe { self.root.stop()(self.object) })
    }

    fn health(&self) -> Result<(bool, String), LifecycleError> {
        // SAFETY: 1 and 2: as for `start`.
        let report = self.judge(Step::Health, unsafe { self.root.health()(self.object) })?;
        Ok((report.healthy, report.message.to_string()))
    }

    fn configure(&self, config: &str) -> Result<(), LifecycleError> {
        // SAFETY: 1 and 2: as for `start`.
        self.judge(Step::OnConfig, unsafe { self.root.configure()(self.object, config.into()) })
    }

    fn save(&self) -> Result<Vec<u8>, LifecycleError> {
        // SAFETY: 1 and 2: as for `start`.
        Ok(self.judge(Step::Save, unsafe { self.root.save()(self.object) })?.to_vec())
    }

    fn restore(&self, from_version: u32, state: &[u8]) -> Result<(), LifecycleError> {
        // SAFETY: 1 and 2: as for `start`.
        self.judge(Step::Restore, unsafe { self.root.restore()(self.object, from_version, state.into()) })
    }

    fn set_max_level(&self, level: Level) {
        self.root.set_max_level()(level.0);
    }

    /// The requested limits, none of which is in force: they would apply to the host's own process.
    fn limits(&self, asked: LimitsSpec) -> Option<LimitsInForce> {
        none_in_force(&asked.keys())
    }

    /// Has no effect: calls in this process cannot be aborted.
    fn interrupt(&self, _: &str) {}

    fn retire(self: Box<Self>, how: Retire<'_>) -> RetireOutcome {
        self.retire_from(how)
    }

    fn discard(self: Box<Self>, lease: &ColumnLease) {
        drop(self.drop_marked(lease));
    }
}

/// The report that these limits are not in force in the host's own process.
fn none_in_force(asked: &[&str]) -> Option<LimitsInForce> {
    let keys: Vec<_> = asked.iter().map(|key| format!("`{key}`")).collect();
    let are = match keys.len() {
        0 => return None,
        1 => "is",
        _ => "are",
    };
    let lacking = format!(
        "{} {are} not in force in the host's own process, where the plugin runs; `mode = \"process\"` runs it in a process with limits",
        keys.join(", ")
    );
    Some(LimitsInForce { lacking: vec![lacking], ..LimitsInForce::default() })
}

fn judge<T>(plugin: &str, step: Step, outcome: Outcome<T, ErrorReport>) -> Result<T, LifecycleError> {
    let plugin = plugin.to_owned();
    match outcome {
        Outcome::Returned(value) => Ok(value),
        Outcome::Refused(report) => Err(LifecycleError {
            plugin,
            step,
            message: report.message.to_string(),
            code: report.code.to_string(),
            details: report.details.to_string(),
        }),
        Outcome::Panicked(panic) => Err(LifecycleError {
            plugin,
            step,
            message: panic.message().to_string(),
            code: LifecycleError::PANICKED.into(),
            details: panic_location::take(panic.message()).unwrap_or_default(),
        }),
        Outcome::Lost => Err(LifecycleError {
            plugin,
            step,
            message: "the plugin reports that its own answer was lost; rebuild the plugin".into(),
            code: "lost".into(),
            details: String::new(),
        }),
    }
}
