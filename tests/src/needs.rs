//! What a test needs beside Rust and a C compiler: installed where that may be done, and said where it is done without.

use std::{
    env,
    io::{self, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

/// Whether tests may install the programs that they miss: on a machine that is there for tests (`CI=true`), or where
/// somebody asked for it (`REPLUG_INSTALL=1`).
pub fn may_install() -> bool {
    let is = |name, wanted| env::var_os(name).is_some_and(|value| value == wanted);
    is("CI", "true") || is("REPLUG_INSTALL", "1")
}

/// To be held by whoever runs `apt-get`, which refuses to run twice at a time.
pub fn alone_with_apt() -> MutexGuard<'static, ()> {
    static APT: Mutex<()> = Mutex::new(());
    APT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that the running test leaves something out, and why.
pub fn skipped(why: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not by a macro: what those print is shown for tests that fail only, and nobody would hear of it.
    let _ = writeln!(io::stderr(), "SKIPPED in {test}: {why}");
}
