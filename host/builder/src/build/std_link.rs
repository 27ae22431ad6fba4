//! How a plugin gets the standard library: the one that all plugins share, unless it has an allocator of its own.

use super::{BuildError, facts::Facts};
use crate::artifact::Allocator;
use replug_model::event::Diagnostic;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// How the last crate of a plugin is to be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StdLink {
    /// To the shared libstd: every copy of std costs the host thread keys that it never gets back.
    Shared,
    /// With a copy of its own, because the shared one has another allocator than the plugin.
    Own,
}

const OWN: &[u8] = b"own\n";

impl StdLink {
    /// As the last build of the package was.
    pub(super) fn of(facts: &Facts) -> Self {
        match fs::read(note(facts)) {
            Ok(found) if found == OWN => Self::Own,
            _ => Self::Shared,
        }
    }

    /// How it has to be built instead, if what a build has made must not be used.
    pub(super) fn other_for(self, artifact: &Path) -> Option<Self> {
        match (self, Allocator::of(artifact)) {
            (Self::Shared, Allocator::Mixed) => Some(Self::Own),
            (Self::Own, Allocator::OfOwnStd) => Some(Self::Shared),
            _ => None,
        }
    }

    /// Has the next build of the package begin with this, in this host and in later ones.
    pub(super) fn note(self, facts: &Facts) -> io::Result<()> {
        let note = note(facts);
        match self {
            Self::Own => {
                note.parent().map_or(Ok(()), fs::create_dir_all)?;
                fs::write(note, OWN)
            }
            Self::Shared => fs::remove_file(note),
        }
    }

    /// What the author is told when it is built so after all.
    pub(super) fn explained(self) -> Option<Diagnostic> {
        if self == Self::Shared {
            return None;
        }
        let message = "it has a `#[global_allocator]`, so it is built with its own copy of std";
        Some(note_of(message, "the shared libstd keeps to its own allocator"))
    }
}

/// Whether rustc has refused the shared libstd, because flags that no profile has given it ask for LTO.
pub(super) fn is_excluded_by_lto(error: &BuildError) -> bool {
    error
        .diagnostics()
        .iter()
        .any(|it| it.message.contains("cannot prefer dynamic linking when performing LTO"))
}

/// What the author is told then.
pub(super) fn explained_by_lto() -> Diagnostic {
    let message = "rustflags ask for LTO, so it is built with its own copy of std";
    note_of(
        message,
        "LTO excludes the shared libstd; in a profile, `lto` is turned off for plugins, and in rustflags it cannot be",
    )
}

fn note_of(message: &str, why: &str) -> Diagnostic {
    let cost = "each reload in the host's process takes 2 of its thread-local keys, and `mode = \"process\"` takes none";
    Diagnostic {
        level: "note".into(),
        file: None,
        line: None,
        message: message.into(),
        rendered: format!("note: {message}\n  = note: {why}; {cost}\n"),
    }
}

fn note(facts: &Facts) -> PathBuf {
    facts.target_dir.join("replay").join(format!("{}.std", facts.package))
}
