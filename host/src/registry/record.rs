//! What a slot points to: one generation, as callers see it.

use super::seat::{Calls, Lane, LaneLease};
use crate::{
    id::{Digest, Generation, PluginId},
    load::Instance,
};
use replug_api::abi::{BoundInterface, MethodExport};
use std::sync::Arc;

/// A generation that has come up: its instance and what is known of it.
pub(crate) struct Live {
    pub(crate) plugin: PluginId,
    pub(crate) generation: Generation,
    pub(crate) digest: Digest,
    pub(crate) instance: Instance,
    /// What its library takes in memory, in bytes.
    pub(crate) private_bytes: u64,
    /// How far into its file what is mapped reaches.
    pub(super) loaded_file_bytes: u64,
    pub(super) lease: LaneLease,
}

/// What a [`Live`] is made of.
pub(crate) struct Birth {
    pub(crate) plugin: PluginId,
    pub(crate) generation: Generation,
    pub(crate) digest: Digest,
    pub(crate) private_bytes: u64,
    pub(crate) loaded_file_bytes: u64,
    pub(crate) lease: LaneLease,
}

impl Live {
    /// Takes in an instance that the calling thread has made.
    pub(crate) fn new(of: Birth, instance: Instance) -> Self {
        let Birth { plugin, generation, digest, private_bytes, loaded_file_bytes, lease } = of;
        lease.visit();
        Self { plugin, generation, digest, instance, private_bytes, loaded_file_bytes, lease }
    }

    /// To be called by a thread before it runs code of the generation outside of a call.
    pub(crate) fn visit(&self) {
        self.lease.visit();
    }

    /// The calls that this generation has run.
    pub(crate) fn calls(&self) -> Calls {
        self.lease.total()
    }
}

/// One interface of a generation, ready to call.
#[derive(Clone, Copy)]
pub(super) struct Port {
    pub(super) bound: BoundInterface,
    pub(super) methods: &'static [MethodExport],
}

/// A generation with the interfaces that typed handles ask for, by the number of the handle's port.
///
/// When a handle asks for one more interface, another record of the same generation takes this one's place.
pub(crate) struct Record {
    pub(super) lane: Lane,
    pub(super) ports: Box<[Port]>,
    pub(crate) live: Arc<Live>,
}

impl Record {
    pub(super) fn new(live: Arc<Live>, ports: Box<[Port]>) -> Self {
        Self { lane: live.lease.lane(), ports, live }
    }
}
