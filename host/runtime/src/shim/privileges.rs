//! Gives up the capabilities of the process, because a plugin in a child process does not get them.
//!
//! The shim keeps one capability if the host has it, as root does: `CAP_DAC_OVERRIDE`. Without it, root has access to a
//! file of another user only if the file's permissions give access to all users. If the plugins folder is below a
//! folder that only its owner has access to, the shim could neither open the artifact nor write the data folder. The
//! capability adds little to a process of root: even without any capability, it may write to root's own files.

use rustix::{
    io::{Errno, Result},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    },
};

/// Gives up the capabilities permanently, for this process and its descendants. This process must have only one thread,
/// because capabilities are properties of the calling thread.
///
/// Only root may change the bounding set. The capabilities that remain there cannot be regained, because of
/// `no_new_privs`.
pub(super) fn give_up() -> Result<()> {
    let held = capabilities(None)?;
    let kept = held.permitted & CapabilitySet::DAC_OVERRIDE;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        // The loop goes up to the first capability that this kernel does not know.
        for capability in (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
            match capability_is_in_bounding_set(capability) {
                Ok(true) if !kept.contains(capability) => remove_capability_from_bounding_set(capability)?,
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    match clear_ambient_capability_set() {
        // Kernels before 4.3 have no ambient capabilities.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error),
    }
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}
