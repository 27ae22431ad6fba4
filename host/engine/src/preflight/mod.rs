//! The checks of an artifact before its trial: whether it can be loaded, and whether this process has the resources for
//! it.
//!
//! This module uses only the [`Facts`] of an artifact: it opens no file, and runs no code of the plugin. If it rejects
//! a version, the previous generation keeps serving. The check keeps a margin below the limits of the process, because
//! std aborts the process at such a limit, for example if no thread-local key is free.

#[cfg(test)]
mod tests;
mod verdicts;

pub(crate) use verdicts::{Tried, Verdicts};

use crate::artifact::{
    Artifact, Facts,
    inspect::{Lookup, OwnLibrary, RootSymbol, StdLinkage},
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The maximum number of thread-local keys that one more copy of std uses: one for the current thread, and one for
/// spawned threads.
pub const KEYS_PER_OWN_STD: usize = 2;

/// The resources that loaded generations use in this process, and their limits. Most of these resources are never
/// released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Thread-local keys in use.
    pub tls_keys_used: usize,
    /// The maximum number of thread-local keys of a process.
    pub tls_keys_limit: usize,
    /// The number of thread-local keys that are reserved for the host and its libraries.
    pub tls_keys_reserve: usize,
    /// The private memory of all mapped generations, in bytes: the sum of their [`Facts::private_bytes`].
    pub bytes_retained: u64,
    /// The limit of that memory, in bytes.
    pub bytes_limit: u64,
    /// Static thread-local storage that loaded generations use in each thread, in bytes: the sum of their
    /// [`Facts::static_tls_bytes`].
    pub static_tls_used: u64,
    /// The limit of static thread-local storage, in bytes.
    pub static_tls_limit: u64,
}

impl Budget {
    /// `PTHREAD_KEYS_MAX` of glibc and musl.
    pub const TLS_KEYS_LIMIT: usize = 1024;
    /// The default reserve. It suffices for the libraries of a large program.
    pub const TLS_KEYS_RESERVE: usize = 64;
    /// 1 GiB: about ten thousand generations of a small plugin.
    pub const BYTES_LIMIT: u64 = 1 << 30;
    /// The static thread-local storage that glibc reserves by default for libraries that are opened later
    /// (`glibc.rtld.optional_static_tls`). About 1,000 further bytes remain for the host's own libraries.
    pub const STATIC_TLS_LIMIT: u64 = crate::load::in_process::STATIC_TLS_LIMIT;
}

impl Default for Budget {
    /// Nothing in use, with the default limits.
    fn default() -> Self {
        Self {
            tls_keys_used: 0,
            tls_keys_limit: Self::TLS_KEYS_LIMIT,
            tls_keys_reserve: Self::TLS_KEYS_RESERVE,
            bytes_retained: 0,
            bytes_limit: Self::BYTES_LIMIT,
            static_tls_used: 0,
            static_tls_limit: Self::STATIC_TLS_LIMIT,
        }
    }
}

/// Why an artifact must not be loaded.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PreflightError {
    /// The artifact has no root module.
    #[error(
        "{} is not a replug plugin: it has no root module; depend on `replug-api` and write `replug_api::export!(Type: Interface);`",
        path.display()
    )]
    NotAPlugin {
        /// The artifact.
        path: PathBuf,
    },
    /// The artifact's root module exports no plugin.
    #[error("{} exports no plugin: write `replug_api::export!(Type: Interface);` in its crate, once", path.display())]
    NothingExported {
        /// The artifact.
        path: PathBuf,
    },
    /// A library that the artifact needs is missing.
    #[error(
        "{} needs `{library}`, which was not found (searched {}); install it, or add its folder to the plugin's runpath or to LD_LIBRARY_PATH",
        path.display(), list(sought)
    )]
    MissingLibrary {
        /// The artifact.
        path: PathBuf,
        /// The library.
        library: String,
        /// The folders that were searched.
        sought: Vec<PathBuf>,
    },
    /// The artifact would return memory to an allocator that did not allocate it.
    #[error(
        "{} mixes two allocators: it has a `#[global_allocator]` and links the shared libstd, which uses a different allocator; freeing memory with the wrong allocator crashes the process: link it with its own copy of std (without `-C prefer-dynamic`), or remove the `#[global_allocator]`",
        path.display()
    )]
    MixesAllocators {
        /// The artifact.
        path: PathBuf,
    },
    /// The artifact would use more thread-local keys than are available.
    #[error(
        "{} was not loaded: {used} of {limit} thread-local keys are in use and {reserve} are reserved; it is linked with its own copy of std, and each copy uses keys that are never released; let replug build it, so that it links the shared libstd, or restart the host",
        path.display()
    )]
    OutOfTlsKeys {
        /// The artifact.
        path: PathBuf,
        /// Keys in use.
        used: usize,
        /// Keys that a process can have.
        limit: usize,
        /// Keys that are reserved.
        reserve: usize,
    },
    /// The artifact would use more static thread-local storage than is available.
    #[error(
        "{} was not loaded: it needs {wanted} bytes of static thread-local storage, earlier generations keep {used}, and {limit} is the limit; compile its C code with `-ftls-model=global-dynamic`, restart the host, or start it with more: GLIBC_TUNABLES=glibc.rtld.optional_static_tls={}",
        path.display(), limit.saturating_mul(8)
    )]
    OutOfStaticTls {
        /// The artifact.
        path: PathBuf,
        /// The storage that earlier generations use, in bytes.
        used: u64,
        /// The storage that this artifact would add, in bytes.
        wanted: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The artifact would use too much memory.
    #[error(
        "{} was not loaded: earlier generations keep {}, it takes {}, and {} is the limit; restart the host, raise the limit, or set `unload = \"verified\"` in manifests of plugins that may be unmapped",
        path.display(), mebibytes(*retained), mebibytes(*wanted), mebibytes(*limit)
    )]
    OutOfMemoryBudget {
        /// The artifact.
        path: PathBuf,
        /// The memory that earlier generations use, in bytes.
        retained: u64,
        /// The memory that this artifact would add, in bytes.
        wanted: u64,
        /// The limit, in bytes.
        limit: u64,
    },
}

crate::readable::readable!(PreflightError);

/// Checks whether an artifact with these facts can be loaded, into this process or a child process.
///
/// # Errors
///
/// - [`PreflightError::NotAPlugin`] or [`PreflightError::NothingExported`] if the artifact exports no plugin
/// - [`PreflightError::MissingLibrary`] or [`PreflightError::MixesAllocators`] if the artifact cannot be loaded
pub fn check(artifact: &Artifact, facts: &Facts) -> Result<(), PreflightError> {
    is_plugin(&artifact.copy_of, facts)?;
    let needed = facts.needed.iter().map(|needed| (&artifact.copy_of, needed));
    let of_libraries = facts.libraries.iter().flat_map(|it: &OwnLibrary| {
        let path = &it.path;
        it.missing.iter().map(move |needed| (path, needed))
    });
    for (path, needed) in needed.chain(of_libraries) {
        if let Lookup::Missing(sought) = &needed.lookup {
            let (path, library, sought) = (path.clone(), needed.name.clone(), sought.clone());
            return Err(PreflightError::MissingLibrary { path, library, sought });
        }
    }
    if facts.mixes_allocators {
        return Err(PreflightError::MixesAllocators { path: artifact.copy_of.clone() });
    }
    Ok(())
}

fn is_plugin(path: &Path, facts: &Facts) -> Result<(), PreflightError> {
    match facts.root {
        RootSymbol::Exported => Ok(()),
        RootSymbol::NothingExported => Err(PreflightError::NothingExported { path: path.to_owned() }),
        RootSymbol::Absent => Err(PreflightError::NotAPlugin { path: path.to_owned() }),
    }
}

/// Checks whether this process has the resources to load an artifact with these facts.
///
/// # Errors
///
/// [`PreflightError::OutOfTlsKeys`], [`PreflightError::OutOfMemoryBudget`] or [`PreflightError::OutOfStaticTls`] if a
/// resource is exhausted.
pub fn check_budget(artifact: &Artifact, facts: &Facts, budget: &Budget) -> Result<(), PreflightError> {
    let path = &artifact.copy_of;
    let Budget { tls_keys_used: used, tls_keys_limit: limit, tls_keys_reserve: reserve, .. } = *budget;
    let takes_keys = facts.std == StdLinkage::Static;
    if takes_keys && used.saturating_add(KEYS_PER_OWN_STD) > limit.saturating_sub(reserve) {
        return Err(PreflightError::OutOfTlsKeys { path: path.to_owned(), used, limit, reserve });
    }
    if budget.bytes_retained.saturating_add(facts.private_bytes) > budget.bytes_limit {
        return Err(PreflightError::OutOfMemoryBudget {
            path: path.to_owned(),
            retained: budget.bytes_retained,
            wanted: facts.private_bytes,
            limit: budget.bytes_limit,
        });
    }
    // If no static thread-local storage is in use yet, any amount is allowed: the loader determines whether it is
    // available, and rejects the library before it runs any code.
    let (used, wanted) = (budget.static_tls_used, facts.static_tls_bytes);
    if wanted > 0 && used > 0 && used.saturating_add(wanted) > budget.static_tls_limit {
        return Err(PreflightError::OutOfStaticTls {
            path: path.to_owned(),
            used,
            wanted,
            limit: budget.static_tls_limit,
        });
    }
    Ok(())
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
