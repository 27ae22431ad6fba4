//! A method of an instance, found by its name. Dynamic handles call it.

use abi_stable::std_types::RVec;
use replug_api::{
    abi::{BoundInterface, Encoding, Outcome, Refusal},
    describe::Interface,
    remote::RemoteObject,
};

/// A method of an instance, which it borrows.
#[derive(Clone, Copy)]
pub(crate) struct Method<'a> {
    pub(crate) interface: &'a Interface,
    pub(crate) index: u32,
    target: Target<'a>,
}

/// The target of the call.
#[derive(Clone, Copy)]
enum Target<'a> {
    Here(BoundInterface),
    Elsewhere(&'a RemoteObject),
}

impl<'a> Method<'a> {
    /// The method at `index` of an interface of an instance in this process.
    ///
    /// # Safety
    ///
    /// 1. `bound` belongs to the instance that `interface` is borrowed from, which is not dropped for `'a`.
    pub(super) unsafe fn here(interface: &'a Interface, bound: BoundInterface, index: u32) -> Self {
        Self { interface, index, target: Target::Here(bound) }
    }

    /// The method at `index` of an interface of an instance in a child process.
    pub(crate) fn elsewhere(interface: &'a Interface, object: &'a RemoteObject, index: u32) -> Self {
        Self { interface, index, target: Target::Elsewhere(object) }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'a str {
        &self.interface.methods[self.index as usize].name
    }

    /// Calls it with encoded arguments.
    pub(crate) fn invoke(&self, encoding: Encoding, arguments: &[u8]) -> Outcome<RVec<u8>, Refusal> {
        match self.target {
            // SAFETY: 1: by 1 of `here` the object belongs to the export. 2: by the same, the instance lives for `'a`, and
            // `self` does not outlive that.
            Target::Here(bound) => unsafe {
                (bound.export.invoke)(bound.object, self.index, encoding, arguments.into())
            },
            Target::Elsewhere(object) => object.invoke(self.index, encoding, arguments),
        }
    }
}
