//! A template of a plugin that the host builds from source. Tests edit it as an author would.

use crate::workspace;
use std::fs;

/// The files of a plugin's folder.
#[derive(Clone, Debug)]
pub struct Source {
    /// `Cargo.toml`, without the package's name.
    pub cargo_toml: String,
    /// `src/lib.rs`.
    pub lib: String,
    /// All other files, by their path in the folder.
    pub others: Vec<(String, String)>,
}

/// The interface of the template. The tests also include this file, for their typed handles.
const TALLY: &str = include_str!("tally.rs");

/// The profile of all plugins of the tests. They share one profile, so that their dependencies are compiled once.
pub const PROFILE: &str = "[profile.dev]\ndebug = false\nstrip = \"debuginfo\"\n";

const LIB: &str = "//! A plugin from a template.

mod tally;

use replug_api::prelude::*;
use tally::Tally;

struct Template;

impl Plugin for Template {
    type Config = ();
    type State = ();

    fn init(_: &Context, (): ()) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Tally for Template {
    fn version(&self) -> u64 {
        VERSION
    }

    fn add(&self, a: u64, b: u64) -> u64 {
        a + b
    }
}

replug_api::export!(Template: Tally);
";

impl Source {
    /// The template, whose method `version` returns this number.
    pub fn new(version: u64) -> Self {
        let api = workspace().join("plugin-api");
        let cargo_toml = format!(
            "edition = \"2024\"\nversion = \"0.1.0\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\nreplug-api = {{ path = {api:?} }}\n\n{PROFILE}\n[workspace]\n"
        );
        Self { cargo_toml, lib: Self::lib(version), others: vec![("src/tally.rs".into(), TALLY.into())] }
    }

    /// `src/lib.rs` of the template.
    pub fn lib(version: u64) -> String {
        LIB.replace("VERSION", &version.to_string())
    }

    /// This source with one piece of `src/lib.rs` replaced.
    ///
    /// # Panics
    ///
    /// If that piece does not occur.
    #[must_use]
    pub fn edited(mut self, from: &str, to: &str) -> Self {
        assert!(self.lib.contains(from), "{from} is not in the template");
        self.lib = self.lib.replace(from, to);
        self
    }

    /// This source with one more file, or another `Cargo.toml`.
    #[must_use]
    pub fn with(mut self, path: &str, content: impl Into<String>) -> Self {
        self.others.retain(|file| file.0 != path);
        self.others.push((path.into(), content.into()));
        self
    }

    /// This source with one piece of its interface replaced.
    ///
    /// # Panics
    ///
    /// If that piece does not occur.
    #[must_use]
    pub fn with_interface(self, from: &str, to: &str) -> Self {
        assert!(TALLY.contains(from), "{from} is not in the interface");
        self.with("src/tally.rs", TALLY.replace(from, to))
    }

    /// All files, for a plugin of that name.
    ///
    /// # Panics
    ///
    /// If the fixture's lock file cannot be read.
    pub fn files(&self, name: &str) -> Vec<(String, String)> {
        // The package has the dependencies of the fixture, and its name has the same sort position as the fixture's
        // name. So the fixture's lock file is valid for the package after the name is replaced, and cargo does not
        // update it.
        let package = format!("misbehave-{name}");
        let lock = fs::read_to_string(workspace().join("tests/fixtures/misbehave/Cargo.lock"))
            .expect("the lock file");
        let lock = lock.replace("name = \"misbehave\"", &format!("name = \"{package}\""));
        let mut files = vec![
            ("Cargo.lock".into(), lock),
            ("Cargo.toml".into(), format!("[package]\nname = \"{package}\"\n{}", self.cargo_toml)),
            ("src/lib.rs".into(), self.lib.clone()),
        ];
        for (path, content) in &self.others {
            files.retain(|file| file.0 != *path);
            files.push((path.clone(), content.clone()));
        }
        files
    }
}
