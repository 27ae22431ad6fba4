//! Capabilities, which a plugin in a process of its own does not have.
//!
//! One is kept where the host has it, as root does: `CAP_DAC_OVERRIDE`. Without it, root reads no file of another user's that is
//! closed to others, and the plugins folder may lie below such a folder: the artifact could not be opened, nor the data
//! folder be written to. It gives a process of root's little: without any capability, it may write to root's own files all the
//! same.

use rustix::{
    io::{Errno, Result},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    },
};

/// Gives them up for good, for this process and all that it starts. To be called before it has a second thread.
///
/// What remains in the bounding set where this process may not change that, as other users than root may not, is out of reach
/// with `no_new_privs`.
pub(super) fn give_up() -> Result<()> {
    let held = capabilities(None)?;
    let kept = held.permitted & CapabilitySet::DAC_OVERRIDE;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        // In order, up to the first that this kernel does not know.
        for capability in (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
            match capability_is_in_bounding_set(capability) {
                Ok(true) if !kept.contains(capability) => remove_capability_from_bounding_set(capability)?,
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    match clear_ambient_capability_set() {
        // Before Linux 4.3 there was none.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error),
    }
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}
