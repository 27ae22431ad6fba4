//! What a slot points to: one generation, as callers see it.

use super::{
    mark::{Mark, Marked, Step},
    thread_slot::{CallColumn, Calls, ColumnLease, OneIn},
};
use crate::load::{Instance, LifecycleError};
use replug_api::abi::{BoundInterface, InterfaceExport, MethodExport, Object};
use replug_model::id::{Digest, Generation, PluginId};
use std::sync::Arc;

/// A generation that has come up: its instance and what is known of it.
pub struct Live {
    /// The plugin.
    pub plugin: PluginId,
    /// Its number.
    pub generation: Generation,
    /// Its artifact.
    pub digest: Digest,
    /// What came up.
    pub instance: Instance,
    /// What its library takes in memory, in bytes.
    pub private_bytes: u64,
    /// How far into its file what is mapped reaches.
    pub(super) loaded_file_bytes: u64,
    pub(super) lease: ColumnLease,
}

/// What a [`Live`] is made of.
pub struct Birth {
    /// The plugin.
    pub plugin: PluginId,
    /// Its number.
    pub generation: Generation,
    /// Its artifact.
    pub digest: Digest,
    /// What its library takes in memory, in bytes.
    pub private_bytes: u64,
    /// How far into its file what is mapped reaches.
    pub loaded_file_bytes: u64,
    /// Its column of the counters.
    pub lease: ColumnLease,
}

impl Live {
    /// Made of this.
    pub fn new(of: Birth, instance: Instance) -> Self {
        let Birth { plugin, generation, digest, private_bytes, loaded_file_bytes, lease } = of;
        Self { plugin, generation, digest, instance, private_bytes, loaded_file_bytes, lease }
    }

    /// `Plugin::start`
    pub fn start(&self) -> Result<(), LifecycleError> {
        let _marked = self.marked(Step::Start);
        self.instance.start()
    }

    /// `Plugin::stop`
    pub fn stop(&self) -> Result<(), LifecycleError> {
        let _marked = self.marked(Step::Stop);
        self.instance.stop()
    }

    /// `Plugin::health`: whether it is well, and what it says.
    pub fn health(&self) -> Result<(bool, String), LifecycleError> {
        let _marked = self.marked(Step::Health);
        self.instance.health()
    }

    /// `Plugin::on_config`
    pub fn configure(&self, config: &str) -> Result<(), LifecycleError> {
        let _marked = self.marked(Step::OnConfig);
        self.instance.configure(config)
    }

    /// `Plugin::save`
    pub fn save(&self) -> Result<Vec<u8>, LifecycleError> {
        let _marked = self.marked(Step::Save);
        self.instance.save()
    }

    /// `Plugin::restore`
    pub fn restore(&self, from_version: u32, state: &[u8]) -> Result<(), LifecycleError> {
        let _marked = self.marked(Step::Restore);
        self.instance.restore(from_version, state)
    }

    fn marked(&self, step: Step) -> Marked {
        match &self.instance {
            Instance::InProcess(_) => self.lease.mark(step),
            Instance::Process(_) => Marked::nobody(),
        }
    }

    /// What marks a thread that calls this interface.
    pub(super) fn mark_of(&self, interface: &str) -> Mark {
        let place = || self.instance.interfaces().position(|offered| offered.name == interface);
        match &self.instance {
            Instance::InProcess(_) => {
                place().map_or(Mark::NOBODY, |place| Mark::interface(self.lease.column(), place))
            }
            Instance::Process(_) => Mark::NOBODY,
        }
    }

    /// The calls that this generation has run.
    pub fn calls(&self) -> Calls {
        self.lease.total()
    }
}

/// One interface of a generation, ready to call.
#[derive(Clone, Copy)]
pub(super) struct Port {
    pub(super) bound: BoundInterface,
    pub(super) methods: &'static [MethodExport],
    /// What marks a thread that calls it.
    pub(super) mark: Mark,
}

impl Port {
    /// Of an interface that the generation does not offer: no call can be made through it.
    pub(super) fn without_methods(wanted: &'static InterfaceExport) -> Self {
        let bound = BoundInterface { object: Object(std::ptr::null()), export: wanted };
        Self { bound, methods: &[], mark: Mark::NOBODY }
    }
}

/// A generation with the interfaces that typed handles ask for, by the number of the handle's port.
///
/// When a handle asks for one more interface, another record of the same generation takes this one's place.
pub(crate) struct Record {
    pub(super) column: CallColumn,
    /// Which of a thread's calls are timed. A clock takes longer than many a call in this process, and no time beside one
    /// into another.
    pub(super) timed_one_in: OneIn,
    pub(super) ports: Box<[Port]>,
    pub(crate) live: Arc<Live>,
}

impl Record {
    pub(super) fn new(live: Arc<Live>, ports: Box<[Port]>) -> Self {
        let timed_one_in = match &live.instance {
            Instance::InProcess(_) => OneIn::SAMPLED,
            Instance::Process(_) => OneIn::ONE,
        };
        Self { column: live.lease.column(), timed_one_in, ports, live }
    }
}
