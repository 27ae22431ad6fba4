//! Counts how much static thread-local storage the generations in this process use.
//!
//! Each thread has a block of this storage, whose size is fixed when the program starts. A library whose code accesses
//! thread-local data at fixed offsets (`-ftls-model=initial-exec`) takes a part of the block. After the library is
//! unmapped, its part can be used again only if no other library has taken a part later.

use parking_lot::Mutex;
use std::{
    env,
    path::{Path, PathBuf},
};

/// How many bytes glibc reserves for libraries that are opened after the program has started, unless its tunables set
/// a different number.
pub const STATIC_TLS_LIMIT: u64 = 512;

/// The parts that the generations of all hosts of this process have taken.
static TAKEN: Mutex<Taken> = Mutex::new(Taken { parts: Vec::new() });

/// The taken parts of the block, in the order in which they were taken.
struct Taken {
    parts: Vec<Part>,
}

struct Part {
    /// The private copy from which the library was opened.
    path: PathBuf,
    bytes: u64,
}

impl Taken {
    fn take(&mut self, path: &Path, bytes: u64) {
        if bytes > 0 {
            self.parts.push(Part { path: path.to_owned(), bytes });
        }
    }

    /// The loader takes back only the part that was taken last. Any other part is lost: the loader does not take it
    /// back later either.
    fn give_back(&mut self, path: &Path) {
        self.parts.pop_if(|last| last.path == path);
    }

    fn used(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

/// A lock. It is held while a library is opened and its part is counted, and while a library is unmapped and its part
/// is removed from the count. So the parts are counted in the order in which the loader takes them. The lock adds no
/// delay, because the loader opens only one library at a time anyway.
pub(crate) fn static_tls_order() -> impl Drop {
    static ORDER: Mutex<()> = Mutex::new(());
    ORDER.lock()
}

/// Counts a library that was opened from this path and uses this many bytes.
pub(crate) fn take_static_tls(path: &Path, bytes: u64) {
    TAKEN.lock().take(path, bytes);
}

/// Notes that the library that was opened from this path was unmapped.
pub(super) fn give_back_static_tls(path: &Path) {
    TAKEN.lock().give_back(path);
}

/// How many bytes of static thread-local storage the libraries of the opened generations use, or have used and cannot
/// give back.
pub fn static_tls_used() -> u64 {
    TAKEN.lock().used()
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
    fn only_the_part_that_was_taken_last_can_be_used_again() {
        let mut taken = Taken { parts: Vec::new() };
        let [first, second, third, without] = ["first", "second", "third", "without"].map(Path::new);
        taken.take(first, 100);
        taken.take(without, 0);
        taken.take(second, 20);
        taken.take(third, 3);
        assert_eq!(taken.used(), 123);
        taken.give_back(without);
        taken.give_back(second);
        assert_eq!(taken.used(), 123);
        taken.give_back(third);
        assert_eq!(taken.used(), 120);
        taken.give_back(first);
        assert_eq!(taken.used(), 120, "the second library's part was taken later, and is lost");
    }

    #[test]
    fn static_tls_used_counts_an_opened_library_until_it_is_unmapped() {
        let path = Path::new("/a/private/copy.so");
        take_static_tls(path, 7);
        let with = static_tls_used();
        give_back_static_tls(path);
        assert_eq!(static_tls_used(), with - 7);
    }
}
