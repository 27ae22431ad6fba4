//! The fixture `numbered`, served by a host that gets a new version of it on request.

use anyhow::{Context, Result};
use replug::{Handle, Host};
use replug_interfaces::Counter;
use replug_tests::{
    numbered::Numbered,
    sandbox::{Sandbox, Std},
};
use std::{fs, path::Path};
use tempfile::TempDir;

pub(crate) const ID: &str = "dev.replug.numbered";

/// A host, and the folder with the plugin that it serves.
pub(crate) struct Served {
    pub(crate) host: Host,
    pub(crate) handle: Handle<dyn Counter>,
    artifacts: Numbered,
    folder: TempDir,
}

impl Served {
    /// Builds the fixture, and serves it. `keys` is added to the manifest.
    pub(crate) fn build(keys: &str) -> Result<Self> {
        let sandbox = Sandbox::fresh("bench")?;
        let package = sandbox.add("tests/fixtures/numbered")?;
        Self::start(&sandbox.build(&package, Std::Shared)?, keys)
    }

    /// Serves the fixture whose library is at this path.
    pub(crate) fn start(library: &Path, keys: &str) -> Result<Self> {
        let mut artifacts = Numbered::read(library)?;
        let folder = tempfile::tempdir()?;
        artifacts.put(0, &binary(&folder))?;
        let manifest = format!("id = \"{ID}\"\nbinary = \"numbered.so\"\n{keys}\n");
        fs::write(folder.path().join("plugin.toml"), manifest)?;
        let host = Host::builder().plugins(folder.path()).build().wait()?;
        let handle: Handle<dyn Counter> = host.get(ID)?;
        handle.value().context("the plugin did not start")?;
        Ok(Self { host, handle, artifacts, folder })
    }

    /// Reloads the plugin with the artifact of this number.
    pub(crate) fn reload(&mut self, number: u64) -> Result<()> {
        self.artifacts.put(number, &binary(&self.folder))?;
        self.host.reload(ID).wait()?;
        Ok(())
    }
}

fn binary(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("numbered.so")
}
