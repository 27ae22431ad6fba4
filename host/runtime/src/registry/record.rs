//! The call table that a slot points to, and the generation behind it. A call table (the type [`Record`]) has a *port*
//! for each interface that a typed handle needs: the object and the edges that the handle calls.

use super::{
    body::{Body, LifecycleError, Traits},
    mark::{Mark, Marked},
    thread_slot::{CallColumn, Calls, ColumnLease, OneIn},
};
use crate::{
    interface::{InterfaceMismatch, Method, Offered, interface},
    process_usage::ProcessUsage,
};
use replug_api::{
    abi::{BoundInterface, InterfaceExport, MethodExport, Object},
    describe::Interface,
};
use replug_model::{
    event::LimitsInForce,
    id::{Digest, Generation, PluginId},
    limits::{LaneInUse, LimitsSpec},
    step::Step,
};
use replug_wire::Level;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// The number of the last [`Live`] of this process.
static LAST: AtomicU32 = AtomicU32::new(0);

/// A generation that has an instance: its body, and the data about it.
pub struct Live {
    /// The plugin.
    pub plugin: PluginId,
    /// The number of the generation.
    pub generation: Generation,
    /// The artifact.
    pub digest: Digest,
    /// The number of this `Live` among all of this process, from 1.
    number: u32,
    /// The body. Lifecycle steps go through the methods of `Live`, which mark the thread.
    pub(super) body: Box<dyn Body>,
    traits: Traits,
    /// The private memory of the generation's library, in bytes.
    pub private_bytes: u64,
    /// The static thread-local storage that the generation's library uses, in bytes.
    pub static_tls_bytes: u64,
    /// The offset in the library's file, in bytes, at which its last mapped segment ends.
    pub(super) loaded_file_bytes: u64,
    pub(super) lease: ColumnLease,
}

/// The identity of a generation, and the sizes of its library.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The plugin.
    pub plugin: PluginId,
    /// The number of the generation.
    pub generation: Generation,
    /// The artifact.
    pub digest: Digest,
    /// The private memory of the generation's library, in bytes.
    pub private_bytes: u64,
    /// The static thread-local storage that the generation's library uses, in bytes.
    pub static_tls_bytes: u64,
    /// The offset in the library's file, in bytes, at which its last mapped segment ends.
    pub loaded_file_bytes: u64,
}

impl Live {
    pub(crate) fn new(of: Identity, lease: ColumnLease, body: Box<dyn Body>) -> Self {
        let Identity { plugin, generation, digest, private_bytes, static_tls_bytes, loaded_file_bytes } = of;
        let (traits, number) = (body.traits(), LAST.fetch_add(1, Ordering::Relaxed) + 1);
        Self {
            plugin,
            generation,
            digest,
            number,
            body,
            traits,
            private_bytes,
            static_tls_bytes,
            loaded_file_bytes,
            lease,
        }
    }

    /// The properties of the generation's body.
    pub fn traits(&self) -> Traits {
        self.traits
    }

    /// Whether the plugin has state to hand over to its next generation.
    pub fn stateful(&self) -> bool {
        self.body.stateful()
    }

    /// The version of the format of the plugin's state: `Plugin::STATE_VERSION`.
    pub fn state_version(&self) -> u32 {
        self.body.state_version()
    }

    /// The interfaces that the plugin implements, in the order of `export!`.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.body.offered().iter().map(Offered::description)
    }

    /// The limits that are in force, and those of the manifest (`asked`) that are not. `None` if there is nothing to
    /// report.
    pub fn limits(&self, asked: LimitsSpec) -> Option<LimitsInForce> {
        self.body.limits(asked)
    }

    /// The pid of the child process, if the generation runs in one. It is only for display: decisions depend on
    /// [`Traits`].
    pub fn process_id(&self) -> Option<u32> {
        self.body.process_id()
    }

    /// The resources that the child process uses; `None` if the generation does not run in a child process, or if that
    /// process has exited.
    pub fn usage(&self) -> Option<ProcessUsage> {
        self.body.usage()
    }

    /// How the last call reached the child process, if the generation runs in a child process that was called.
    pub fn lane(&self) -> Option<LaneInUse> {
        self.body.lane()
    }

    /// Sets the most verbose level at which the plugin logs.
    pub fn set_max_level(&self, level: Level) {
        self.body.set_max_level(level);
    }

    /// The time limit of each call, if there is one. When it passes, the caller gets an error.
    pub(super) fn call_timeout(&self) -> Option<Duration> {
        self.body.call_timeout()
    }

    /// The interface that a typed handle of the host needs. Returns an error if the generation does not offer the
    /// interface, or offers a version that does not match the host's.
    pub(super) fn interface(
        &self,
        wanted: &'static InterfaceExport,
    ) -> Result<BoundInterface, InterfaceMismatch> {
        interface(self.plugin.as_str(), self.body.offered(), wanted)
    }

    /// The methods of all interfaces.
    pub(super) fn methods(&self) -> impl Iterator<Item = Method<'_>> {
        Method::all(self.body.offered())
    }

    /// Finds a method by its name, which may also be written `Interface.method`.
    pub(crate) fn method(&self, wanted: &str) -> Result<Method<'_>, String> {
        Method::named(self.body.offered(), wanted)
    }

    /// The method at this place, if the place is one of this generation.
    #[inline]
    pub(crate) fn method_at(&self, place: MethodPlace) -> Option<Method<'_>> {
        if (place.0 >> 32) as u32 != self.number {
            return None;
        }
        Method::at(self.body.offered(), usize::from((place.0 >> 16) as u16), u32::from(place.0 as u16))
    }

    /// The place of a method of this generation.
    pub(crate) fn place_of(&self, method: Method<'_>) -> MethodPlace {
        match (u16::try_from(method.interface), u16::try_from(method.index)) {
            (Ok(interface), Ok(index)) => {
                MethodPlace(u64::from(self.number) << 32 | u64::from(interface) << 16 | u64::from(index))
            }
            _ => MethodPlace::NONE,
        }
    }

    /// Calls `Plugin::start`. The errors of all steps are those of [`Body`].
    pub fn start(&self) -> Result<(), LifecycleError> {
        let _marked = self.marked(Step::Start);
        self.body.start()
    }

    /// Calls `Plugin::stop`.
    pub fn stop(&self) -> Result<(), LifecycleError> {
        let _marked = self.marked(Step::Stop);
        self.body.stop()
    }

    /// Calls `Plugin::health`. Returns whether the plugin is healthy, and its message.
    pub fn health(&self) -> Result<(bool, String), LifecycleError> {
        let _marked = self.marked(Step::Health);
        self.body.health()
    }

    /// Calls `Plugin::on_config` with the configuration, which is JSON.
    pub fn configure(&self, config: &str) -> Result<(), LifecycleError> {
        let _marked = self.marked(Step::OnConfig);
        self.body.configure(config)
    }

    /// Calls `Plugin::save`, and returns the saved state.
    pub fn save(&self) -> Result<Vec<u8>, LifecycleError> {
        let _marked = self.marked(Step::Save);
        self.body.save()
    }

    /// Calls `Plugin::restore` with a saved state and the state version in which it was saved.
    pub fn restore(&self, from_version: u32, state: &[u8]) -> Result<(), LifecycleError> {
        let _marked = self.marked(Step::Restore);
        self.body.restore(from_version, state)
    }

    fn marked(&self, step: Step) -> Marked {
        if self.traits.attributable { self.lease.mark(step) } else { Marked::nobody() }
    }

    /// The mark of a thread that calls this interface.
    pub(super) fn mark_of(&self, interface: &str) -> Mark {
        let place = self.interfaces().position(|offered| offered.name == interface);
        place.map_or(Mark::NOBODY, |place| self.mark_at(place))
    }

    /// The mark of a thread that calls the interface at this position in `export!`.
    #[inline]
    pub(super) fn mark_at(&self, place: usize) -> Mark {
        if self.traits.attributable { Mark::interface(self.lease.column(), place) } else { Mark::NOBODY }
    }

    /// The number of calls of this generation so far.
    pub fn calls(&self) -> Calls {
        self.lease.total()
    }
}

/// The place of a method: a generation, one of its interfaces, and a method of the interface. One word, so that threads
/// can share it without a lock.
///
/// From the most significant bit: 32 bits for the number of the [`Live`], 16 bits for the interface's position in
/// `export!`, 16 bits for the method's position in the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MethodPlace(pub(crate) u64);

impl MethodPlace {
    /// The place of no method.
    pub(crate) const NONE: Self = Self(0);
}

/// One interface of a generation, as typed handles call it.
#[derive(Clone, Copy)]
pub(super) struct Port {
    pub(super) object: Object,
    pub(super) methods: &'static [MethodExport],
    /// The mark of a thread that calls the interface.
    pub(super) mark: Mark,
}

impl Port {
    /// The port of an interface that the generation does not offer. No call can be made through it.
    pub(super) const WITHOUT_METHODS: Self =
        Self { object: Object(std::ptr::null()), methods: &[], mark: Mark::NOBODY };

    pub(super) fn new(bound: BoundInterface, mark: Mark) -> Self {
        Self { object: bound.object, methods: bound.export.methods.as_slice(), mark }
    }
}

/// The ports of a call table, by number. The first port is in the table itself: hosts call most plugins through one
/// interface, and such a call loads one pointer fewer.
pub(super) struct Ports {
    first: Port,
    others: Box<[Port]>,
    count: usize,
}

impl Ports {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    #[inline(always)]
    pub(super) fn get(&self, number: usize) -> Option<&Port> {
        match number.checked_sub(1) {
            None => Some(&self.first),
            Some(number) => self.others.get(number),
        }
    }
}

impl FromIterator<Port> for Ports {
    fn from_iter<I: IntoIterator<Item = Port>>(ports: I) -> Self {
        let mut ports = ports.into_iter();
        let first = ports.next();
        let others: Box<[Port]> = ports.collect();
        let count = usize::from(first.is_some()) + others.len();
        Self { first: first.unwrap_or(Port::WITHOUT_METHODS), others, count }
    }
}

/// The call table of a generation.
///
/// When a handle needs a further interface, another call table of the same generation replaces this one.
pub(crate) struct Record {
    pub(super) column: CallColumn,
    /// See [`Traits::timed_one_in`].
    pub(super) timed_one_in: OneIn,
    pub(super) ports: Ports,
    pub(crate) live: Arc<Live>,
}

impl Record {
    pub(super) fn new(live: Arc<Live>, ports: Ports) -> Self {
        Self { column: live.lease.column(), timed_one_in: live.traits.timed_one_in, ports, live }
    }
}
