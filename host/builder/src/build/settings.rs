//! The configuration files of cargo and rustup, and the settings that affect a build.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// Cargo's configuration for one folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// Every file that cargo or rustup would read, in this folder and in the folders above it, whether it exists or
    /// not.
    pub(super) files: Vec<PathBuf>,
    /// The compiler that `[build] rustc` names.
    pub(super) rustc: Option<PathBuf>,
    /// The profiles that the files define or change.
    pub(super) profiles: BTreeSet<String>,
    /// Whether the files replace crates from a registry with a folder or with another registry.
    pub(super) replaces_crates: bool,
}

impl Settings {
    /// Reads the configuration that cargo uses when it runs in `folder`.
    pub(super) fn find(folder: &Path) -> Self {
        let mut settings = Self::default();
        for folder in folder.ancestors() {
            settings.files.extend(["rust-toolchain.toml", "rust-toolchain"].map(|name| folder.join(name)));
            settings.read_folder(&folder.join(".cargo"));
        }
        if let Some(home) = cargo_home() {
            settings.read_folder(&home);
        }
        settings
    }

    /// Whether the text of one of the files contains `word`.
    pub(super) fn mention(&self, word: &str) -> bool {
        self.files.iter().any(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(word)))
    }

    fn read_folder(&mut self, folder: &Path) {
        // If both files exist, cargo reads only `config`.
        let [old, new] = ["config", "config.toml"].map(|name| folder.join(name));
        let (used, other) = if old.exists() { (old, new) } else { (new, old) };
        self.read(&used);
        if !self.files.contains(&other) {
            self.files.push(other);
        }
    }

    /// Reads a file, and the files that it includes. Files that were read earlier take precedence.
    fn read(&mut self, file: &Path) {
        if self.files.iter().any(|known| known == file) {
            return;
        }
        self.files.push(file.to_owned());
        // An invalid file is ignored here, because cargo reports the error.
        let Some(table) = fs::read_to_string(file).ok().and_then(|text| text.parse::<Table>().ok()) else {
            return;
        };
        let rustc = table.get("build").and_then(|build| build.get("rustc")).and_then(Value::as_str);
        self.rustc = self.rustc.take().or_else(|| Some(program(rustc?, file)));
        let profiles = table.get("profile").and_then(Value::as_table);
        self.profiles.extend(profiles.into_iter().flat_map(|profiles| profiles.keys().cloned()));
        self.replaces_crates |= ["paths", "source", "patch"].iter().any(|key| table.contains_key(*key));
        for included in table.get("include").map(included).unwrap_or_default() {
            self.read(&file.with_file_name(included));
        }
    }
}

/// Cargo's home folder, which contains its downloads and its configuration.
pub(super) fn cargo_home() -> Option<PathBuf> {
    let named = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// The paths under `include`, which is a path, or a list of paths and of tables with a `path`.
fn included(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(list) => list.iter().flat_map(included).collect(),
        Value::Table(table) => table.get("path").and_then(Value::as_str).into_iter().collect(),
        other => other.as_str().into_iter().collect(),
    }
}

/// The program that a configuration file names. A relative path is relative to the folder that contains `.cargo`.
fn program(name: &str, file: &Path) -> PathBuf {
    match file.parent().and_then(Path::parent).filter(|_| name.contains('/')) {
        Some(folder) => folder.join(name),
        None => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &Path, text: &str) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn find_reads_the_files_that_a_configuration_includes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(
            &at("p/.cargo/config.toml"),
            "include = ['one.toml', { path = '../two.toml', optional = true }]",
        );
        write(&at("p/.cargo/one.toml"), "include = 'three.toml'\n[profile.fancy]\nlto = true");
        write(&at("p/.cargo/three.toml"), "include = ['one.toml']\n[build]\nrustc = 'bin/rustc'");
        let settings = Settings::find(&at("p"));
        for name in ["p/.cargo/one.toml", "p/.cargo/../two.toml", "p/.cargo/three.toml", "rust-toolchain"] {
            assert!(settings.files.contains(&at(name)), "{name}: {:?}", settings.files);
        }
        assert_eq!(settings.rustc, Some(at("p/bin/rustc")));
        assert!(settings.profiles.contains("fancy"), "{:?}", settings.profiles);
    }

    #[test]
    fn a_configuration_that_cargo_ignores_is_only_watched() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["config", "config.toml"].map(|name| dir.path().join(".cargo").join(name));
        write(&new, "[build]\nrustc = 'new'\n[profile.fancy]\nlto = true");
        let find = || Settings::find(dir.path());
        assert_eq!(find().rustc, Some("new".into()));
        write(&old, "[profile.plain]\nlto = true");
        let both = find();
        assert_eq!(both.rustc, None, "cargo reads only `config`");
        assert!(both.profiles.contains("plain") && !both.profiles.contains("fancy"), "{:?}", both.profiles);
        assert!(both.files.contains(&old) && both.files.contains(&new), "{:?}", both.files);
    }

    #[test]
    fn the_nearest_configuration_names_the_compiler() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("p/.cargo/config.toml"), "[build]\nrustc = 'near'");
        write(
            &dir.path().join(".cargo/config.toml"),
            "[build]\nrustc = './far'\n[source.x]\ndirectory = 'y'",
        );
        let settings = Settings::find(&dir.path().join("p"));
        assert_eq!(settings.rustc, Some("near".into()));
        assert!(settings.replaces_crates);
    }
}
