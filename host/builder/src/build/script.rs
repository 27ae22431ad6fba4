//! Builds with the author's own script, and finds prebuilt libraries.

use super::{
    BuildError,
    process::{self, LockFile},
    toolchain,
};
use crate::watch::Inputs;
use replug_config::manifest::Manifest;
use std::{
    fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The default script in a folder without a Cargo.toml.
pub(super) const CONVENTIONAL: &str = "scripts/build.sh";

/// Runs `script` and returns the library at the manifest's `binary`.
pub(super) async fn build(
    manifest: &Manifest,
    script: &Path,
    target_dir: &Path,
) -> Result<PathBuf, BuildError> {
    let script = manifest.root.join(script);
    let Some(binary) = &manifest.binary else { return Err(BuildError::NoBinaryKey { script }) };
    fs::create_dir_all(target_dir).map_err(|source| BuildError::Io {
        path: target_dir.into(),
        source,
        remedy: "make it a writable folder",
    })?;
    let mut output = process::tail();
    let mut retries = 100;
    let finished = loop {
        let mut command = toolchain::command(&script);
        command
            .current_dir(&manifest.root)
            .env("REPLUG_TARGET_DIR", target_dir)
            .env("REPLUG_PLUGIN_ID", manifest.id.as_str())
            .env("REPLUG_PROFILE", &manifest.build.profile);
        match process::run(command, LockFile::Written(Vec::new()), |line| output.push(line)).await {
            Ok(finished) => break finished,
            // An editor that is saving the script may still have it open for writing.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && retries > 0 => {
                retries -= 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(source) => return Err(not_started(&script, source)),
        }
    };
    if !finished.status.success() {
        finished.stderr.lines().for_each(|line| output.push(line));
        let status = match finished.status.signal() {
            Some(signal) => format!("killed by signal {signal}"),
            None => finished.status.to_string(),
        };
        return Err(BuildError::Script { script, status, output: output.text() });
    }
    ready_made(
        manifest,
        binary,
        "the build script succeeded, but put no library there; check where it puts the library",
    )
}

fn not_started(script: &Path, source: io::Error) -> BuildError {
    let remedy = match source.kind() {
        io::ErrorKind::NotFound if script.exists() => {
            "its first line names an interpreter that does not exist"
        }
        io::ErrorKind::NotFound => "no such file; check `script` under `[build]` in the manifest",
        io::ErrorKind::PermissionDenied => "make it executable: chmod +x",
        _ if source.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            "its first line must name an interpreter, such as #!/bin/sh"
        }
        _ => "check that it runs in a shell",
    };
    BuildError::ScriptNotStarted { script: script.into(), source, remedy }
}

/// The library at `binary`, if it exists and is in the plugin's folder.
pub(super) fn ready_made(
    manifest: &Manifest,
    binary: &Path,
    remedy: &'static str,
) -> Result<PathBuf, BuildError> {
    let path = manifest.root.join(binary);
    let target = match fs::canonicalize(&path) {
        Ok(target) if target.is_file() => target,
        Ok(_) => {
            return Err(BuildError::NoBinary { path, remedy: "not a file; name the library itself" });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BuildError::NoBinary { path, remedy });
        }
        Err(source) => return Err(BuildError::Io { path, source, remedy: "give this user access to it" }),
    };
    if !target.starts_with(&manifest.root) {
        return Err(BuildError::Outside { path, target });
    }
    Ok(path)
}

/// The inputs of a scripted build: the script, and the folder `src`. If the plugin has no folder `src`, its whole
/// folder except the outputs is an input.
pub(super) fn inputs(manifest: &Manifest, script: &Path) -> Inputs {
    let source = manifest.root.join("src");
    let mut inputs = Inputs::default();
    inputs.files.insert(manifest.root.join(script));
    inputs.dirs.insert(if source.is_dir() { source } else { manifest.root.clone() });
    if let Some(binary) = &manifest.binary {
        // Intermediate files of a script are usually next to its final output.
        let top = binary.components().next().map(|part| manifest.root.join(part));
        inputs.except.extend(top);
    }
    inputs
}
