//! The file of the `replug` command.

use crate::{own_process::once_in_run, workspace};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The command's file, built from the current sources. Hosts of tests also start it as the child process of a plugin.
///
/// # Panics
///
/// If it does not build.
pub fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        once_in_run("replug", || {
            let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            // With the features that the whole workspace enables, cargo uses the dependencies that it has compiled for
            // the tests.
            let cargo = cargo.args(["build", "--quiet", "--workspace", "--bin", "replug"]);
            assert!(
                cargo.current_dir(workspace()).status().is_ok_and(|status| status.success()),
                "replug builds"
            );
            String::new()
        });
        let tests = env::current_exe().expect("this program has a path");
        tests.ancestors().nth(2).expect("it is in `deps` of the target folder").join("replug")
    })
}
