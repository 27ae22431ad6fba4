//! Finds the signals that a library handles. Such a library must stay mapped, because the kernel would still call its
//! handlers.

use crate::signal::signal_name;
use libc::{c_int, sigaction};
use std::{mem::zeroed, ops::Range, ptr::null};

/// The name of the first signal whose handler is in this code.
pub(super) fn handled_in(code: &[Range<u64>]) -> Option<String> {
    let signal = (1..=libc::SIGRTMAX()).find(|signal| {
        let handler = handler_of(*signal);
        code.iter().any(|range| range.contains(&handler))
    })?;
    Some(signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned))
}

/// The address of a signal's handler. If the signal has no handler, `SIG_DFL` (0) or `SIG_IGN` (1).
fn handler_of(signal: c_int) -> u64 {
    // SAFETY: an all-zero `sigaction` is a valid value of a C struct.
    let mut action: sigaction = unsafe { zeroed() };
    // SAFETY: the new action is null, so no action is set. `action` is a place to write the current action to. For a
    // number that is not a signal, nothing is written.
    unsafe { sigaction(signal, null(), &mut action) };
    action.sa_sigaction as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" fn handle(_: c_int) {}

    #[test]
    fn handled_in_finds_the_signal_whose_handler_is_in_the_code() {
        let place = handle as *const () as u64;
        let code = place..place + 1;
        let code = std::slice::from_ref(&code);
        assert_eq!(handled_in(code), None);
        // SAFETY: the handler does nothing, and no other test uses this signal.
        let before = unsafe { libc::signal(libc::SIGURG, handle as *const () as usize) };
        assert_eq!(handled_in(code).as_deref(), Some("SIGURG"));
        // SAFETY: restores the previous action.
        unsafe { libc::signal(libc::SIGURG, before) };
        assert_eq!(handled_in(code), None);
    }
}
