//! Why there is no artifact, and what to do about it.

use replug_model::event::Diagnostic;
use std::{io, path::PathBuf, time::Duration};

/// Why a build gave no artifact.
#[derive(thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the paths, names and outputs that the message gives")]
pub enum BuildError {
    /// There is nothing to build and nothing ready-made.
    #[error(
        "{}: nothing to build: no Cargo.toml and no scripts/build.sh; add one of them, or name a ready-made library with `binary`",
        root.display()
    )]
    NoSource { root: PathBuf },
    /// The Rust toolchain is not installed.
    #[error("cannot run `{program}`: {source}; {}", remedy(program, source))]
    NoToolchain { program: String, source: io::Error },
    /// The package makes no C dynamic library.
    #[error(
        "{}: the package `{package}` is not a cdylib; add `crate-type = [\"cdylib\"]` under `[lib]` in its Cargo.toml{hint}",
        file.display()
    )]
    NotACdylib { file: PathBuf, package: String, hint: String },
    /// The workspace has no package that makes a C dynamic library.
    #[error(
        "{}: no package of this workspace is a cdylib; add `crate-type = [\"cdylib\"]` under `[lib]` in the plugin's Cargo.toml",
        file.display()
    )]
    NoCdylib { file: PathBuf },
    /// Several packages make one, and nothing says which is the plugin.
    #[error(
        "{}: {} packages are cdylibs: {}; say which one is the plugin with `package` under `[build]` in the manifest",
        file.display(), packages.len(), packages.join(", ")
    )]
    SeveralCdylibs { file: PathBuf, packages: Vec<String> },
    /// The manifest names a package that is not there.
    #[error("{}: there is no package `{package}` here; `build.package` may be: {}", file.display(), packages.join(", "))]
    NoSuchPackage { file: PathBuf, package: String, packages: Vec<String> },
    /// The source does not compile.
    #[error("{summary}")]
    Compile { summary: String, diagnostics: Vec<Diagnostic> },
    /// The profile asks for panics that end the process.
    #[error(
        "{}: the profile `{profile}` has `panic = \"abort\"`, so that a panic in the plugin would end the host; take that line out of the profile",
        file.display()
    )]
    PanicAborts { file: PathBuf, profile: String, diagnostics: Vec<Diagnostic> },
    /// Cargo failed before or beside compiling.
    #[error("{}: cargo failed ({status}):\n{stderr}", file.display())]
    Cargo { file: PathBuf, status: String, stderr: String },
    /// Cargo succeeded, but told of no library.
    #[error("{}: cargo built `{package}` but told of no library; run `cargo build` there and see what it says", file.display())]
    NoArtifact { file: PathBuf, package: String },
    /// The script needs to say where it leaves the library.
    #[error(
        "{}: add `binary` to the manifest: the path at which this script leaves the library, such as `binary = \"target/plugin.so\"`",
        script.display()
    )]
    NoBinaryKey { script: PathBuf },
    /// The script cannot be started.
    #[error("{}: the build script cannot be started: {source}; {remedy}", script.display())]
    ScriptNotStarted { script: PathBuf, source: io::Error, remedy: &'static str },
    /// The script failed.
    #[error("{}: the build script failed ({status}):\n{output}", script.display())]
    Script { script: PathBuf, status: String, output: String },
    /// There is no library where the manifest says.
    #[error("{}: no such file; {remedy}", path.display())]
    NoBinary { path: PathBuf, remedy: &'static str },
    /// The library lies outside of the plugin's folder, behind a link.
    #[error("{}: leads out of the plugin's folder, to {}; copy the library into the folder", path.display(), target.display())]
    Outside { path: PathBuf, target: PathBuf },
    /// The build's processes wrote nothing for too long and were ended.
    #[error("{}: the build wrote nothing for {} and was ended; see what it waits for, or raise `timeout` under `[build]`", root.display(), humantime::format_duration(*after))]
    TimedOut { root: PathBuf, after: Duration },
    /// A file or a process could not be had.
    #[error("{}: {source}; {remedy}", path.display())]
    Io { path: PathBuf, source: io::Error, remedy: &'static str },
}

replug_model::readable::readable!(BuildError);

impl BuildError {
    /// The compiler's messages, if it came to compiling.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Compile { diagnostics, .. } | Self::PanicAborts { diagnostics, .. } => diagnostics,
            _ => &[],
        }
    }
}

/// What to do about a program that could not be run, or of which that is all that is known.
fn remedy(program: &str, source: &io::Error) -> String {
    match source.raw_os_error() {
        // It has run.
        Some(libc::ECHILD) => {
            "it has ended, and its status is lost, because this process was made to ignore SIGCHLD meanwhile: build again".into()
        }
        _ => format!("install Rust (https://rustup.rs) and see that `{program}` is in PATH"),
    }
}
