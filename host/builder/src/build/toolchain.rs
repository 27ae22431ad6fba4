//! Finds the toolchain that applies to a folder, and prepares the environment in which its tools run.

use super::{
    BuildError,
    linker::Linker,
    process::{self, LockFile},
    settings::Settings,
};
use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::Command,
};
use tokio::sync::OnceCell;

/// Variables that rustup sets for a program that `cargo run` starts, to select the toolchain of that cargo.
const OF_RUSTUP: [&str; 3] = ["RUSTUP_TOOLCHAIN", "RUSTUP_TOOLCHAIN_SOURCE", "RUST_RECURSION_COUNT"];

/// Variables that cargo sets. It also sets variables that begin with `CARGO_PKG_` or `CARGO_BIN_`.
const OF_CARGO: [&str; 7] = [
    "CARGO",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_CRATE_NAME",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
];

/// A command that does not inherit the variables of the cargo that started this program: plugins are other packages,
/// and their folders may select another toolchain.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    if env::var_os("CARGO_MANIFEST_DIR").is_none() {
        return command;
    }
    let by_cargo = |name: &str| {
        OF_CARGO.contains(&name) || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_BIN_")
    };
    for name in env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|it| by_cargo(it)) {
        command.env_remove(name);
    }
    // The toolchain that rustup has selected for that cargo does not apply here. But if the user has set a toolchain in
    // the environment, it applies to every cargo.
    if env::var_os("RUSTUP_TOOLCHAIN_SOURCE").is_none_or(|source| source != "env") {
        for name in OF_RUSTUP {
            command.env_remove(name);
        }
    }
    command
}

/// The paths of the tools that a folder's settings select.
#[derive(Clone, Debug)]
pub(super) struct Toolchain {
    pub(super) cargo: PathBuf,
    /// The folder of the shared standard library of the compiler that cargo uses.
    pub(super) libdir: PathBuf,
    /// At least one of these files and folders changes if another toolchain or compiler is selected (for example by
    /// `rustup default`), or is installed at the same path (for example by `rustup update`).
    pub(super) places: BTreeSet<PathBuf>,
    path: OsString,
    linker: OnceCell<Option<Linker>>,
}

impl Toolchain {
    pub(super) async fn find(root: &Path, settings: &Settings) -> Result<Self, BuildError> {
        let own = match sysroot_of(command("rustc"), root).await {
            // If rustup has no default toolchain, use the toolchain of the `cargo run` that started this program.
            Err(_) if env::var_os("RUSTUP_TOOLCHAIN").is_some() => {
                sysroot_of(Command::new("rustc"), root).await
            }
            asked => asked,
        };
        let named = named_compiler(settings);
        let (own, (sysroot, libdir)) = match &named {
            // An error of `own` is ignored: rustup needs no toolchain if the settings name a compiler.
            Some(rustc) => (own.ok(), sysroot_of(command(rustc), root).await?),
            None => {
                let own = own?;
                (Some(own.clone()), own)
            }
        };
        let mut places: BTreeSet<PathBuf> = rustup_settings().into_iter().collect();
        places.extend(named.as_deref().and_then(|rustc| program_file(rustc, root)));
        places.extend([sysroot.join("bin/rustc"), libdir.clone()]);
        // A `cargo` or `rustc` in PATH is usually rustup's proxy, which needs about 10 ms to find the toolchain.
        // Calling the tools of the toolchain by their paths saves this time, for cargo and for each rustc.
        let bin = own.map(|(sysroot, _)| sysroot.join("bin"));
        let bin = bin.filter(|bin| bin.join("cargo").is_file());
        let mut path = OsString::new();
        if let Some(bin) = &bin {
            path.push(bin);
            path.push(":");
        }
        path.push(env::var_os("PATH").unwrap_or_default());
        let cargo = bin.map_or_else(|| "cargo".into(), |bin| bin.join("cargo"));
        // rustc links with `cc` by default. If the settings name another linker, this place does no harm.
        places.extend(program_file(Path::new("cc"), root));
        Ok(Self { cargo, libdir, places, path, linker: OnceCell::new() })
    }

    /// The linker that rustc calls by default for the packages in the folder `root`.
    pub(super) async fn linker(&self, root: &Path) -> Option<&Linker> {
        self.linker.get_or_init(|| Linker::find(&self.libdir, root)).await.as_ref()
    }

    /// A cargo command with the working directory `folder`, so that the settings of this folder apply.
    pub(super) fn cargo(&self, folder: &Path) -> Command {
        let mut command = command(&self.cargo);
        command.current_dir(folder).env("PATH", &self.path);
        command
    }
}

/// The compiler that cargo is configured to call instead of the toolchain's own, in cargo's order of precedence.
fn named_compiler(settings: &Settings) -> Option<PathBuf> {
    let named = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("RUSTC").or_else(|| named("CARGO_BUILD_RUSTC")).or_else(|| settings.rustc.clone())
}

/// The file of a program. A path is relative to `root`, as for cargo. A name without a slash is searched in PATH.
fn program_file(program: &Path, root: &Path) -> Option<PathBuf> {
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return Some(root.join(program));
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The file in which rustup keeps the default toolchain and the toolchains that `rustup override` has set for folders.
fn rustup_settings() -> Option<PathBuf> {
    let named = env::var_os("RUSTUP_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = named.or_else(|| Some(env::home_dir()?.join(".rustup")))?;
    Some(home.join("settings.toml"))
}

/// The sysroot of a compiler, and the folder of its libraries.
async fn sysroot_of(mut rustc: Command, root: &Path) -> Result<(PathBuf, PathBuf), BuildError> {
    rustc.current_dir(root).args(["--print", "sysroot", "--print", "target-libdir"]);
    let mut lines = Vec::new();
    let program = rustc.get_program().to_string_lossy().into_owned();
    let finished = process::run(rustc, LockFile::Unwritten, |line| lines.push(PathBuf::from(line)))
        .await
        .map_err(|source| BuildError::NoToolchain { program: program.clone(), source })?;
    let [sysroot, libdir] = lines.as_slice() else {
        let source = io::Error::other(format!("{}: {}", finished.status, finished.stderr));
        return Err(BuildError::NoToolchain { program, source });
    };
    Ok((sysroot.clone(), libdir.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_does_not_inherit_the_variables_of_the_parent_cargo() {
        // If cargo did not start this test, there are no variables to remove.
        let inherited = env::var_os("CARGO_MANIFEST_DIR").is_some();
        let command = command("any");
        let removed = |name: &str| command.get_envs().any(|(it, value)| it == name && value.is_none());
        assert_eq!(removed("CARGO_MANIFEST_DIR"), inherited);
        assert_eq!(removed("CARGO_PKG_NAME"), inherited);
        assert!(!removed("CARGO_HOME") && !removed("PATH"));
        let by_user = env::var_os("RUSTUP_TOOLCHAIN_SOURCE").is_some_and(|source| source == "env");
        assert_eq!(removed("RUSTUP_TOOLCHAIN"), inherited && !by_user);
    }
}
