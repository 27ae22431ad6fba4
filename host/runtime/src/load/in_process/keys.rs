//! Counts the thread-specific data keys that this process uses.

/// The number of `pthread` keys that this process uses. glibc has 1,024 keys for each process.
///
/// Each copy of Rust's standard library uses at least one key until the process exits. If no key is free, a new copy
/// aborts the process.
///
/// The C library assigns the lowest free key. If all lower keys are used, the number of that key is the number of used
/// keys. But some lower keys may have been freed: for example, a copy of std cannot use key 0, and frees it again. So
/// this function takes eight keys, which first fill such gaps. If there are more gaps than that, the result is too low.
pub fn tls_keys_used() -> usize {
    let mut taken = Vec::with_capacity(GAPS);
    while taken.len() < GAPS {
        let mut key: libc::pthread_key_t = 0;
        // SAFETY: `key` is a place to write to, and no destructor is registered.
        if unsafe { libc::pthread_key_create(&mut key, None) } != 0 {
            break;
        }
        taken.push(key);
    }
    for &key in &taken {
        // SAFETY: the key was made above, and no value was ever stored under it.
        unsafe { libc::pthread_key_delete(key) };
    }
    match taken.iter().max() {
        Some(&highest) if taken.len() == GAPS => highest as usize + 1 - GAPS,
        _ => TLS_KEYS_MAX - taken.len(),
    }
}

/// How many keys below the highest used key may be free without an effect on the count.
const GAPS: usize = 8;

/// `PTHREAD_KEYS_MAX` of glibc.
const TLS_KEYS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_local_keys_in_use_are_counted_after_some_are_freed() {
        let take = || {
            let mut key = 0;
            // SAFETY: as in `tls_keys_used`.
            assert_eq!(unsafe { libc::pthread_key_create(&mut key, None) }, 0);
            key
        };
        // SAFETY: as in `tls_keys_used`.
        let give_back = |key| assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0);
        // Other tests take fewer than 100 keys meanwhile.
        let keys: Vec<_> = (0..100).map(|_| take()).collect();
        give_back(keys[0]);
        give_back(keys[1]);
        let used = tls_keys_used();
        assert!((98..200).contains(&used), "{used}");
        keys[2..].iter().for_each(|key| give_back(*key));
    }
}
