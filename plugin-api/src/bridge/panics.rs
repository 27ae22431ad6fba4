//! Passes panics to the host instead of printing them.

use super::{HOST, backtrace::trimmed};
use crate::abi::{Object, PanicRecord};
use std::{
    backtrace::Backtrace,
    panic::{self, PanicHookInfo},
    sync::Mutex,
    thread,
};

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// The address of this library's hook while it is installed, which distinguishes it from the hook of another library.
static OURS: Mutex<Option<usize>> = Mutex::new(None);

/// Installs this library's panic hook.
///
/// Libraries that link the shared libstd share one hook, and each library replaces the previous hook. This does no
/// harm, because the host finds out from the panic's location which library has panicked.
pub(crate) fn hook_panics() {
    let mut ours = OURS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let hook = own_hook();
    *ours = Some(address(&hook));
    panic::set_hook(hook);
}

/// Removes this library's panic hook, unless it has been replaced already.
pub(crate) fn unhook_panics() {
    let mut ours = OURS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Some(ours) = ours.take() else { return };
    let present = panic::take_hook();
    if address(&present) != ours {
        panic::set_hook(present);
    }
}

/// A hook with an address of its own.
fn own_hook() -> Hook {
    let library = &raw const HOST as usize;
    Box::new(move |info| {
        // The closure captures a value, so that its box has an address of its own: all boxes of closures that capture
        // nothing have the same address.
        std::hint::black_box(library);
        report(info);
    })
}

fn address(hook: &Hook) -> usize {
    (&raw const **hook).cast::<()>() as usize
}

fn report(info: &PanicHookInfo<'_>) {
    let Some(host) = HOST.get() else { return };
    let payload = info.payload();
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "a panic whose payload is not text",
    };
    let backtrace = match std::env::var_os("RUST_BACKTRACE") {
        None => String::new(),
        Some(value) if value == "0" => String::new(),
        Some(value) if value == "full" => Backtrace::force_capture().to_string(),
        Some(_) => trimmed(&Backtrace::force_capture().to_string()),
    };
    let location = info.location();
    let thread = thread::current();
    (host.panicked)(&PanicRecord {
        message: message.into(),
        file: location.map_or("", |at| at.file()).into(),
        line: location.map_or(0, |at| at.line()),
        column: location.map_or(0, |at| at.column()),
        location: Object(location.map_or(std::ptr::null(), |at| std::ptr::from_ref(at).cast())),
        thread: thread.name().unwrap_or_default().into(),
        backtrace: backtrace.as_str().into(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unhook_removes_the_librarys_own_hook_and_keeps_another_one() {
        let before = panic::take_hook();
        hook_panics();
        let another = own_hook();
        let address_of_other = address(&another);
        panic::set_hook(another);
        unhook_panics();
        let left = panic::take_hook();
        assert_eq!(address(&left), address_of_other);

        hook_panics();
        let own = OURS.lock().unwrap().unwrap();
        unhook_panics();
        let default = panic::take_hook();
        assert_ne!(address(&default), own);
        panic::set_hook(before);
    }
}
