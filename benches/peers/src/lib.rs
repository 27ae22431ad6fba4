//! Calls of the methods of one plugin through other plugin systems, the peers. The benchmark `call` loads this library
//! and lets the peers take turns with replug. The loops are in this library, so that the compiler can optimize each as
//! a whole.

mod peers;
mod polyplug;
mod table;

use std::{
    error::Error,
    ffi::{c_char, c_void, CStr, CString},
    hint::black_box,
    path::Path,
    ptr,
    time::Instant,
};
use table::{Open, Peer, Peers, Repeated};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The argument of `greet`.
const NAME: &str = "World";

/// The two methods, through a peer.
struct Methods {
    number: Repeated,
    text: Repeated,
}

/// A peer: its name, which version a call reaches after a reload, and how it opens the plugin.
type Entry = (&'static str, &'static str, fn(&Path) -> Outcome<Methods>);

/// A call reaches the old version, and nothing keeps that version mapped during the call.
const UNPROTECTED: &str = "the old version, unprotected";
const NEW: &str = "the new version";
const NO_RELOAD: &str = "it cannot reload";

const ALL: &[Entry] = &[
    ("libloading 0.9: function pointer, fetched once", UNPROTECTED, peers::pointer),
    ("stabby 72.1: trait object", NO_RELOAD, peers::stabby),
    ("abi_stable 0.11: `sabi_trait` object", NO_RELOAD, peers::sabi),
    ("savefile-abi 0.20: trait object", NO_RELOAD, peers::savefile),
    ("polyplug 0.1: cached function pointer", UNPROTECTED, polyplug::cached),
    ("polyplug 0.1: find, resolve, call", NEW, polyplug::resolved),
    ("hot-lib-reloader 0.8: generated function", NEW, peers::hot_lib_reloader),
];

/// Loads the plugin with each of the peers.
///
/// # Safety
///
/// `folder` is a C string: the folder with the library of the plugin, into which the peers also write.
#[no_mangle]
pub(crate) unsafe extern "C" fn replug_peers(folder: *const c_char) -> Peers {
    // SAFETY: the caller promises it.
    let folder = unsafe { CStr::from_ptr(folder) }.to_string_lossy().into_owned();
    let peers: Vec<Peer> = ALL.iter().map(|entry| open(entry, Path::new(&folder))).collect();
    let peers = peers.leak();
    Peers { first: peers.as_ptr(), count: peers.len() }
}

const _: Open = replug_peers;

fn open((name, reaches, open): &Entry, folder: &Path) -> Peer {
    let (methods, failed) = match open(folder) {
        Ok(methods) => (methods, ptr::null()),
        Err(error) => {
            (Methods { number: repeated(|_| ()), text: repeated(|_| ()) }, leaked(&error.to_string()))
        }
    };
    Peer { name: leaked(name), reaches: leaked(reaches), failed, number: methods.number, text: methods.text }
}

fn leaked(text: &str) -> *const c_char {
    CString::new(text.replace('\0', " ")).unwrap_or_default().into_raw()
}

/// The loops of both methods. `read` copies a text of the peer, to check it.
fn methods<T>(
    number: impl Fn(u64) -> u64,
    text: impl Fn(&str) -> T,
    read: impl Fn(&T) -> String,
) -> Outcome<Methods> {
    let (sum, greeting) = (number(41), read(&text(NAME)));
    if sum != 42 || greeting != "Hello, World!" {
        return Err(format!("the plugin answers {sum} and {greeting:?}").into());
    }
    Ok(Methods { number: repeated(number), text: repeated(move |_| text(black_box(NAME))) })
}

/// A loop that repeats a call. What the call needs is never freed.
fn repeated<T, F: Fn(u64) -> T>(call: F) -> Repeated {
    unsafe extern "C" fn run<T, F: Fn(u64) -> T>(state: *const c_void, repetitions: u64) -> u64 {
        // SAFETY: `repeated` has made the pointer from a leaked box of this type.
        let call = unsafe { &*state.cast::<F>() };
        let began = Instant::now();
        for by in 0..repetitions {
            black_box(call(black_box(by)));
        }
        u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
    Repeated { state: ptr::from_ref(Box::leak(Box::new(call))).cast(), run: run::<T, F> }
}
