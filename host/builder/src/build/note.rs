//! A wrapper of rustc, which records how cargo calls rustc.

use super::facts::PackageFacts;
use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// The wrapper, a shell script. It records how cargo calls rustc for the requested package, and then runs rustc.
const WRAPPER: &str = r#"#!/bin/sh
if [ "$CARGO_PRIMARY_PACKAGE" = 1 ] && [ -n "$REPLUG_NOTE" ]; then
    { printf '%s\0' "$PWD" "$@" > "$REPLUG_NOTE.args" && env -0 > "$REPLUG_NOTE.env"; } || rm -f "$REPLUG_NOTE.args"
fi
exec "$@"
"#;

/// The note of cargo's call of rustc: two files, which the wrapper writes during a build by cargo.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) path: PathBuf,
}

impl Note {
    /// Adds the wrapper to `command`, which runs cargo, so that the wrapper records how cargo calls rustc. Returns
    /// `None` if another wrapper of rustc is configured, or if the wrapper cannot be written.
    pub(super) fn request(command: &mut Command, facts: &PackageFacts) -> Option<Self> {
        let wrapped = ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"]
            .iter()
            .any(|name| env::var_os(name).is_some());
        if wrapped || facts.settings.mention("wrapper") {
            return None;
        }
        let dir = facts.target_dir.join("replay");
        let wrapper = dir.join("rustc-note.sh");
        let path = dir.join(&facts.package);
        write_program(&wrapper, WRAPPER).ok()?;
        command.env("RUSTC_WORKSPACE_WRAPPER", wrapper).env("REPLUG_NOTE", &path);
        Some(Self { path })
    }

    /// The parts of one of the two files of the note.
    pub(super) fn read(&self, extension: &str) -> Option<Vec<OsString>> {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{extension}"));
        let bytes = fs::read(path).ok()?;
        let parts = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0);
        Some(parts.map(|part| OsString::from_vec(part.to_vec())).collect())
    }
}

/// Writes a shell script, unless the file already has this content: cargo would rebuild all crates for a newer wrapper.
pub(super) fn write_program(file: &Path, script: &str) -> io::Result<()> {
    if fs::read(file).is_ok_and(|found| found == script.as_bytes()) {
        return Ok(());
    }
    let dir = file.parent().ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(dir)?;
    let mut fresh = tempfile::NamedTempFile::new_in(dir)?;
    io::Write::write_all(&mut fresh, script.as_bytes())?;
    fresh.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
    fresh.into_temp_path().persist(file)?;
    wait_until_executable(file, || thread::sleep(Duration::from_millis(1)));
    Ok(())
}

/// Waits until the file can be executed. Another thread may have started a process while the file was open for writing.
/// Until that process executes its program, it has the file open, too, and the kernel does not execute the file.
/// `pause` is called between two attempts.
fn wait_until_executable(file: &Path, mut pause: impl FnMut()) {
    const ATTEMPTS: u32 = 2000;
    for _ in 0..ATTEMPTS {
        match Command::new(file).arg("true").stdin(Stdio::null()).status() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => pause(),
            // Cargo reports any other error.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrapper_is_used_only_when_no_process_has_it_open_for_writing() {
        let dir = tempfile::tempdir().unwrap();
        let wrapper = dir.path().join("rustc-note.sh");
        write_program(&wrapper, WRAPPER).unwrap();
        let mut writer = Some(fs::File::options().append(true).open(&wrapper).unwrap());
        let mut pauses = 0;
        wait_until_executable(&wrapper, || {
            pauses += 1;
            drop(writer.take());
        });
        // A process that another test has just started may have a copy of the descriptor for a moment.
        assert!(pauses >= 1);
        assert!(Command::new(&wrapper).arg("true").status().unwrap().success());
    }
}
