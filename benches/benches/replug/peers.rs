//! The *peers*: the other plugin systems that the benchmarks compare with replug. The code that calls them is a
//! workspace of its own, `benches/peers`, which is compiled when a benchmark needs it.

#[path = "../../peers/src/table.rs"]
mod table;

use anyhow::{Context, Result, ensure};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use replug_benches::{Contender, locked, machine};
use replug_tests::{target_dir, workspace};
use std::{
    ffi::{CStr, CString, c_char},
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    process::Command,
    slice,
    time::Duration,
};
use table::{Open, Peer, Repeated};

/// The name of a peer, and why it cannot be measured.
pub(crate) type Missing = (&'static str, String);

/// The peers that call a plugin in this process. Each has loaded the plugin.
pub(crate) struct Peers {
    all: &'static [Peer],
    /// If no peer can be opened: a name for all of them, and the reason.
    failed: Option<Missing>,
}

/// The packages of the peers, whose versions the head of the report contains.
const PACKAGES: [&str; 5] = ["abi_stable", "hot-lib-reloader", "polyplug", "savefile-abi", "stabby"];

/// The head of the report.
pub(crate) fn head() -> Result<Vec<(&'static str, String)>> {
    let lock = std::fs::read_to_string(workspace().join("benches/peers/Cargo.lock"))?;
    Ok(machine().into_iter().chain([("other systems", locked(&lock, &PACKAGES))]).collect())
}

/// Compiles the peers, and returns the folder with their files.
pub(crate) fn build() -> Result<PathBuf> {
    let target = target_dir().join("peers");
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--locked", "--release", "--workspace", "--manifest-path"])
        .arg(workspace().join("benches/peers/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()?;
    ensure!(status.success(), "`cargo build` in benches/peers failed: see its output above");
    Ok(target.join("release"))
}

impl Peers {
    /// Compiles the peers, and lets each load the plugin. The libraries stay open.
    pub(crate) fn open() -> Self {
        match build().and_then(|folder| open(&folder)) {
            Ok(all) => Self { all, failed: None },
            Err(error) => {
                Self { all: &[], failed: Some(("the peers in benches/peers", format!("{error:#}"))) }
            }
        }
    }

    /// For each peer, the loop that calls `increment(by: u64) -> u64` through it.
    pub(crate) fn numbers<'a>(&self) -> impl Iterator<Item = Contender<'a>> + use<'a> {
        self.opened().map(|peer| contender(peer, peer.number, 4))
    }

    /// For each peer, the loop that calls `greet(name: &str) -> String` through it.
    pub(crate) fn texts<'a>(&self) -> impl Iterator<Item = Contender<'a>> + use<'a> {
        self.opened().map(|peer| contender(peer, peer.text, 1))
    }

    /// Which version of a plugin a call through the peer reaches after a reload.
    pub(crate) fn reaches(&self, name: &str) -> Option<&'static str> {
        self.all.iter().find(|peer| text(peer.name) == name).map(|peer| text(peer.reaches))
    }

    /// The peers that cannot be measured, and why.
    pub(crate) fn failed(&self) -> Vec<Missing> {
        let failed = self.all.iter().filter(|peer| !peer.failed.is_null());
        let each = failed.map(|peer| (text(peer.name), text(peer.failed).to_owned()));
        each.chain(self.failed.clone()).collect()
    }

    fn opened(&self) -> impl Iterator<Item = &'static Peer> + use<> {
        self.all.iter().filter(|peer| peer.failed.is_null())
    }
}

fn contender<'a>(peer: &'static Peer, repeated: Repeated, one_in: u64) -> Contender<'a> {
    let run = move |repetitions| {
        // SAFETY: 1: the peer has not failed, so its loops are valid. 2: the library is never closed.
        Duration::from_nanos(unsafe { (repeated.run)(repeated.state, repetitions) })
    };
    Contender { name: text(peer.name), run: Box::new(run), one_in }
}

fn open(folder: &Path) -> Result<&'static [Peer]> {
    // The peers write copies of the plugin into its folder.
    let plugin = folder.join("peers-plugin");
    if plugin.exists() {
        std::fs::remove_dir_all(&plugin)?;
    }
    std::fs::create_dir_all(&plugin)?;
    std::fs::copy(folder.join("libpeer_plugin.so"), plugin.join("libpeer_plugin.so"))?;
    // SAFETY: the only constructors of the library are those of std and of the peers.
    let library = unsafe { Library::open(Some(folder.join("libpeers.so")), RTLD_NOW | RTLD_LOCAL) }?;
    let library = ManuallyDrop::new(library);
    // SAFETY: the library defines the function with this signature: the library and this program both compile
    // `table.rs`.
    let open = unsafe { library.get::<Open>(b"replug_peers\0") }?;
    let plugin = CString::new(plugin.to_str().context("the target folder is not UTF-8")?)?;
    // SAFETY: the argument is a C string, and the result is valid for the life of the process.
    Ok(unsafe {
        let peers = open(plugin.as_ptr());
        slice::from_raw_parts(peers.first, peers.count)
    })
}

/// A text of the table.
fn text(text: *const c_char) -> &'static str {
    // SAFETY: the texts are C strings that are never freed.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("?")
}
