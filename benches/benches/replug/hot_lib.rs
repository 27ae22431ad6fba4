//! Measures the time from a save to the new code with hot-lib-reloader: `cargo build` builds a library, and the program
//! `peer-live` in `benches/peers/live` reloads it.

use anyhow::{Context, Result, bail, ensure};
use replug_tests::target_dir;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// How long to wait until the program has reloaded. The time is limited, because the program never reloads again if it
/// has read a half-written file.
const PATIENCE: Duration = Duration::from_secs(20);

/// The library and the running program.
pub(crate) struct HotLib {
    package: PathBuf,
    child: Child,
    answers: Receiver<String>,
}

/// The times that were measured for one edit, in milliseconds.
pub(crate) struct Edit {
    /// From the save until the new code has answered.
    pub(crate) live: f64,
    /// From the save until the end of `cargo build`.
    pub(crate) build: f64,
}

impl HotLib {
    /// Builds the library, and starts the program with a debounce of this many milliseconds: 500 or 10.
    pub(crate) fn start(programs: &Path, debounce: &str) -> Result<Self> {
        let package = target_dir().join("sandbox").join(format!("live-hot-lib-{debounce}"));
        fs::create_dir_all(package.join("src"))?;
        let manifest = "[package]\nname = \"greeter\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\n\
                        crate-type = [\"rlib\", \"dylib\"]\n\n[workspace]\n";
        fs::write(package.join("Cargo.toml"), manifest)?;
        write(&package, "Hello")?;
        build(&package)?;
        let mut child = Command::new(programs.join("peer-live"))
            .arg(package.join("target/debug"))
            .arg(debounce)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let (send, answers) = mpsc::channel();
        // This thread ends with the program.
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        let started = Self { package, child, answers };
        started.wait_for("Hello, you!")?;
        Ok(started)
    }

    /// Saves an edit, starts `cargo build` at once, and waits for the answer of the new code.
    pub(crate) fn go_live(&self, edit: usize) -> Result<Edit> {
        let saved = Instant::now();
        write(&self.package, &format!("Hello {edit}"))?;
        build(&self.package)?;
        let built = saved.elapsed();
        self.wait_for(&format!("Hello {edit}, you!"))?;
        Ok(Edit { live: saved.elapsed().as_secs_f64() * 1e3, build: built.as_secs_f64() * 1e3 })
    }

    fn wait_for(&self, wanted: &str) -> Result<()> {
        loop {
            match self.answers.recv_timeout(PATIENCE) {
                Ok(answer) if answer == wanted => return Ok(()),
                Ok(_) => {}
                Err(_) => bail!("hot-lib-reloader has not reloaded the library within {PATIENCE:?}"),
            }
        }
    }
}

impl Drop for HotLib {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(package: &Path, greeting: &str) -> Result<()> {
    let source = format!(
        "#[unsafe(no_mangle)]\npub fn greet(name: &str) -> String {{\n    format!(\"{greeting}, {{name}}!\")\n}}\n"
    );
    Ok(fs::write(package.join("src/lib.rs"), source)?)
}

fn build(package: &Path) -> Result<()> {
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--target-dir", "target"])
        .current_dir(package)
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "`cargo build` in {} failed: {status}", package.display());
    Ok(())
}
