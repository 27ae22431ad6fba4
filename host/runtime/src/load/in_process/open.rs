//! Opens the library at a path and checks its root module: the table of functions that every plugin exports.

use super::extent::{extent, is_open};
use crate::interface::{RootMismatch, check_root};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use parking_lot::Mutex;
use replug_api::{
    abi::{self, Descriptor, InterfaceExport, PluginRootRef},
    abi_stable::library::{AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL},
};
use std::{
    error::Error as _,
    ffi::OsStr,
    fs::{self, File, Metadata},
    io::{self, Read as _, Seek as _},
    mem::{self, ManuallyDrop},
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why an artifact could not be loaded into this process. The previous generation keeps serving.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The dynamic loader rejected the library.
    #[error("the dynamic loader rejects {path}: {reason}")]
    Open {
        /// The private copy to be opened.
        path: PathBuf,
        /// The message of the loader.
        reason: String,
    },
    /// The process has too little static thread-local storage left for the library.
    #[error(
        "the dynamic loader rejects {path}: {reason}; the C code of the plugin or of one of its libraries needs static thread-local storage, and this process has too little left; compile the C code with `-ftls-model=global-dynamic`, set `mode = \"auto\"` or `mode = \"process\"`, or start the host with GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096"
    )]
    NoStaticTls {
        /// The private copy to be opened.
        path: PathBuf,
        /// The message of the loader.
        reason: String,
    },
    /// This process uses another shared standard library of the same name.
    #[error(
        "{path} needs the standard library {needed}, but this process has loaded a different library of that name, {loaded}, and cannot load both; build all plugins with the same toolchain and restart the host, or set `mode = \"auto\"` or `mode = \"process\"`"
    )]
    OtherStd {
        /// The private copy to be opened.
        path: PathBuf,
        /// The standard library that the artifact was built with.
        needed: PathBuf,
        /// The standard library of this process.
        loaded: PathBuf,
    },
    /// The library exports no root module.
    #[error(
        "{path} is not a replug plugin: it exports no root module; write `replug_api::export!(YourType: YourTrait);`"
    )]
    NoRoot {
        /// The file.
        path: PathBuf,
    },
    /// The library was built with an incompatible version of abi_stable, or for a different C ABI.
    #[error(
        "{path} was built with a different version of abi_stable than this host: {reason}; rebuild it with the host's version of replug-api"
    )]
    OtherAbiStable {
        /// The file.
        path: PathBuf,
        /// The versions of the plugin and the host.
        reason: String,
    },
    /// The library was built with a different version of `replug-api`.
    #[error("{path} was built with a different version of replug-api than this host: {0}; rebuild it with the host's version", path = .1.display())]
    OtherApi(#[source] RootMismatch, PathBuf),
    /// No thread could be started for a plugin that runs on threads of its own.
    #[error(
        "{path} was not loaded: no thread could be started for it: {reason}; raise the limit on threads or on address space, or set `unload = \"never\"`"
    )]
    NoThread {
        /// The private copy to be opened.
        path: PathBuf,
        /// The message of the system.
        reason: String,
    },
    /// A panic in the plugin would abort the process.
    #[error(
        "{path} was built with `panic = \"abort\"`: a panic in it would crash the host; build it with `panic = \"unwind\"`, or set `mode = \"auto\"` or `mode = \"process\"`"
    )]
    PanicAborts {
        /// The file.
        path: PathBuf,
    },
}

replug_model::readable::readable!(LoadError);

/// A library that is mapped and checked, and has no instance yet. It stays mapped when this value is dropped.
pub(crate) struct Opened {
    pub(super) library: ManuallyDrop<Library>,
    pub(in crate::load) root: PluginRootRef,
    pub(crate) descriptor: Descriptor,
    pub(super) path: PathBuf,
    /// The addresses of the library.
    pub(crate) mapped: Range<u64>,
}

impl Opened {
    /// Checks that a panic in the plugin does not abort the process.
    ///
    /// # Errors
    ///
    /// [`LoadError::PanicAborts`]
    pub(crate) fn contains_panics(&self) -> Result<(), LoadError> {
        if self.descriptor.panic_unwinds {
            return Ok(());
        }
        Err(LoadError::PanicAborts { path: self.path.clone() })
    }

    /// The names of the plugin's interfaces, in the order of `export!`, each with the names of its methods.
    pub(crate) fn method_names(&self) -> Vec<(String, Vec<String>)> {
        let interfaces = self.root.interfaces()();
        let methods =
            |it: &InterfaceExport| it.methods.iter().map(|method| method.name.to_string()).collect();
        interfaces.iter().map(|it| (it.name.to_string(), methods(it))).collect()
    }
}

/// The shared standard libraries that artifacts need. They are kept open, so that they stay mapped after a plugin that
/// needs them was unmapped.
static PINNED: Mutex<Vec<Pinned>> = Mutex::new(Vec::new());

struct Pinned {
    /// The library that an artifact needs. This process has loaded this file, or one with the same name and content.
    std: PathBuf,
    loaded: Loaded,
}

/// The file of a loaded standard library.
#[derive(Clone)]
struct Loaded {
    path: PathBuf,
    /// The file itself, because it may have no name any more. `None` if it could not be opened.
    file: Option<Arc<File>>,
}

/// Maps the library at `path` and checks that its root module can be called. This process must never have opened
/// that path or that file before. Runs the library's constructors.
///
/// `shared_std` is the standard library that the library links, if it is a shared one. It is kept open until the
/// process exits, because threads that called the plugin run destructors in it when they exit.
///
/// # Errors
///
/// Any [`LoadError`] except [`LoadError::NoThread`] and [`LoadError::PanicAborts`]. Child processes call this function,
/// too, and there a plugin may be built with `panic = "abort"`. In the host's process, [`Opened::contains_panics`] rejects
/// such a plugin.
pub(crate) fn open(path: &Path, shared_std: Option<&Path>) -> Result<Opened, LoadError> {
    if let Some(std) = shared_std {
        pin(std, path)?;
    }
    // An opened library stays mapped even if it is rejected: its constructors ran, and may have started threads.
    let (library, mapped) = dlopen_new(path)?;
    let library = ManuallyDrop::new(library);
    // SAFETY: the symbol is abi_stable's, and names a static that begins with an `AbiHeader`; `get` returns the address
    // of the static as a reference. The library stays mapped.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) };
    let header = *header.map_err(|_| LoadError::NoRoot { path: path.into() })?;
    let upgraded = header.upgrade().map_err(|error| other_abi_stable(path, &error))?;
    check_root(upgraded).map_err(|mismatch| LoadError::OtherApi(mismatch, path.into()))?;
    // SAFETY: `check_root` has compared the layout of the root module with `PluginRootRef`'s.
    let root = unsafe { upgraded.init_root_module_with_unchecked_layout::<PluginRootRef>() };
    let root = root.map_err(|error| other_abi_stable(path, &error))?;
    let descriptor = root.descriptor()();
    if descriptor.abi_version != abi::ABI_VERSION {
        let mismatch = RootMismatch::AbiVersion { host: abi::ABI_VERSION, plugin: descriptor.abi_version };
        return Err(LoadError::OtherApi(mismatch, path.into()));
    }
    Ok(Opened { library, root, descriptor, path: path.into(), mapped })
}

/// Opens a library that is not open yet, and checks that the loader has opened the file at this path.
///
/// The loader returns an already loaded library if that library has the same name, or if its file has the same device
/// and inode numbers. A file system may report wrong device and inode numbers.
fn dlopen_new(path: &Path) -> Result<(Library, Range<u64>), LoadError> {
    let refused = |reason: &str| LoadError::Open { path: path.into(), reason: reason.into() };
    if extent(path).is_some() {
        return Err(refused("a library of that name is already open, and the loader would return that one"));
    }
    let library = dlopen(path)?;
    if let Some(mapped) = extent(path) {
        return Ok((library, mapped));
    }
    // Not closed: an additional reference to the other library does no harm.
    mem::forget(library);
    Err(refused("the loader returned a library that is already open: the same file, under a different name"))
}

fn dlopen(path: &Path) -> Result<Library, LoadError> {
    // SAFETY: opening a library runs its constructors. In-process mode means that the plugin's code is trusted with
    // this process. The path is new to this process, so the loader does not return an older library for it.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        // The error itself says only that opening failed; its source has the message of the loader.
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        match reason.contains("static TLS block") {
            true => LoadError::NoStaticTls { path: path.into(), reason },
            false => LoadError::Open { path: path.into(), reason },
        }
    })
}

/// Keeps the standard library `std` open, for the artifact at `path`.
fn pin(std: &Path, path: &Path) -> Result<(), LoadError> {
    let mut pinned = PINNED.lock();
    if pinned.iter().any(|known| known.std == std) {
        return Ok(());
    }
    let name = std.file_name().unwrap_or_default();
    // The same library may be loaded already, from another folder or with the program itself. A second copy must not be
    // loaded: the loader resolves the plugin's dependency by name, and would use the first copy.
    const RTLD_NOLOAD: i32 = 4;
    let known = || {
        // SAFETY: with RTLD_NOLOAD nothing is opened, so no constructor runs.
        unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD) }.ok()
    };
    // If the library is not open, as in most new child processes, RTLD_NOLOAD would make the loader search all folders
    // of the system for the file.
    let before = is_open(name).then(known).flatten();
    let is_new = before.is_none();
    let _stays_open = ManuallyDrop::new(before.map_or_else(|| dlopen(std), Ok)?);
    let loaded = match pinned.iter().find(|known| known.std.file_name() == Some(name)) {
        Some(known) => known.loaded.clone(),
        None if is_new => Loaded::open(std.to_owned()),
        None => Loaded::open(mapped_file(name).unwrap_or_default()),
    };
    if loaded.differs_from(std) {
        let (path, needed) = (path.to_owned(), std.to_owned());
        return Err(LoadError::OtherStd { path, needed, loaded: loaded.path });
    }
    pinned.push(Pinned { std: std.into(), loaded });
    Ok(())
}

impl Loaded {
    fn open(path: PathBuf) -> Self {
        Self { file: File::open(&path).ok().map(Arc::new), path }
    }

    /// Whether the file at `path` has another content. Returns `false` if one of the files cannot be read, for example
    /// because the toolchain of this program was removed.
    fn differs_from(&self, path: &Path) -> bool {
        let Some(file) = self.file.as_deref() else { return false };
        let identity = |it: io::Result<Metadata>| it.map(|it| (it.dev(), it.ino())).ok();
        let own = identity(file.metadata());
        if own.is_some() && own == identity(fs::metadata(path)) {
            return false;
        }
        let mut content = Vec::new();
        let mut reader = file;
        let read = reader.rewind().and_then(|()| reader.read_to_end(&mut content));
        matches!((read, fs::read(path)), (Ok(_), Ok(other)) if other != content)
    }
}

/// The path of the file with this name that is mapped into this process.
fn mapped_file(name: &OsStr) -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let mut files = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    files.find(|file| file.file_name() == Some(name)).map(Path::to_owned)
}

fn other_abi_stable(path: &Path, error: &LibraryError) -> LoadError {
    let reason = match error {
        LibraryError::InvalidAbiHeader(found) => {
            let own = abi_stable::library::AbiHeader::VALUE;
            format!(
                "it uses abi {}.{}, and the host has {}.{}",
                found.abi_major, found.abi_minor, own.abi_major, own.abi_minor
            )
        }
        other => other.to_string(),
    };
    LoadError::OtherAbiStable { path: path.into(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies a library of this machine to `path`. The test calls no function of the library.
    fn copy_of_a_library(path: &Path) {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let known = maps
            .lines()
            .find_map(|line| line.find('/').map(|at| &line[at..]).filter(|it| it.contains("libgcc_s")));
        fs::copy(known.unwrap(), path).unwrap();
    }

    #[test]
    fn a_library_that_is_already_open_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second, other] = ["first.so", "second.so", "other.so"].map(|name| dir.path().join(name));
        copy_of_a_library(&first);
        let _open = dlopen_new(&first).unwrap();
        let reason = |path: &Path| dlopen_new(path).map(drop).unwrap_err().to_string();
        // The name is the same, but the file differs.
        fs::rename(&first, &second).unwrap();
        copy_of_a_library(&first);
        assert!(reason(&first).contains("a library of that name is already open"), "{}", reason(&first));
        // The file is the same, but the name differs.
        assert!(reason(&second).contains("the same file, under a different name"), "{}", reason(&second));
        copy_of_a_library(&other);
        drop(dlopen_new(&other).unwrap());
    }
}
