//! The last look before a library is opened: would it load, and can this process afford it?
//!
//! Judges [`Facts`] only; nothing is opened, and nothing of the plugin runs. A refusal leaves the generation before it
//! serving. The budget is kept here, in words that name the way out, because the wall behind it is an abort: when the
//! keys for thread-local data run out, std ends the process.

#[cfg(test)]
mod tests;
mod verdicts;

pub(crate) use verdicts::{Findings, Tried, Verdicts};

use crate::{
    artifact::{
        Artifact, Facts,
        inspect::{Lookup, RootSymbol, StdLinkage},
    },
    manifest::Unload,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How many TLS keys one more copy of std may take: one for the current thread, one for threads it spawns.
pub const KEYS_PER_OWN_STD: usize = 2;

/// What this process has used up, and how far it may go. All of it is for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// TLS keys in use.
    pub tls_keys_used: usize,
    /// How many TLS keys a process can have.
    pub tls_keys_limit: usize,
    /// How many of them are left to the host and its libraries.
    pub tls_keys_reserve: usize,
    /// Memory that loaded generations keep for as long as they are mapped, in bytes: the sum of their
    /// [`Facts::private_bytes`].
    pub bytes_retained: u64,
    /// How much of it there may be, in bytes.
    pub bytes_limit: u64,
}

impl Budget {
    /// `PTHREAD_KEYS_MAX` of glibc and musl.
    pub const TLS_KEYS_LIMIT: usize = 1024;
    /// Enough for the libraries of a large program.
    pub const TLS_KEYS_RESERVE: usize = 64;
    /// 1 GiB: ten thousand generations of a plugin of ordinary size.
    pub const BYTES_LIMIT: u64 = 1 << 30;
}

impl Default for Budget {
    /// Nothing used yet, with the default limits.
    fn default() -> Self {
        Self {
            tls_keys_used: 0,
            tls_keys_limit: Self::TLS_KEYS_LIMIT,
            tls_keys_reserve: Self::TLS_KEYS_RESERVE,
            bytes_retained: 0,
            bytes_limit: Self::BYTES_LIMIT,
        }
    }
}

/// Why an artifact must not be loaded.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PreflightError {
    /// It has no root module.
    #[error(
        "{} is not a replug plugin: it has no root module; depend on `replug-api` and write `replug_api::export!(Type: Interface);`",
        path.display()
    )]
    NotAPlugin {
        /// The artifact.
        path: PathBuf,
    },
    /// It has a root module, and nothing for it to hand out.
    #[error("{} exports no plugin: write `replug_api::export!(Type: Interface);` in its crate, once", path.display())]
    NothingExported {
        /// The artifact.
        path: PathBuf,
    },
    /// A library it needs is not there.
    #[error(
        "{} needs `{library}`, which is nowhere to be found (sought in {}); install it, or add its folder to the plugin's runpath or to LD_LIBRARY_PATH",
        path.display(), list(sought)
    )]
    MissingLibrary {
        /// The artifact.
        path: PathBuf,
        /// The library.
        library: String,
        /// The folders where it was sought.
        sought: Vec<PathBuf>,
    },
    /// It is to be unmapped, and asks never to be.
    #[error(
        "{} is linked with `-z nodelete` and can never be unloaded, but the manifest says `unload = \"verified\"`: link it without the flag, or say `unload = \"never\"`",
        path.display()
    )]
    NeverUnloads {
        /// The artifact.
        path: PathBuf,
    },
    /// It would take TLS keys that are needed elsewhere.
    #[error(
        "{} was not loaded: {used} of {limit} TLS keys are in use and {reserve} are held back; it is linked with its own copy of std, and each copy takes keys that are never given back; let replug build it, so that it links the shared libstd, or restart the host",
        path.display()
    )]
    OutOfTlsKeys {
        /// The artifact.
        path: PathBuf,
        /// Keys in use.
        used: usize,
        /// Keys that a process can have.
        limit: usize,
        /// Keys that are held back.
        reserve: usize,
    },
    /// It would keep too much memory.
    #[error(
        "{} was not loaded: earlier generations keep {}, it takes {}, and {} is the limit; restart the host, raise the limit, or say `unload = \"verified\"` in manifests of plugins that may be unmapped",
        path.display(), mebibytes(*retained), mebibytes(*wanted), mebibytes(*limit)
    )]
    OutOfMemoryBudget {
        /// The artifact.
        path: PathBuf,
        /// What is kept already, in bytes.
        retained: u64,
        /// What this artifact would add, in bytes.
        wanted: u64,
        /// The limit, in bytes.
        limit: u64,
    },
}

crate::readable::readable!(PreflightError);

/// Judges whether an artifact with these facts may be loaded, be it in this process or in one of its own.
///
/// # Errors
///
/// - [`PreflightError::NotAPlugin`], [`PreflightError::NothingExported`]: it has nothing to load;
/// - [`PreflightError::MissingLibrary`], [`PreflightError::NeverUnloads`]: it cannot be what it is to be.
pub fn check(artifact: &Artifact, facts: &Facts, unload: Unload) -> Result<(), PreflightError> {
    is_plugin(&artifact.copy_of, facts)?;
    for needed in &facts.needed {
        if let Lookup::Missing(sought) = &needed.lookup {
            return Err(PreflightError::MissingLibrary {
                path: artifact.copy_of.clone(),
                library: needed.name.clone(),
                sought: sought.clone(),
            });
        }
    }
    if facts.nodelete && unload == Unload::Verified {
        return Err(PreflightError::NeverUnloads { path: artifact.copy_of.clone() });
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

/// Judges whether this process can afford to load an artifact with these facts.
///
/// # Errors
///
/// [`PreflightError::OutOfTlsKeys`], [`PreflightError::OutOfMemoryBudget`]: it cannot.
pub fn afford(artifact: &Artifact, facts: &Facts, budget: &Budget) -> Result<(), PreflightError> {
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
    Ok(())
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
