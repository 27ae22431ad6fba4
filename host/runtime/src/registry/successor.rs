//! Repeats a call on the next generation if the process of the pinned generation was already dead.
//!
//! A caller may pin a generation after the generation's process has died and before the host has taken the generation
//! out of service. The call cannot have begun, so it waits for the restart, like any later call.

use super::{
    caller::{Pin, WaitDeadline},
    entry::Entry,
    no_result::{lost, panicked},
};
use replug_api::{
    CallError,
    abi::{Encoding, Outcome},
    describe::{Interface, Method, method_difference},
    remote::Reply,
};
use replug_model::id::Generation;
use std::sync::Arc;

/// Repeats a call that did not reach its process, on the generation that serves next.
pub(crate) type Successor = Arc<dyn Fn(&Unsent<'_>) -> Result<Reply, CallError> + Send + Sync>;

/// A call that did not reach its process, because the process was dead.
pub(crate) struct Unsent<'a> {
    /// The generation whose process was dead.
    pub(crate) generation: Generation,
    pub(crate) interface: &'a Interface,
    pub(crate) method: &'a Method,
    pub(crate) encoding: Encoding,
    pub(crate) arguments: &'a [u8],
}

/// The callback that repeats calls of this plugin's generations.
pub(crate) fn successor(entry: &Arc<Entry>) -> Successor {
    // The reference is weak, because the entry holds the generation that holds this callback.
    let entry = Arc::downgrade(entry);
    Arc::new(move |unsent| match entry.upgrade() {
        Some(entry) => entry.call_again(unsent),
        None => Err(CallError::Unknown("the plugin no longer belongs to a host".into())),
    })
}

impl Entry {
    fn call_again(&self, unsent: &Unsent<'_>) -> Result<Reply, CallError> {
        let (pin, _wait) = self.pin_after(unsent.generation)?;
        let live = pin.live();
        let found = live.methods().find(|method| {
            method.interface().name == unsent.interface.name && method.name() == unsent.method.name
        });
        let Some(found) = found else {
            return Err(CallError::NotImplemented {
                plugin: self.id.to_string(),
                generation: live.generation.0,
                method: unsent.method.name.clone(),
            });
        };
        let types = (found.interface(), found.description());
        if unsent.encoding == Encoding::Binary
            && method_difference((unsent.interface, unsent.method), types).is_some()
        {
            // The next generation would decode the arguments as values of different types. If the caller calls again,
            // its handle compares the types.
            return Err(CallError::Restarting { plugin: self.id.to_string(), retry_in_ms: 1 });
        }
        pin.mark(found);
        match found.invoke(unsent.encoding, unsent.arguments) {
            Outcome::Returned(bytes) => Ok(Reply::Returned(bytes.into())),
            Outcome::Refused(refusal) => Ok(Reply::Refused(refusal)),
            Outcome::Panicked(panic) => Err(panicked(live, &unsent.method.name, panic)),
            Outcome::Lost => Err(lost(live, &unsent.method.name)),
        }
    }

    /// Pins the generation that follows `dead`, whose process is dead.
    fn pin_after(&self, dead: Generation) -> Result<(Pin, WaitDeadline), CallError> {
        let (pin, rest) = self.pin_anew()?;
        if pin.live().generation != dead {
            return Ok((pin, rest));
        }
        // The process died before its generation was published, and the host has not handled the death yet.
        Err(CallError::Restarting { plugin: self.id.to_string(), retry_in_ms: 1 })
    }
}
