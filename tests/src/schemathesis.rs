//! Schemathesis, which asks an HTTP server all that its OpenAPI description allows and much that it does not, where it
//! is available.

use crate::{needs, skipped, workspace};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The version that the tests are made for: another one would find other things.
const VERSION: &str = "4.32.5";

/// `schemathesis`, in an environment of Python's own below `target`, where it is installed if it [may](needs::may_install) be.
#[derive(Clone, Debug)]
pub struct Schemathesis {
    program: PathBuf,
}

impl Schemathesis {
    /// Finds it; where there is none, says so, and that what asked for it is skipped.
    pub fn find() -> Option<Self> {
        static FOUND: OnceLock<Option<Schemathesis>> = OnceLock::new();
        let found = FOUND.get_or_init(|| {
            let folder = workspace().join("target/schemathesis").join(VERSION);
            let program = folder.join("bin/schemathesis");
            let there =
                is_there(&program) || (needs::may_install() && install(&folder) && is_there(&program));
            there.then_some(Self { program })
        });
        if found.is_none() {
            skipped(&format!(
                "there is no schemathesis {VERSION} (REPLUG_INSTALL=1 installs it below `target`; it needs python3 with venv)"
            ));
        }
        found.clone()
    }

    /// Has it ask the server at a URL, and gives back what it says of it, which is also in the error if it finds fault.
    ///
    /// What it keeps between two runs it keeps in `folder`. `${TOKEN}` in its configuration stands for the token.
    ///
    /// # Errors
    ///
    /// If it finds fault with an answer.
    ///
    /// # Panics
    ///
    /// If it cannot be run.
    pub fn judge(&self, folder: &Path, config: &str, (url, token): (&str, &str)) -> Result<String, String> {
        fs::write(folder.join("schemathesis.toml"), config).expect("its configuration");
        let mut command = Command::new(&self.program);
        command.args(["--no-color", "run", &format!("{url}/openapi.json")]).env("TOKEN", token);
        let output = command.current_dir(folder).stdin(Stdio::null()).output().expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }
}

fn is_there(program: &Path) -> bool {
    let asked = Command::new(program).arg("--version").output();
    asked.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(VERSION))
}

fn install(folder: &Path) -> bool {
    let run = |program: &Path, args: &[&str]| {
        let mut command = Command::new(program);
        let command = command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let version = format!("schemathesis=={VERSION}");
    run(Path::new("python3"), &["-m", "venv", &folder.to_string_lossy()])
        && run(&folder.join("bin/pip"), &["install", "--quiet", "--disable-pip-version-check", &version])
}
