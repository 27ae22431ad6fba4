//! Decides how a plugin links the standard library: it links the shared libstd, or contains a copy of std if it has its
//! own allocator or rustflags enable LTO.

use super::{BuildError, facts::PackageFacts};
use crate::artifact::Allocator;
use replug_model::event::{Diagnostic, DiagnosticLevel};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// How the plugin's own crate links std.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StdLink {
    /// The plugin links the shared libstd. Every copy of std would occupy thread-local keys of the host until the host
    /// exits.
    Shared,
    /// The plugin contains a copy of std: the shared libstd uses another allocator than the plugin, or does not permit
    /// LTO.
    Own,
}

const OWN: &[u8] = b"own\n";

impl StdLink {
    /// The choice that [`StdLink::note`] has recorded for the package. The default is [`Self::Shared`].
    pub(super) fn of(facts: &PackageFacts) -> Self {
        match fs::read(note(facts)) {
            Ok(found) if found == OWN => Self::Own,
            _ => Self::Shared,
        }
    }

    /// The other choice, if the built library shows that this choice does not fit the plugin.
    pub(super) fn other_for(self, artifact: &Path) -> Option<Self> {
        match (self, Allocator::of(artifact)) {
            (Self::Shared, Allocator::Mixed) => Some(Self::Own),
            (Self::Own, Allocator::OfOwnStd) => Some(Self::Shared),
            _ => None,
        }
    }

    /// Records this choice, so that the next builds of the package begin with it, in this host and in later ones.
    pub(super) fn note(self, facts: &PackageFacts) -> io::Result<()> {
        let note = note(facts);
        match self {
            Self::Own => {
                note.parent().map_or(Ok(()), fs::create_dir_all)?;
                fs::write(note, OWN)
            }
            Self::Shared => fs::remove_file(note),
        }
    }

    /// The note that explains to the author why the plugin contains a copy of std.
    pub(super) fn explained(self) -> Option<Diagnostic> {
        if self == Self::Shared {
            return None;
        }
        let message = "the plugin has a `#[global_allocator]`, so it is built with its own copy of std";
        Some(note_of(message, "the shared libstd always uses its own allocator"))
    }
}

/// Whether rustc has rejected the shared libstd because rustflags enable LTO.
pub(super) fn is_excluded_by_lto(error: &BuildError) -> bool {
    error
        .diagnostics()
        .iter()
        .any(|it| it.message.contains("cannot prefer dynamic linking when performing LTO"))
}

/// The note that explains to the author why the plugin contains a copy of std if rustflags enable LTO.
pub(super) fn explained_by_lto() -> Diagnostic {
    let message = "rustflags ask for LTO, so the plugin is built with its own copy of std";
    note_of(
        message,
        "LTO excludes the shared libstd; replug can turn off `lto` in a profile, but not in rustflags",
    )
}

fn note_of(message: &str, why: &str) -> Diagnostic {
    let cost =
        "each reload in the host's process uses up 2 thread-local keys; `mode = \"process\"` uses none";
    Diagnostic {
        level: DiagnosticLevel::Note,
        file: None,
        line: None,
        message: message.into(),
        rendered: format!("note: {message}\n  = note: {why}; {cost}\n"),
    }
}

fn note(facts: &PackageFacts) -> PathBuf {
    facts.target_dir.join("replay").join(format!("{}.std", facts.package))
}
