//! Bringing an artifact to life, by mode: as a part of this process, or as a child process.

mod cut;
pub mod in_process;
mod json;
mod log_bound;
mod over_wire;
pub mod process;
mod ration;
mod speaker;

pub(crate) use in_process::Method;
pub use in_process::{InterfaceMismatch, LifecycleError, LoadError};
pub(crate) use json::parsed;
pub use log_bound::LogBound;
pub use speaker::{Listener, Speaker};

use replug_api::{
    abi::{BoundInterface, InterfaceExport},
    describe::Interface,
};
use replug_model::{
    event::LimitsInForce,
    limits::{LimitsSpec, Mode},
    suggest,
};
use replug_wire::Level;
use std::time::Duration;

/// A plugin that came up, wherever it lives. Whoever calls it need not know.
pub enum Instance {
    /// In this process.
    InProcess(in_process::Instance),
    /// In a process of its own.
    Process(process::Instance),
}

macro_rules! either {
    ($instance:expr, $it:ident => $do:expr) => {
        match $instance {
            Instance::InProcess($it) => $do,
            Instance::Process($it) => $do,
        }
    };
}

impl Instance {
    /// Whether it has state to hand over.
    pub fn stateful(&self) -> bool {
        either!(self, it => it.stateful())
    }

    /// `Plugin::STATE_VERSION`
    pub fn state_version(&self) -> u32 {
        either!(self, it => it.state_version())
    }

    /// Where it runs.
    pub fn runs_in(&self) -> Mode {
        match self {
            Self::InProcess(_) => Mode::InProcess,
            Self::Process(_) => Mode::Process,
        }
    }

    /// The number of its process, if that is one of its own.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::InProcess(_) => None,
            Self::Process(it) => Some(it.pid()),
        }
    }

    /// How long a call may take before its caller is released, if there is such a bound where it runs.
    pub(crate) fn call_timeout(&self) -> Option<Duration> {
        match self {
            Self::InProcess(_) => None,
            Self::Process(it) => it.call_timeout(),
        }
    }

    /// What bounds its process, if that is one of its own; otherwise, what does not though its manifest asks for it.
    pub fn limits(&self, asked: LimitsSpec) -> Option<LimitsInForce> {
        match self {
            Self::InProcess(_) => none_in_force(&asked.keys()),
            Self::Process(it) => Some(it.limits().clone()),
        }
    }

    /// What its process takes of the machine, if that is one of its own and has not ended.
    pub fn usage(&self) -> Option<process::ProcessUsage> {
        match self {
            Self::InProcess(_) => None,
            Self::Process(it) => it.usage(),
        }
    }

    /// The interfaces it implements, in the order of `export!`.
    pub fn interfaces(&self) -> Box<dyn Iterator<Item = &Interface> + '_> {
        either!(self, it => Box::new(it.interfaces()))
    }

    /// The interface that a typed handle of the host's wants, if it is offered in the host's form.
    pub(crate) fn interface(
        &self,
        wanted: &'static InterfaceExport,
    ) -> Result<BoundInterface, InterfaceMismatch> {
        either!(self, it => it.interface(wanted))
    }

    /// The methods of all interfaces.
    pub(crate) fn methods(&self) -> Box<dyn Iterator<Item = Method<'_>> + '_> {
        either!(self, it => Box::new(it.methods()))
    }

    /// The method of that name, which may be written `Interface.method`.
    pub(crate) fn method(&self, wanted: &str) -> Result<Method<'_>, String> {
        let mut found: Vec<_> = match wanted.split_once('.') {
            Some((interface, plain)) => self
                .methods()
                .filter(|method| method.interface.name == interface && method.name() == plain)
                .collect(),
            None => self.methods().filter(|method| method.name() == wanted).collect(),
        };
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => {
                let known = self.methods().map(|method| method.name());
                Err(format!("no method `{wanted}`{}", suggest::among(wanted, known)))
            }
            _ => {
                let which: Vec<_> =
                    found.iter().map(|method| format!("`{}.{wanted}`", method.interface.name)).collect();
                Err(format!("two interfaces have a method `{wanted}`: write {}", which.join(" or ")))
            }
        }
    }

    /// `Plugin::start`
    pub(crate) fn start(&self) -> Result<(), LifecycleError> {
        either!(self, it => it.start())
    }

    /// `Plugin::stop`
    pub(crate) fn stop(&self) -> Result<(), LifecycleError> {
        either!(self, it => it.stop())
    }

    /// `Plugin::health`: whether it is well, and what it says.
    pub(crate) fn health(&self) -> Result<(bool, String), LifecycleError> {
        either!(self, it => it.health())
    }

    /// `Plugin::on_config`
    pub(crate) fn configure(&self, config: &str) -> Result<(), LifecycleError> {
        either!(self, it => it.configure(config))
    }

    /// `Plugin::save`
    pub(crate) fn save(&self) -> Result<Vec<u8>, LifecycleError> {
        either!(self, it => it.save())
    }

    /// `Plugin::restore`
    pub(crate) fn restore(&self, from_version: u32, state: &[u8]) -> Result<(), LifecycleError> {
        either!(self, it => it.restore(from_version, state))
    }

    /// Tells the plugin the most verbose level that is wanted now.
    pub fn set_max_level(&self, level: Level) {
        either!(self, it => it.set_max_level(level));
    }
}

/// What is reported of these limits where the host's own process would have to be bounded.
fn none_in_force(asked: &[&str]) -> Option<LimitsInForce> {
    let keys: Vec<_> = asked.iter().map(|key| format!("`{key}`")).collect();
    let are = match keys.len() {
        0 => return None,
        1 => "is",
        _ => "are",
    };
    let lacking = format!(
        "{} {are} not in force in the host's own process, where it runs; `mode = \"process\"` gives it one that is bounded",
        keys.join(", ")
    );
    Some(LimitsInForce { lacking: vec![lacking], ..LimitsInForce::default() })
}
