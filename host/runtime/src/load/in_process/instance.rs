//! One instance of a plugin in this process, and the calls of its life.

use super::{
    check::{InterfaceMismatch, fit, missing},
    extent, handlers,
    inside::{self, Inside},
    method::Method,
    open::Opened,
    services::{self, take_panic_location},
};
use crate::load::speaker::Listener;
use abi_stable::std_types::RVec;
use libloading::os::unix::Library;
use parking_lot::Mutex;
use replug_api::{
    abi::{
        Birth, BoundInterface, Descriptor, ErrorReport, InterfaceExport, Object, Outcome, PluginRootRef,
        Refusal,
    },
    describe::Interface,
};
use replug_wire::{Call, Level};
use std::{
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    time::Duration,
};

/// A step of a plugin's life went wrong: it refused, or panicked.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{step}` of {plugin} {}", self.what())]
pub struct LifecycleError {
    /// The plugin's id.
    pub plugin: String,
    /// The step: `init`, `start`, `stop`, `health`, `on_config`, `save`, `restore` or `drop`.
    pub step: &'static str,
    /// What the plugin says; for a panic its message.
    pub message: String,
    /// The plugin's code for it; for a panic `panicked`.
    pub code: String,
    /// JSON, or empty; for a panic the location.
    pub details: String,
}

replug_model::readable::readable!(LifecycleError);

impl LifecycleError {
    /// The code of an error that was a panic.
    pub const PANICKED: &'static str = "panicked";

    fn what(&self) -> String {
        let details = if self.details.is_empty() { String::new() } else { format!(" ({})", self.details) };
        if self.code == Self::PANICKED {
            format!("panicked: {}{details}", self.message)
        } else {
            format!("failed: {} [{}]{details}", self.message, self.code)
        }
    }
}

/// One interface of an instance, with its description.
struct Offered {
    bound: BoundInterface,
    description: Interface,
}

/// An instance that came up.
///
/// Dropped without `destroy`, it stays as it is: nothing of the author's runs in a destructor of ours.
pub struct Instance {
    plugin: String,
    library: ManuallyDrop<Library>,
    root: PluginRootRef,
    descriptor: Descriptor,
    path: PathBuf,
    object: Object,
    offered: Vec<Offered>,
    /// Interfaces of the host's that were found to fit.
    fitting: Mutex<Vec<(&'static InterfaceExport, BoundInterface)>>,
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
    /// Makes an instance: connects the plugin to the host, and runs `Plugin::init`.
    pub fn create(self, birth: Birth, speaker: impl Listener) -> Result<Instance, LifecycleError> {
        let plugin = birth.id.to_string();
        let services = services::services(&self.path, speaker, self.root.hook_panics());
        services::attach(self.root.attach(), services);
        let made = judge(&plugin, "init", self.root.create()(birth))?;
        let offered = made.interfaces.iter().map(|&bound| {
            let json = (bound.export.describe)();
            let description = serde_json::from_str(&json).map_err(|error| LifecycleError {
                plugin: plugin.clone(),
                step: "describe",
                message: format!("the description of `{}` cannot be read: {error}", bound.export.name),
                code: "bad_description".into(),
                details: String::new(),
            })?;
            Ok(Offered { bound, description })
        });
        let offered = offered.collect::<Result<_, LifecycleError>>()?;
        let Self { library, root, descriptor, path } = self;
        Ok(Instance {
            plugin,
            library,
            root,
            descriptor,
            path,
            object: made.object,
            offered,
            fitting: Mutex::default(),
        })
    }
}

impl Instance {
    /// Whether the plugin has state to hand over.
    pub fn stateful(&self) -> bool {
        self.descriptor.stateful
    }

    /// `Plugin::STATE_VERSION`
    pub fn state_version(&self) -> u32 {
        self.descriptor.state_version
    }

    /// The private copy it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The interfaces it implements, in the order of `export!`.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.offered.iter().map(|offered| &offered.description)
    }

    /// The interface that a typed handle of the host's wants, if it is offered in the host's form.
    pub(crate) fn interface(
        &self,
        wanted: &'static InterfaceExport,
    ) -> Result<BoundInterface, InterfaceMismatch> {
        let mut fitting = self.fitting.lock();
        if let Some((_, bound)) = fitting.iter().find(|(known, _)| std::ptr::eq(*known, wanted)) {
            return Ok(*bound);
        }
        let offered = self.offered.iter().find(|offered| offered.bound.export.name == wanted.name);
        let offered = offered.ok_or_else(|| missing(&self.plugin, wanted, self.interfaces()))?;
        fit(&self.plugin, wanted, (&offered.description, Some(offered.bound.export)))?;
        fitting.push((wanted, offered.bound));
        Ok(offered.bound)
    }

    /// The methods of all interfaces.
    pub(crate) fn methods(&self) -> impl Iterator<Item = Method<'_>> {
        self.offered.iter().flat_map(|Offered { bound, description }| {
            // SAFETY: 1: it is an interface of this instance, as is its description, and the instance is borrowed.
            (0..description.methods.len() as u32)
                .map(move |index| unsafe { Method::here(description, *bound, index) })
        })
    }

    /// `Plugin::start`
    pub(crate) fn start(&self) -> Result<(), LifecycleError> {
        // SAFETY: 1: the object is what `create` of the same library has made. 2: `destroy` takes the instance, which is
        // borrowed here.
        self.judge("start", unsafe { self.root.start()(self.object) })
    }

    /// `Plugin::stop`
    pub(crate) fn stop(&self) -> Result<(), LifecycleError> {
        // SAFETY: 1 and 2: as for `start`.
        self.judge("stop", unsafe { self.root.stop()(self.object) })
    }

    /// `Plugin::health`: whether it is well, and what it says.
    pub(crate) fn health(&self) -> Result<(bool, String), LifecycleError> {
        // SAFETY: 1 and 2: as for `start`.
        let report = self.judge("health", unsafe { self.root.health()(self.object) })?;
        Ok((report.healthy, report.message.to_string()))
    }

    /// `Plugin::on_config`
    pub(crate) fn configure(&self, config: &str) -> Result<(), LifecycleError> {
        // SAFETY: 1 and 2: as for `start`.
        self.judge("on_config", unsafe { self.root.configure()(self.object, config.into()) })
    }

    /// `Plugin::save`
    pub(crate) fn save(&self) -> Result<Vec<u8>, LifecycleError> {
        // SAFETY: 1 and 2: as for `start`.
        Ok(self.judge("save", unsafe { self.root.save()(self.object) })?.to_vec())
    }

    /// `Plugin::restore`
    pub(crate) fn restore(&self, from_version: u32, state: &[u8]) -> Result<(), LifecycleError> {
        // SAFETY: 1 and 2: as for `start`.
        self.judge("restore", unsafe { self.root.restore()(self.object, from_version, state.into()) })
    }

    /// Tells the plugin the most verbose level that is wanted.
    pub(crate) fn set_max_level(&self, level: Level) {
        self.root.set_max_level()(level.0);
    }

    /// Makes a call with encoded arguments; none if there is no such method.
    pub(crate) fn invoke(&self, call: &Call<'_>) -> Option<Outcome<RVec<u8>, Refusal>> {
        let bound = &self.offered.get(usize::from(call.interface))?.bound;
        bound.export.methods.get(call.method as usize)?;
        // SAFETY: 1: the interface is one of this instance. 2: `destroy` takes the instance, which is borrowed here.
        Some(unsafe {
            (bound.export.invoke)(bound.object, call.method, call.encoding, call.arguments.into())
        })
    }

    /// Drops the author's value. No call may be inside it, and none comes after.
    pub(crate) fn destroy(self) -> (Gone, Result<(), LifecycleError>) {
        // SAFETY: 1: as for `start`. 2: `self` is gone after it, and with it what was borrowed from it. Copies of its interfaces
        // are in records only, which `registry` drops before it takes the instance apart.
        let outcome = self.judge("drop", unsafe { self.root.destroy()(self.object) });
        (Gone { library: self.library, path: self.path }, outcome)
    }

    fn judge<T>(&self, step: &'static str, outcome: Outcome<T, ErrorReport>) -> Result<T, LifecycleError> {
        judge(&self.plugin, step, outcome)
    }
}

fn judge<T>(plugin: &str, step: &'static str, outcome: Outcome<T, ErrorReport>) -> Result<T, LifecycleError> {
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
            details: take_panic_location(panic.message()).unwrap_or_default(),
        }),
        Outcome::Lost => Err(LifecycleError {
            plugin,
            step,
            message: "the plugin says that its own answer was lost; rebuild it".into(),
            code: "lost".into(),
            details: String::new(),
        }),
    }
}

/// A library whose instance is gone. Stays mapped when dropped.
pub(crate) struct Gone {
    library: ManuallyDrop<Library>,
    path: PathBuf,
}

/// Whether a library that was closed is really gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unloaded {
    /// The dynamic loader no longer knows it.
    Verified,
    /// Something still holds it.
    StillMapped,
}

/// Why a library must stay mapped.
#[derive(thiserror::Error)]
pub(crate) enum Held {
    /// A thread may run its code.
    #[error("{0}")]
    ByThread(Inside),
    /// The kernel calls it.
    #[error("it handles {0}")]
    BySignal(String),
}

replug_model::readable::readable!(Held);

impl Gone {
    /// The private copy that the library was opened from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until nothing holds the library that can be seen from outside: a thread that runs its code, a signal that it
    /// handles.
    pub(crate) fn let_go(&self, patience: Duration) -> Result<(), Held> {
        let code = extent::code(&self.path);
        inside::wait_until_left(&code, patience).map_err(Held::ByThread)?;
        handlers::handled_in(&code).map_or(Ok(()), |signal| Err(Held::BySignal(signal)))
    }

    /// Unmaps the library.
    ///
    /// # Safety
    ///
    /// 1. Every thread that ever ran code of the library has ended, or left it behind no destructor, no pointer and no
    ///    frame.
    /// 2. Nothing that points into the library is kept: layouts, vtables, names, strings, handlers.
    pub(crate) unsafe fn unload(mut self) -> Unloaded {
        use libloading::os::unix::{RTLD_LAZY, RTLD_LOCAL};
        services::forget(&self.path);
        // SAFETY: taken once, and `self` is not used after.
        let library = unsafe { ManuallyDrop::take(&mut self.library) };
        // The loader says whether the file is gone, below; that it could be closed says little.
        let _ = library.close();
        const RTLD_NOLOAD: i32 = 4;
        // SAFETY: with RTLD_NOLOAD nothing is opened, so no constructor runs.
        let found = unsafe { Library::open(Some(&self.path), RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD) };
        match found {
            Ok(_) => Unloaded::StillMapped,
            Err(_) => Unloaded::Verified,
        }
    }
}
