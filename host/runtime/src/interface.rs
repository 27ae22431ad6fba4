//! The interfaces that a generation offers, in this process or in a child process. Handles call them through a typed
//! client, or by the name of a method. `check.rs` compares them with the interfaces of the host.

#![allow(unsafe_code, reason = "docs/SAFETY.md says why each block holds")]

mod check;

pub use check::InterfaceMismatch;
pub(crate) use check::{RootMismatch, check_root};

use abi_stable::std_types::RVec;
use check::{fit, missing};
use parking_lot::Mutex;
use replug_api::{
    abi::{BoundInterface, Encoding, InterfaceExport, Outcome, Refusal},
    describe::{self, Interface},
    remote::RemoteObject,
};
use replug_model::suggest;

/// An interface that a generation offers.
pub struct Offered {
    description: Interface,
    target: Target,
    /// The interfaces of the host that were compared with this one and match it.
    fitting: Mutex<Vec<&'static InterfaceExport>>,
}

/// Where calls through the interface go: directly to an instance in this process, or through a [`RemoteObject`], which
/// passes encoded arguments on.
enum Target {
    Here(BoundInterface),
    Elsewhere(RemoteObject),
}

impl Offered {
    /// An interface whose arguments are encoded: its plugin is in another process, or runs on threads of its own.
    pub fn elsewhere(description: Interface, object: RemoteObject) -> Self {
        Self { description, target: Target::Elsewhere(object), fitting: Mutex::default() }
    }

    /// An interface of an instance in this process, which runs on the threads of its callers.
    ///
    /// # Safety
    ///
    /// 1. `bound` belongs to an instance that exists for as long as the result is borrowed.
    pub(crate) unsafe fn here(description: Interface, bound: BoundInterface) -> Self {
        Self { description, target: Target::Here(bound), fitting: Mutex::default() }
    }

    /// The plugin's description of the interface.
    pub fn description(&self) -> &Interface {
        &self.description
    }

    /// Checks that this interface matches `wanted`, which a typed handle of the host needs, and returns the object and
    /// the edges that the handle calls. The caller must keep the generation alive while it uses the result.
    fn bind(
        &self,
        plugin: &str,
        wanted: &'static InterfaceExport,
    ) -> Result<BoundInterface, InterfaceMismatch> {
        let (bound, laid_out) = match &self.target {
            Target::Here(bound) => (*bound, Some(bound.export)),
            Target::Elsewhere(object) => (BoundInterface { export: wanted, object: object.object() }, None),
        };
        let mut fitting = self.fitting.lock();
        if !fitting.iter().any(|known| std::ptr::eq(*known, wanted)) {
            fit(plugin, wanted, (&self.description, laid_out))?;
            fitting.push(wanted);
        }
        Ok(bound)
    }

    /// Calls the method at that index with encoded arguments.
    pub(crate) fn invoke(
        &self,
        method: u32,
        encoding: Encoding,
        arguments: &[u8],
    ) -> Outcome<RVec<u8>, Refusal> {
        match &self.target {
            // SAFETY: 1: by 1 of `here`, the object belongs to the export. 2: by 1 of `here`, the instance exists while
            // `self` is borrowed.
            Target::Here(bound) => unsafe {
                (bound.export.invoke)(bound.object, method, encoding, arguments.into())
            },
            Target::Elsewhere(object) => object.invoke(method, encoding, arguments),
        }
    }

    /// The number of methods that the plugin's version of the interface has.
    pub(crate) fn method_count(&self) -> usize {
        match &self.target {
            Target::Here(bound) => bound.export.methods.len(),
            Target::Elsewhere(_) => self.description.methods.len(),
        }
    }
}

/// The interface that a typed handle of the host needs. Returns an error if the plugin does not offer the interface, or
/// offers a version that does not match the host's.
pub(crate) fn interface(
    plugin: &str,
    offered: &[Offered],
    wanted: &'static InterfaceExport,
) -> Result<BoundInterface, InterfaceMismatch> {
    match offered.iter().find(|offered| offered.description.name == wanted.name.as_str()) {
        Some(offered) => offered.bind(plugin, wanted),
        None => Err(missing(plugin, wanted, offered.iter().map(Offered::description))),
    }
}

/// A method of a borrowed generation.
#[derive(Clone, Copy)]
pub(crate) struct Method<'a> {
    offered: &'a Offered,
    /// The position of the interface in `export!`.
    pub(crate) interface: usize,
    /// The position of the method in the interface.
    pub(crate) index: u32,
}

impl<'a> Method<'a> {
    /// The methods of all interfaces.
    pub(crate) fn all(offered: &'a [Offered]) -> impl Iterator<Item = Self> {
        offered.iter().enumerate().flat_map(|(interface, offered)| {
            (0..offered.description.methods.len() as u32).map(move |index| Self { offered, interface, index })
        })
    }

    /// The method at that position of the interface at that position, if there is one.
    pub(crate) fn at(offered: &'a [Offered], interface: usize, index: u32) -> Option<Self> {
        let offered = offered.get(interface)?;
        offered.description.methods.get(index as usize)?;
        Some(Self { offered, interface, index })
    }

    /// Finds a method by its name, which may also be written `Interface.method`.
    pub(crate) fn named(offered: &'a [Offered], wanted: &str) -> Result<Self, String> {
        let (interface, plain) = match wanted.split_once('.') {
            Some((interface, plain)) => (Some(interface), plain),
            None => (None, wanted),
        };
        let mut found = Self::all(offered).filter(|method| {
            method.name() == plain && interface.is_none_or(|interface| method.interface().name == interface)
        });
        match (found.next(), found.next()) {
            (Some(method), None) => Ok(method),
            (None, _) => {
                let known = Self::all(offered).map(|method| method.name());
                Err(format!("no method `{wanted}`{}", suggest::among(wanted, known)))
            }
            (Some(one), Some(other)) => {
                let which: Vec<_> = [one, other]
                    .into_iter()
                    .chain(found)
                    .map(|method| format!("`{}.{wanted}`", method.interface().name))
                    .collect();
                Err(format!("two interfaces have a method `{wanted}`: write {}", which.join(" or ")))
            }
        }
    }

    /// The interface of the method.
    pub(crate) fn interface(&self) -> &'a Interface {
        &self.offered.description
    }

    /// The description of the method.
    pub(crate) fn description(&self) -> &'a describe::Method {
        &self.interface().methods[self.index as usize]
    }

    /// The name of the method.
    pub(crate) fn name(&self) -> &'a str {
        &self.description().name
    }

    /// Calls the method with encoded arguments.
    pub(crate) fn invoke(&self, encoding: Encoding, arguments: &[u8]) -> Outcome<RVec<u8>, Refusal> {
        self.offered.invoke(self.index, encoding, arguments)
    }
}
