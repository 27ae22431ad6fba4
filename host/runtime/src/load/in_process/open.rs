//! From a path to a library whose root module may be called.

use super::{
    check::{RootMismatch, check_root},
    extent::extent,
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use parking_lot::Mutex;
use replug_api::{
    abi::{self, Descriptor, InterfaceExport, PluginRootRef},
    abi_stable::library::{AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL},
};
use std::{
    error::Error as _,
    mem::{self, ManuallyDrop},
    ops::Range,
    path::{Path, PathBuf},
};

/// Why an artifact could not be brought to life in this process. The generation before it goes on.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The dynamic loader refused it.
    #[error("the dynamic loader refuses {path}: {reason}")]
    Open {
        /// The private copy that was to be opened.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// There is too little static thread-local storage left for it.
    #[error(
        "the dynamic loader refuses {path}: {reason}; its C code, or that of a library that it needs, uses static thread-local storage, of which a process has little: compile it with `-ftls-model=global-dynamic`, say `mode = \"auto\"` or `mode = \"process\"`, or start the host with more: GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096"
    )]
    NoStaticTls {
        /// The private copy that was to be opened.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// It exports no root module.
    #[error(
        "{path} is no replug plugin: it exports no root module; write `replug_api::export!(YourType: YourTrait);`"
    )]
    NoRoot {
        /// The file.
        path: PathBuf,
    },
    /// It was built with an abi_stable, or another C ABI, that cannot be spoken to.
    #[error(
        "{path} was built with another abi_stable than this host: {reason}; rebuild it with the host's version of replug-api"
    )]
    OtherAbiStable {
        /// The file.
        path: PathBuf,
        /// The versions.
        reason: String,
    },
    /// It was built with another version of `replug-api`.
    #[error("{path} was built with another replug-api than this host: {0}; rebuild it with the host's version", path = .1.display())]
    OtherApi(#[source] RootMismatch, PathBuf),
    /// A panic in it would end the process.
    #[error(
        "{path} was built with `panic = \"abort\"`: a panic in it would end the host; build it with `panic = \"unwind\"`, or say `mode = \"auto\"` or `mode = \"process\"`"
    )]
    PanicAborts {
        /// The file.
        path: PathBuf,
    },
}

replug_model::readable::readable!(LoadError);

/// A library that is mapped and checked, and in which there is no instance yet. Stays mapped when dropped.
pub struct Opened {
    pub(super) library: ManuallyDrop<Library>,
    pub(in crate::load) root: PluginRootRef,
    pub(crate) descriptor: Descriptor,
    pub(super) path: PathBuf,
}

impl Opened {
    /// That a panic in it does not end the process.
    ///
    /// # Errors
    ///
    /// [`LoadError::PanicAborts`]
    pub fn contains_panics(&self) -> Result<(), LoadError> {
        if self.descriptor.panic_unwinds {
            return Ok(());
        }
        Err(LoadError::PanicAborts { path: self.path.clone() })
    }

    /// The addresses that it takes.
    pub fn mapped(&self) -> Option<Range<u64>> {
        extent(&self.path)
    }

    /// The names of its interfaces, in the order of `export!`, each with those of its methods.
    pub fn method_names(&self) -> Vec<(String, Vec<String>)> {
        let interfaces = self.root.interfaces()();
        let methods =
            |it: &InterfaceExport| it.methods.iter().map(|method| method.name.to_string()).collect();
        interfaces.iter().map(|it| (it.name.to_string(), methods(it))).collect()
    }
}

/// Shared standard libraries that are held open, so that no plugin's leaving unmaps them.
static PINNED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Maps the library at `path`, which must be a path and a file that this process never opened before, and checks that
/// its root module may be called. Runs its constructors.
///
/// `shared_std` is the standard library that it links, if that is a shared one: it is held open for the life of the
/// process, because threads that called the plugin run destructors in it.
///
/// # Errors
///
/// [`LoadError`], all but [`LoadError::PanicAborts`]: in a process of its own, a panic may end that.
pub fn open(path: &Path, shared_std: Option<&Path>) -> Result<Opened, LoadError> {
    if let Some(std) = shared_std {
        pin(std)?;
    }
    // A library that was opened stays mapped even if it is refused: its constructors ran, and may have left threads.
    let library = ManuallyDrop::new(dlopen_new(path)?);
    // SAFETY: the symbol is abi_stable's, and names a static that begins with an `AbiHeader`; a symbol read as a
    // reference is its address. The library stays mapped.
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
    Ok(Opened { library, root, descriptor, path: path.into() })
}

/// Opens a library that is not open yet, and makes sure that it is that one which was opened.
///
/// The loader hands back a library that it has already if the name is the same, or the file by its number on its device: of
/// both, a file system may be wrong.
fn dlopen_new(path: &Path) -> Result<Library, LoadError> {
    let refused = |reason: &str| LoadError::Open { path: path.into(), reason: reason.into() };
    if extent(path).is_some() {
        return Err(refused(
            "it has a library of that name open, which would be handed back in place of this one",
        ));
    }
    let library = dlopen(path)?;
    if extent(path).is_none() {
        // Not closed: that the loader counts one user more of the other library does no harm.
        mem::forget(library);
        return Err(refused(
            "it handed back a library that was opened before, as the same file under another name",
        ));
    }
    Ok(library)
}

fn dlopen(path: &Path) -> Result<Library, LoadError> {
    // SAFETY: opening a library runs its constructors. That the plugin's code is trusted with this process is what
    // in-process mode means; the path is new to this process, so no older library is returned in its stead.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        // The error itself says only that it failed; its source has the loader's words.
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        match reason.contains("static TLS block") {
            true => LoadError::NoStaticTls { path: path.into(), reason },
            false => LoadError::Open { path: path.into(), reason },
        }
    })
}

fn pin(std: &Path) -> Result<(), LoadError> {
    let mut pinned = PINNED.lock();
    if pinned.iter().any(|known| known == std) {
        return Ok(());
    }
    // Of one that is loaded already, from another folder or with the program itself, there must be no second: the plugin
    // would get the first, since it asks by name.
    let loaded = std.file_name().and_then(|name| {
        const RTLD_NOLOAD: i32 = 4;
        // SAFETY: with RTLD_NOLOAD nothing is opened, so no constructor runs.
        unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD) }.ok()
    });
    let _stays_open = ManuallyDrop::new(match loaded {
        Some(loaded) => loaded,
        None => dlopen(std)?,
    });
    pinned.push(std.into());
    Ok(())
}

fn other_abi_stable(path: &Path, error: &LibraryError) -> LoadError {
    let reason = match error {
        LibraryError::InvalidAbiHeader(found) => {
            let own = abi_stable::library::AbiHeader::VALUE;
            format!(
                "it says abi {}.{}, and the host has {}.{}",
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
    use std::fs;

    /// A copy of a library that the machine has, of which nothing is needed.
    fn copy_of_a_library(path: &Path) {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let known = maps
            .lines()
            .find_map(|line| line.find('/').map(|at| &line[at..]).filter(|it| it.contains("libgcc_s")));
        fs::copy(known.unwrap(), path).unwrap();
    }

    #[test]
    fn a_library_that_is_open_already_is_not_taken_for_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second, other] = ["first.so", "second.so", "other.so"].map(|name| dir.path().join(name));
        copy_of_a_library(&first);
        let _open = dlopen_new(&first).unwrap();
        let reason = |path: &Path| dlopen_new(path).map(drop).unwrap_err().to_string();
        // The same name with another file behind it.
        fs::rename(&first, &second).unwrap();
        copy_of_a_library(&first);
        assert!(reason(&first).contains("it has a library of that name open"), "{}", reason(&first));
        // The same file under another name.
        assert!(reason(&second).contains("as the same file under another name"), "{}", reason(&second));
        copy_of_a_library(&other);
        drop(dlopen_new(&other).unwrap());
    }
}
