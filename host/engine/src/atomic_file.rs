//! Writes a small file completely or not at all: it is first written under a temporary name, and then renamed over the
//! previous file.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// The maximum number of retries if other code removes the folder right after it was created.
const TRIES: usize = 1000;

/// The event that a written file survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The exit or crash of this process.
    Process,
    /// A power failure. The previous file stays valid until the new file is on disk.
    PowerCut,
}

/// Replaces the file at `path` with a file of this content, and creates its folder. Only the owner can read the file,
/// because it may contain a plugin's saved state or its configuration.
///
/// Only one thread at a time may call this function for the same path. An interrupted call leaves a file whose name
/// begins with a dot; the next call replaces that file.
///
/// # Errors
///
/// * The error of the file system
pub(crate) fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut dotted = std::ffi::OsString::from(".");
    dotted.push(name);
    let fresh = dir.join(dotted);
    let mut file = create(dir, &fresh)?;
    file.write_all(content)?;
    if durability == Durability::PowerCut {
        file.sync_all()?;
    }
    fs::rename(fresh, path)?;
    match durability {
        Durability::Process => Ok(()),
        Durability::PowerCut => File::open(dir)?.sync_all(),
    }
}

/// Creates a file and its folder. Tries again if other code has removed the folder while it was empty.
fn create(dir: &Path, path: &Path) -> io::Result<File> {
    let open = || File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    for _ in 0..TRIES {
        fs::create_dir_all(dir)?;
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
    }
    open()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replace_creates_the_folder_and_replaces_the_previous_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("states/file");
        for (content, durability) in [("first", Durability::Process), ("2nd", Durability::PowerCut)] {
            replace(&path, content.as_bytes(), durability).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(names(path.parent().unwrap()), ["file"]);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn replace_overwrites_the_file_of_an_interrupted_call() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".file"), "half of something that is longer").unwrap();
        replace(&dir.path().join("file"), b"whole", Durability::Process).unwrap();
        assert_eq!(names(dir.path()), ["file"]);
        assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "whole");
    }
}
