//! The errors of builds. Each states why there is no artifact and what to do.

use replug_model::event::Diagnostic;
use std::{io, path::PathBuf, time::Duration};

/// Why a build produced no artifact.
#[derive(thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the paths, names and outputs that the message gives")]
pub enum BuildError {
    /// There is neither a source nor a prebuilt library.
    #[error(
        "{}: nothing to build: no Cargo.toml and no scripts/build.sh; add one of them, or name a prebuilt library with `binary`",
        root.display()
    )]
    NoSource { root: PathBuf },
    /// The Rust toolchain is not installed.
    #[error("cannot run `{program}`: {source}; {}", remedy(program, source))]
    NoToolchain { program: String, source: io::Error },
    /// The package does not build a C dynamic library.
    #[error(
        "{}: the package `{package}` is not a cdylib; add `crate-type = [\"cdylib\"]` under `[lib]` in its Cargo.toml{hint}",
        file.display()
    )]
    NotACdylib { file: PathBuf, package: String, hint: String },
    /// No package of the workspace builds a C dynamic library.
    #[error(
        "{}: no package of this workspace is a cdylib; add `crate-type = [\"cdylib\"]` under `[lib]` in the plugin's Cargo.toml",
        file.display()
    )]
    NoCdylib { file: PathBuf },
    /// Several packages build C dynamic libraries, and the manifest does not name the plugin's package.
    #[error(
        "{}: {} packages are cdylibs: {}; name the plugin with `package` under `[build]` in the manifest",
        file.display(), packages.len(), packages.join(", ")
    )]
    SeveralCdylibs { file: PathBuf, packages: Vec<String> },
    /// The manifest names a package that does not exist.
    #[error("{}: no package `{package}` here; valid values of `build.package`: {}", file.display(), packages.join(", "))]
    NoSuchPackage { file: PathBuf, package: String, packages: Vec<String> },
    /// The source does not compile.
    #[error("{summary}")]
    Compile { summary: String, diagnostics: Vec<Diagnostic> },
    /// In this profile, a panic aborts the process.
    #[error(
        "{}: the profile `{profile}` has `panic = \"abort\"`, so a panic in the plugin would crash the host; remove that line from the profile",
        file.display()
    )]
    PanicAborts { file: PathBuf, profile: String, diagnostics: Vec<Diagnostic> },
    /// Cargo failed, but not because of compile errors.
    #[error("{}: cargo failed ({status}):\n{stderr}", file.display())]
    Cargo { file: PathBuf, status: String, stderr: String },
    /// Cargo succeeded, but reported no library.
    #[error("{}: cargo built `{package}` but reported no library; run `cargo build` there and read its output", file.display())]
    NoArtifact { file: PathBuf, package: String },
    /// The manifest of a scripted plugin does not name the library.
    #[error(
        "{}: add `binary` to the manifest: the path where this script puts the library, such as `binary = \"target/plugin.so\"`",
        script.display()
    )]
    NoBinaryKey { script: PathBuf },
    /// The script cannot be started.
    #[error("{}: cannot start the build script: {source}; {remedy}", script.display())]
    ScriptNotStarted { script: PathBuf, source: io::Error, remedy: &'static str },
    /// The script failed.
    #[error("{}: the build script failed ({status}):\n{output}", script.display())]
    Script { script: PathBuf, status: String, output: String },
    /// There is no library where the manifest expects it.
    #[error("{}: no such file; {remedy}", path.display())]
    NoBinary { path: PathBuf, remedy: &'static str },
    /// A link leads to a library outside of the plugin's folder.
    #[error("{}: points outside of the plugin's folder, to {}; copy the library into the folder", path.display(), target.display())]
    Outside { path: PathBuf, target: PathBuf },
    /// The build's processes wrote nothing for too long and were killed.
    #[error("{}: build timed out after {} without output (`build.timeout`); find out what it waits for or raise the timeout, then run `replug reload`", root.display(), humantime::format_duration(*after))]
    TimedOut { root: PathBuf, after: Duration },
    /// A file or folder cannot be used.
    #[error("{}: {source}; {remedy}", path.display())]
    Io { path: PathBuf, source: io::Error, remedy: &'static str },
}

replug_model::readable::readable!(BuildError);

impl BuildError {
    /// The compiler's messages, if the compiler ran.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Compile { diagnostics, .. } | Self::PanicAborts { diagnostics, .. } => diagnostics,
            _ => &[],
        }
    }
}

/// The remedy if a program could not be run, or if its exit status is unknown.
fn remedy(program: &str, source: &io::Error) -> String {
    match source.raw_os_error() {
        // The program has run, but its exit status is unknown.
        Some(libc::ECHILD) => {
            "it has exited, but its exit status is lost because this process began to ignore SIGCHLD during the build; build again".into()
        }
        _ => format!("install Rust (https://rustup.rs) and check that `{program}` is in PATH"),
    }
}
