//! The times of the passes of rustc in a rebuild. They come from separate calls of rustc, because `-Z time-passes`
//! needs `RUSTC_BOOTSTRAP`, and its messages would make the measured edits slower.

use crate::live_plugins::{Copies, SUBJECTS, millis};
use anyhow::{Context, Result, ensure};
use replug::BuildDir;
use serde::Deserialize;
use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// The number of calls of rustc for each plugin. The first fills the incremental cache.
const CALLS: usize = 5;

/// The rows of the table, each with the passes of rustc that it includes.
pub(crate) const PASSES: [(&str, &[&str]); 7] = [
    ("macro expansion, with reading the metadata of the dependencies", &["macro_expand_crate"]),
    ("name resolution", &["resolve_crate"]),
    (
        "type check, borrow check and lints",
        &[
            "misc_checking_1",
            "coherence_checking",
            "type_check_crate",
            "MIR_borrow_checking",
            "misc_checking_3",
        ],
    ),
    ("collecting the items to compile, and generating code", &["codegen_crate"]),
    ("LLVM, partly at the same time", &["LLVM_passes"]),
    ("writing the incremental cache", &["incr_comp_persist_result_cache"]),
    ("the linker", &["run_linker"]),
];

/// The milliseconds of a call of rustc.
pub(crate) struct Call {
    /// In the order of [`PASSES`].
    pub(crate) passes: Vec<f64>,
    /// The total of all passes, including those that are not in the table.
    pub(crate) rustc: f64,
    /// From the start of the process until it has exited.
    pub(crate) process: f64,
}

/// A line of `-Z time-passes-format=json`.
#[derive(Deserialize)]
struct Pass {
    pass: String,
    time: f64,
}

/// Repeats the call of rustc that the builder repeats for each edit of a plugin, and returns the times of all calls but
/// the first.
pub(crate) fn calls(copies: &Copies, subject: usize) -> Result<Vec<Call>> {
    let recorded = Recorded::find(copies, SUBJECTS[subject].package)?;
    let folder = copies.sandbox.root().join("passes").join(SUBJECTS[subject].package);
    let mut calls = Vec::new();
    for call in 0..CALLS {
        copies.save(subject, 1_000 + call)?;
        calls.push(recorded.repeat(&folder)?);
    }
    Ok(calls.split_off(1))
}

/// The call of rustc that the builder has recorded.
struct Recorded {
    folder: PathBuf,
    rustc: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Recorded {
    fn find(copies: &Copies, package: &str) -> Result<Self> {
        let root = copies.sandbox.root();
        let target = BuildDir::from(copies.sandbox.state_dir().join("build")).target_dir(root);
        let replay = target.join("replay");
        let mut call = parts(&replay.join(format!("{package}-0.call")))?.into_iter();
        let env = parts(&replay.join(format!("{package}.env")))?.into_iter().filter_map(|pair| {
            let (name, value) = pair.to_str()?.split_once('=')?;
            let is_for_cargo = name.starts_with("RUSTC") || name.contains("MAKEFLAGS") || name == "MFLAGS";
            (!is_for_cargo).then(|| (name.into(), value.into()))
        });
        let (folder, rustc) = call.next().zip(call.next()).context("the recorded call is empty")?;
        Ok(Self { folder: folder.into(), rustc, args: call.collect(), env: env.collect() })
    }

    fn repeat(&self, folder: &Path) -> Result<Call> {
        let (output, cache) = (folder.join("out"), folder.join("incremental"));
        if output.exists() {
            fs::remove_dir_all(&output)?;
        }
        fs::create_dir_all(&output)?;
        let mut rustc = Command::new(&self.rustc);
        rustc.current_dir(&self.folder).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        rustc.env("RUSTC_BOOTSTRAP", "1").stdin(Stdio::null());
        let mut is_output = false;
        for arg in &self.args {
            let is_cache = arg.to_str().is_some_and(|arg| arg.starts_with("incremental="));
            rustc.arg(if is_output { output.as_os_str() } else { arg });
            if is_cache {
                let mut option = OsString::from("-Cincremental=");
                option.push(&cache);
                rustc.arg(option);
            }
            is_output = arg == "--out-dir";
        }
        rustc.args(["-Ztime-passes", "-Ztime-passes-format=json"]);
        let began = Instant::now();
        let done = rustc.output()?;
        let process = millis(began.elapsed());
        let messages = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "rustc failed: {}\n{messages}", done.status);
        let lines = messages.lines().filter_map(|line| line.strip_prefix("time: "));
        let passes: Vec<Pass> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
        let ms = |names: &[&str]| -> f64 {
            passes.iter().filter(|it| names.contains(&&*it.pass)).map(|it| it.time * 1e3).sum()
        };
        let rustc = ms(&["total"]);
        ensure!(rustc > 0.0, "rustc reports no passes: {messages}");
        Ok(Call { passes: PASSES.iter().map(|(_, names)| ms(names)).collect(), rustc, process })
    }
}

/// The parts of a file, each of which ends with a null byte.
fn parts(file: &Path) -> Result<Vec<OsString>> {
    let bytes = fs::read(file).with_context(|| format!("the builder has not recorded {}", file.display()))?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    Ok(bytes.split(|byte| *byte == 0).map(|part| OsString::from_vec(part.to_vec())).collect())
}
