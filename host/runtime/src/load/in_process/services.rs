//! The functions of the host that a plugin calls. They receive the plugin's log events and panics, which
//! `plugin-api/src/bridge.rs` sends.

use super::{cancel::cancelled, hooks};
use crate::{
    load::reporter::{ReportSink, print_panic},
    panic_location,
};
use parking_lot::{Mutex, RwLock};
use replug_api::abi::{HostServices, LogRecord, Object, PanicRecord};
use replug_wire::{Level, Report};
use std::{
    backtrace::Backtrace,
    collections::HashMap,
    env,
    ffi::{CStr, OsStr},
    os::unix::ffi::OsStrExt,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    path::{Path, PathBuf},
    ptr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// The report sinks of all mapped libraries: by the number that a library passes with each log event, and by the
/// library's path, which is found by the address of a panic.
///
/// A mapped library may report at any time, from a thread of its own. An unmapped library has no entry.
static REPORTERS: LazyLock<RwLock<Reporters>> = LazyLock::new(RwLock::default);
/// Held by the thread that changes panic hooks.
static HOOK_CHANGE: Mutex<()> = Mutex::new(());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The function [`PluginRoot::hook_panics`](replug_api::abi::PluginRoot::hook_panics) of a library, which sets or
/// removes the library's own panic hook.
pub(super) type HookPanics = extern "C" fn(bool);

#[derive(Default)]
struct Reporters {
    by_number: HashMap<u64, (Arc<dyn ReportSink>, HookPanics)>,
    by_path: HashMap<PathBuf, u64>,
}

/// Registers a report sink for the library at `path`, and makes the table of functions that the library calls.
pub(super) fn services(path: &Path, reporter: impl ReportSink, hook: HookPanics) -> HostServices {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let max_level = reporter.max_level().0;
    let mut reporters = REPORTERS.write();
    reporters.by_number.insert(number, (Arc::new(reporter), hook));
    reporters.by_path.insert(path.into(), number);
    HostServices { reporter: number, max_level, log, panicked, cancelled }
}

/// Removes the report sink and the panic hook of a library that is about to be unmapped.
///
/// Plugins that link the shared standard library share one hook. For such a plugin, the hook of another library
/// replaces the removed hook.
pub(super) fn forget(path: &Path) {
    // Only one thread changes hooks at a time, so that no other thread unmaps a library whose hook this thread is about
    // to set.
    let _one_at_a_time = HOOK_CHANGE.lock();
    let (leaving, staying) = {
        let mut reporters = REPORTERS.write();
        let leaving = reporters.by_path.remove(path).and_then(|number| reporters.by_number.remove(&number));
        (leaving, reporters.by_number.values().map(|(_, hook)| *hook).collect::<Vec<_>>())
    };
    // The lock of `REPORTERS` must be released here: changing the hook waits for panics that are being reported, and
    // reporting them takes that lock.
    if let Some((_, hook)) = leaving {
        // Setting the library's own hook drops a hook that the author has set, while the code of that hook is still
        // mapped.
        hook(true);
        hook(false);
        staying.iter().for_each(|hook| hook(true));
        hooks::restore_own();
    }
}

/// Connects a library to the host by its [`PluginRoot::attach`](replug_api::abi::PluginRoot::attach).
pub(super) fn attach(attach: extern "C" fn(HostServices), services: HostServices) {
    // Attaching a library changes the program's hook, if the plugin shares the standard library with the program.
    let _one_at_a_time = HOOK_CHANGE.lock();
    hooks::take_own();
    attach(services);
    hooks::restore_own();
}

extern "C" fn log(reporter: u64, record: &LogRecord<'_>) {
    contain(|| {
        let reporter = REPORTERS.read().by_number.get(&reporter).map(|(reporter, _)| reporter.clone());
        let Some(reporter) = reporter else { return };
        reporter.report(Report::Log {
            level: Level(record.level),
            target: record.target.into(),
            message: record.message.into(),
            fields: record.fields.into(),
            spans: record.spans.into(),
        });
    });
}

extern "C" fn panicked(record: &PanicRecord<'_>) {
    contain(|| {
        let location = format!("{}:{}:{}", record.file, record.line, record.column);
        panic_location::note(&record.message, &location);
        let reporter = reporter_at(record.location);
        let (message, backtrace) = (record.message.as_str(), record.backtrace.as_str());
        // The plugin's std does not know the names of threads that the host's std has started.
        let here = record.thread.is_empty().then(thread::current);
        let thread =
            here.as_ref().map_or(Some(record.thread.as_str()), thread::Thread::name).unwrap_or_default();
        match reporter {
            Some(reporter) => reporter.report(Report::Panic {
                message: message.into(),
                location,
                thread: thread.into(),
                backtrace: backtrace.into(),
            }),
            None => print_panic(("unknown", 0), (message, &location, thread, backtrace)),
        }
    });
}

/// Reports a panic that the program's standard library passes to its hook, if the panic comes from the library of a
/// plugin. Returns whether the panic was reported.
pub(super) fn report(info: &PanicHookInfo<'_>) -> bool {
    let Some(location) = info.location() else { return false };
    let place = Object(ptr::from_ref(location).cast());
    if !library_at(place).is_some_and(|path| REPORTERS.read().by_path.contains_key(&path)) {
        return false;
    }
    let payload = info.payload();
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "a panic whose payload is not text",
    };
    let wanted = env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    let backtrace = if wanted { Backtrace::force_capture().to_string() } else { String::new() };
    panicked(&PanicRecord {
        message: message.into(),
        file: location.file().into(),
        line: location.line(),
        column: location.column(),
        location: place,
        thread: thread::current().name().unwrap_or_default().into(),
        backtrace: backtrace.as_str().into(),
    });
    true
}

/// The sink for the reports of the library that contains an address.
///
/// If a panic begins inside the shared standard library, its address is in no plugin's library. Such a panic is
/// attributed to a plugin only if no other plugin has a reporter.
fn reporter_at(address: Object) -> Option<Arc<dyn ReportSink>> {
    let path = library_at(address);
    let reporters = REPORTERS.read();
    let number = path.and_then(|path| reporters.by_path.get(&path).copied());
    let (reporter, _) = match number {
        Some(number) => reporters.by_number.get(&number)?,
        None => reporters.by_number.values().next().filter(|_| reporters.by_number.len() == 1)?,
    };
    Some(Arc::clone(reporter))
}

/// The path of the library that contains an address.
pub(super) fn library_at(address: Object) -> Option<PathBuf> {
    // SAFETY: an all-zero `Dl_info` is a valid value of a C struct of pointers.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: `dladdr` takes any address, and `info` is a place to write to.
    if unsafe { libc::dladdr(address.0.cast(), &mut info) } == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: `dladdr` succeeded, so the name is a C string that is valid while its library is mapped. The library
    // stays mapped meanwhile: it contains the program's standard library, or the panic that is being reported runs in it.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())).to_owned())
}

/// Runs host code on behalf of a plugin. No panic may unwind into the plugin.
fn contain(work: impl FnOnce()) {
    // A panic that is caught here came from the host's own subscriber, and the host's hook has printed it.
    let _ = catch_unwind(AssertUnwindSafe(work));
}
