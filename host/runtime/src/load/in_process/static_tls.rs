//! Counts how much static thread-local storage the generations in this process use.
//!
//! Each thread has a block of this storage, whose size is fixed when the program starts. A library whose code accesses
//! thread-local data at fixed offsets (`-ftls-model=initial-exec`) takes a part of the block. After the library is
//! unmapped, its part can be used again only if no other library has taken a part later.

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
};

/// How many bytes glibc reserves for libraries that are opened after the program has started, unless its tunables set
/// a different number.
pub const STATIC_TLS_LIMIT: u64 = 512;

/// How many bytes the opened generations use. All hosts of the process share this count.
static USED: AtomicU64 = AtomicU64::new(0);

/// Counts a library that was opened and uses this many bytes.
pub(crate) fn take_static_tls(bytes: u64) {
    USED.fetch_add(bytes, Ordering::Relaxed);
}

/// How many bytes of static thread-local storage the libraries of the opened generations use.
pub fn static_tls_used() -> u64 {
    USED.load(Ordering::Relaxed)
}

/// How many bytes are reserved for libraries that are opened after the program has started, according to glibc's
/// tunables.
pub fn static_tls_limit() -> u64 {
    env::var(TUNABLES).ok().and_then(|tunables| tunable(&tunables)).unwrap_or(STATIC_TLS_LIMIT)
}

/// The environment variable with the tunables that glibc reads when a program starts.
pub(crate) const TUNABLES: &str = "GLIBC_TUNABLES";

/// The tunables for a process that needs this many bytes more than this process has.
pub(crate) fn more_static_tls(bytes: u64) -> String {
    let before = env::var(TUNABLES).unwrap_or_default();
    let wanted = tunable(&before).unwrap_or(STATIC_TLS_LIMIT).saturating_add(bytes);
    let others = before.split(':').filter(|it| !it.is_empty() && !it.starts_with(OPTIONAL));
    others.map(str::to_owned).chain([format!("{OPTIONAL}{wanted}")]).collect::<Vec<_>>().join(":")
}

const OPTIONAL: &str = "glibc.rtld.optional_static_tls=";

fn tunable(tunables: &str) -> Option<u64> {
    let mut values = tunables.split(':').filter_map(|it| it.strip_prefix(OPTIONAL));
    values.next_back().and_then(|value| match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_parsed_from_the_tunables_of_glibc() {
        assert_eq!(tunable("glibc.malloc.arena_max=1:glibc.rtld.optional_static_tls=4096"), Some(4096));
        assert_eq!(tunable("glibc.rtld.optional_static_tls=0x1000"), Some(4096));
        assert_eq!(tunable("glibc.rtld.nns=4"), None);
    }

    #[test]
    fn more_static_tls_adds_the_bytes_to_the_limit() {
        assert_eq!(tunable(&more_static_tls(1000)), Some(1000 + static_tls_limit()));
    }

    #[test]
    fn static_tls_used_is_the_sum_of_the_bytes_of_all_libraries() {
        let before = static_tls_used();
        take_static_tls(3);
        take_static_tls(4);
        assert!(static_tls_used() >= before + 7);
    }
}
