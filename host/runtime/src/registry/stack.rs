//! Measures how much of its stack the calling thread has left.

use std::{cell::Cell, mem::MaybeUninit, ptr::null_mut};

thread_local! {
    /// The lowest usable address of the thread's stack, and the address after its highest. Both are 0 if they are
    /// unknown; `None` before the first lookup.
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// How many bytes of stack the calling thread has left; `None` if that is unknown, for example in a coroutine with its
/// own stack.
pub(crate) fn stack_left() -> Option<usize> {
    let (end, start) = STACK.get().unwrap_or_else(|| {
        let stack = look();
        STACK.set(Some(stack));
        stack
    });
    let here = 0_u8;
    let here = std::ptr::from_ref(std::hint::black_box(&here)).addr();
    (end..start).contains(&here).then(|| here - end)
}

/// The stack that the C library has allocated for the thread: the lowest usable address, and the address after the
/// highest. Both are 0 if the C library does not report them.
fn look() -> (usize, usize) {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: `attributes` is a place to write to, and the thread is the calling one.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
        return (0, 0);
    }
    let (mut lowest, mut size, mut guard) = (null_mut(), 0, 0);
    // SAFETY: `pthread_getattr_np` has initialised the attributes, and the other arguments are places to write to.
    let (stack, guarded) = unsafe {
        let attributes = attributes.as_mut_ptr();
        let stack = libc::pthread_attr_getstack(attributes, &mut lowest, &mut size);
        let guarded = libc::pthread_attr_getguardsize(attributes, &mut guard);
        libc::pthread_attr_destroy(attributes);
        (stack, guarded)
    };
    match (stack, guarded) {
        // The C library may count the guard as a part of the stack.
        (0, 0) => (lowest.addr() + guard, lowest.addr() + size),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[inline(never)]
    fn deeper(levels: usize) -> usize {
        let room = std::hint::black_box([0_u8; 4096]);
        let left = if levels == 0 { stack_left().unwrap() } else { deeper(levels - 1) };
        left.min(usize::MAX - usize::from(room[0]))
    }

    #[test]
    fn stack_left_is_less_than_the_stack_and_shrinks_with_each_frame() {
        let left = || (stack_left().unwrap(), deeper(8));
        let spawned = thread::Builder::new().stack_size(256 << 10).spawn(left).unwrap();
        let (all, deep) = spawned.join().unwrap();
        assert!((128 << 10..256 << 10).contains(&all), "{all}");
        assert!(deep + 8 * 4096 <= all, "{deep} of {all}");
    }
}
