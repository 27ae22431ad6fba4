//! Cargo's fingerprints, by which cargo decides whether a unit is fresh. Cargo compares the times of a unit's files
//! with the time of the unit's fingerprint, and always builds a unit without a fingerprint.

use super::{
    content::{InputStamp, stamp},
    units::{Kind, Unit},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The fingerprint of one unit. A fingerprint is a folder in cargo's target folder.
#[derive(Debug)]
pub(super) struct Fingerprint {
    dir: PathBuf,
    pub(super) package: String,
    pub(super) kind: Kind,
    /// When cargo last wrote the fingerprint.
    pub(super) made_at: SystemTime,
}

impl Fingerprint {
    /// All fingerprints of a target folder, of every profile and target.
    pub(super) fn all(target_dir: &Path) -> Vec<Self> {
        let profiles = folders(target_dir).into_iter().flat_map(|folder| {
            let mut profiles = folders(&folder);
            profiles.push(folder);
            profiles
        });
        let notes = profiles.flat_map(|profile| folders(&profile.join(".fingerprint")));
        notes.filter_map(Self::read).collect()
    }

    fn read(dir: PathBuf) -> Option<Self> {
        let (package, hash) = dir.file_name()?.to_str()?.rsplit_once('-')?;
        let is_hash = hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let package = Some(package.to_owned()).filter(|_| is_hash)?;
        let (mut kind, mut made_at) = (Kind::Crate, SystemTime::UNIX_EPOCH);
        for entry in fs::read_dir(&dir).ok()?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("run-build-script-") {
                kind = Kind::ScriptRun;
            } else if name.starts_with("build-script-") {
                kind = Kind::Script;
            }
            made_at = entry.metadata().and_then(|it| it.modified()).unwrap_or(made_at).max(made_at);
        }
        Some(Self { dir, package, kind, made_at })
    }

    pub(super) fn is_of(&self, unit: &Unit) -> bool {
        self.package == unit.package && self.kind == unit.kind
    }

    /// Whether this fingerprint must be deleted when cargo has to rebuild `unit`. When cargo rebuilds a crate, it also
    /// rebuilds the units that depend on the crate, so only the crate's own fingerprint must be deleted. But when cargo
    /// runs a build script again that has declared no inputs, it rebuilds no unit that depends on the script, not even
    /// the script's own crate. So the fingerprint of this crate must be deleted, too.
    pub(super) fn goes_with(&self, unit: &Unit) -> bool {
        let of_script = unit.kind == Kind::ScriptRun && self.kind == Kind::Crate;
        self.is_of(unit) || of_script && self.package == unit.package
    }

    /// Makes cargo rebuild the unit and the units that depend on it.
    pub(super) fn remove(&self) -> io::Result<()> {
        let profile = self.dir.ancestors().nth(2).zip(self.dir.file_name());
        if let Some((profile, name)) = profile.filter(|_| self.kind == Kind::ScriptRun) {
            // If the output of a build script's run is missing, cargo also rebuilds the units that depend on the run.
            is_gone(fs::remove_file(profile.join("build").join(name).join("output")))?;
        }
        is_gone(fs::remove_dir_all(&self.dir))
    }
}

/// The stamp of the file that cargo wrote immediately before it last compiled the crate `unit` to `library`. Returns `None`
/// if cargo does not add a hash to the library's name.
pub(super) fn invoked(unit: &Unit, library: &Path) -> Option<InputStamp> {
    let (_, hash) = library.file_stem()?.to_str()?.rsplit_once('-')?;
    let profile = library.parent().filter(|dir| dir.ends_with("deps"))?.parent()?;
    let dir = profile.join(".fingerprint").join(format!("{}-{hash}", unit.package));
    stamp(&dir.join("invoked.timestamp"))
}

fn is_gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
