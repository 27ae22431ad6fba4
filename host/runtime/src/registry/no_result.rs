//! The errors of calls that returned no result.

use super::record::Live;
use crate::panic_location;
use replug_api::{CallError, abi::Panic, remote};

/// Converts a panic that the edge has caught into the caller's error. Must be called on the thread that panicked, while
/// the generation is pinned.
#[cold]
pub(crate) fn panicked(live: &Live, method: &str, panic: Panic) -> CallError {
    CallError::Panicked {
        plugin: live.plugin.to_string(),
        generation: live.generation.0,
        method: method.to_owned(),
        message: panic.message().to_string(),
        location: panic_location::take(panic.message()).unwrap_or_else(|| "location unknown".into()),
    }
}

/// The reason why a call returned no result. Must be called on the thread that made the call.
#[cold]
pub(crate) fn lost(live: &Live, method: &str) -> CallError {
    match remote::take_lost() {
        // A child process does not know the name of a method that its plugin does not have.
        Some(CallError::NotImplemented { plugin, generation, .. }) => {
            CallError::NotImplemented { plugin, generation, method: method.to_owned() }
        }
        // A typed call that encodes its arguments does not know its plugin.
        Some(CallError::BadArguments { message, .. }) => {
            CallError::BadArguments { plugin: live.plugin.to_string(), method: method.to_owned(), message }
        }
        Some(CallError::BadResult { message, .. }) => {
            CallError::BadResult { plugin: live.plugin.to_string(), method: method.to_owned(), message }
        }
        Some(error) => error,
        None => CallError::BadResult {
            plugin: live.plugin.to_string(),
            method: method.to_owned(),
            message:
                "it returned no result, and no reason was recorded; rebuild the plugin if this happens again"
                    .into(),
        },
    }
}
