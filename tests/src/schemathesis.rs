//! Schemathesis sends an HTTP server valid and invalid requests, which it generates from the server's OpenAPI
//! description. Tests use it where it is available.

use crate::{needs, skipped, target_dir};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The version for which the tests are written. Other versions generate other requests and have other checks.
const VERSION: &str = "4.32.5";

/// `schemathesis`, in a Python environment below `target`. It is installed if that is [allowed](needs::may_install).
#[derive(Clone, Debug)]
pub struct Schemathesis {
    program: PathBuf,
}

impl Schemathesis {
    /// Finds schemathesis. If it is missing, reports that the test skips this check.
    pub fn find() -> Option<Self> {
        static FOUND: OnceLock<Option<Schemathesis>> = OnceLock::new();
        let found = FOUND.get_or_init(|| {
            let folder = target_dir().join("schemathesis").join(VERSION);
            let program = folder.join("bin/schemathesis");
            let there =
                is_there(&program) || (needs::may_install() && install(&folder) && is_there(&program));
            there.then_some(Self { program })
        });
        if found.is_none() {
            skipped(&format!(
                "schemathesis {VERSION} is not installed (REPLUG_INSTALL=1 installs it below `target`; it needs python3 with venv)"
            ));
        }
        found.clone()
    }

    /// Tests the server at a URL, and returns the report. If schemathesis found problems, the report is the error.
    ///
    /// Schemathesis keeps data in `folder` between runs. In `config`, `${TOKEN}` stands for the token.
    ///
    /// # Errors
    ///
    /// If schemathesis reports a problem.
    ///
    /// # Panics
    ///
    /// If schemathesis cannot be run.
    pub fn judge(&self, folder: &Path, config: &str, (url, token): (&str, &str)) -> Result<String, String> {
        fs::write(folder.join("schemathesis.toml"), config).expect("its configuration");
        let mut command = Command::new(&self.program);
        command.args(["--no-color", "run", &format!("{url}/openapi.json")]).env("TOKEN", token);
        let output = command.current_dir(folder).stdin(Stdio::null()).output().expect("it runs");
        let report = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(report) } else { Err(report) }
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
