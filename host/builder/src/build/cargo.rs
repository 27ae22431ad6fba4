//! Builds the package of a plugin with cargo.

use super::{
    BuildError,
    facts::PackageFacts,
    note::Note,
    own_writes::RunningBuild,
    process::{self, LockFile},
    progress,
    record::{End, Run},
    replay::{Beginning, Template},
    std_link::StdLink,
    turns::Turn,
    units::Kind,
};
use crate::watch::Inputs;
use cargo_metadata::{
    CrateType, Message,
    diagnostic::{Diagnostic as RustcDiagnostic, DiagnosticLevel as RustcLevel},
};
use replug_config::manifest::Manifest;
use replug_model::event::{BuildWay, BuiltBy, Diagnostic, DiagnosticLevel};
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

/// The environment variable that sets the debug information of the profile `dev` in cargo.
const DEV_DEBUG: &str = "CARGO_PROFILE_DEV_DEBUG";

/// The result of a successful build.
pub(super) struct Output {
    pub(super) artifact: PathBuf,
    pub(super) inputs: Inputs,
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) way: BuildWay,
}

impl Output {
    /// The same output, of a repeated call of rustc that another plugin's build by cargo has made possible.
    pub(super) fn after_another_build(mut self) -> Self {
        self.way.reason =
            "the build of another plugin has compiled all changes outside of the plugin's own crate"
                .to_owned();
        self
    }
}

/// Builds the plugin's package.
///
/// `reason` is why cargo builds. Other builds of the workspace learn through `turn` what cargo has compiled. The second value of the result is the template (a recorded call of rustc) with which
/// the next edit can be built without cargo, or the reason why cargo has to build the next edit, too.
pub(super) async fn build(
    (manifest, reason): (&Manifest, String),
    facts: &PackageFacts,
    std: StdLink,
    (turn, running): (&Turn, &RunningBuild<'_>),
) -> Result<(Output, Result<Template, String>), BuildError> {
    let (mut artifact, mut diagnostics) = (None, Vec::new());
    let mut command = command(manifest, facts, std);
    let note = Note::request(&mut command, facts);
    let run = Run::begin(facts).await?;
    let compiled = Arc::clone(run.compiled());
    let mut beginning = Beginning::now(facts, run.manifests());
    let lock_file = LockFile::Written(vec![turn.lock(), run.lock()]);
    let finished = process::run(command, lock_file, |line| {
        let Ok(message) = serde_json::from_str(line) else { return };
        if compiled.note(&message) {
            turn.publish(&compiled);
        }
        match message {
            Message::CompilerArtifact(it)
                if it.manifest_path == facts.file && it.target.crate_types.contains(&CrateType::CDyLib) =>
            {
                artifact = it.filenames.into_iter().find(|file| file.extension() == Some("so"));
            }
            Message::BuildScriptExecuted(it) => running.note(&it),
            Message::CompilerMessage(it) => diagnostics.extend(diagnostic(it.message, &facts.workspace_root)),
            _ => {}
        }
    })
    .await
    .map_err(|source| BuildError::NoToolchain { program: "cargo".into(), source })?;

    let mut inputs = facts.inputs.clone();
    if !finished.status.success() {
        run.end(End::Failed, &mut inputs);
        return Err(failure(manifest, facts, diagnostics, &finished));
    }
    beginning.unchanged = run.end(End::Succeeded, &mut inputs);
    let artifact: PathBuf = artifact
        .ok_or_else(|| BuildError::NoArtifact { file: facts.file.clone(), package: facts.package.clone() })?
        .into();
    let way = BuildWay { by: BuiltBy::Cargo, reason };
    let output = Output { artifact, inputs, warnings: diagnostics, way };
    let none = |reason: &str| Err(reason.to_owned());
    // An edit may require that the build script of a local package runs again. Only cargo decides that and runs the
    // script, so cargo builds every edit.
    let scripted =
        compiled.units().values().any(|unit| unit.kind == Kind::ScriptRun && unit.folder.is_some());
    let template = match note {
        _ if scripted => none("the plugin, or a local dependency, has a build script"),
        None => none("a wrapper of rustc is configured"),
        Some(note) => {
            let linker = facts.toolchain.linker(&manifest.root).await;
            Template::of((&note, facts, &compiled), &beginning, manifest, (&output, linker))
        }
    };
    Ok((output, template))
}

fn command(manifest: &Manifest, facts: &PackageFacts, std: StdLink) -> Command {
    let spec = &manifest.build;
    let mut command = facts.toolchain.cargo(&manifest.root);
    command.args(["rustc", "--quiet", "--lib", "--message-format=json-diagnostic-rendered-ansi"]);
    command.arg("--manifest-path").arg(&facts.file);
    command.arg("--target-dir").arg(&facts.target_dir);
    // Without this variable, cargo's intermediate files could be in the folder where the author's own cargo builds. The
    // two cargo processes would then wait for each other's lock.
    command.env("CARGO_BUILD_BUILD_DIR", &facts.target_dir);
    command.args(["--profile", &spec.profile]);
    progress::enable(&mut command);
    // Dependencies are built once, but linked at every edit, and linking is faster if they are smaller. A profile that
    // the author configures is not changed.
    if spec.profile == "dev" && !facts.sets_profile("dev") && env::var_os(DEV_DEBUG).is_none() {
        command.env(DEV_DEBUG, "line-tables-only");
        command.args(["--config", r#"profile.dev.package."*".debug=false"#]);
        command.args(["--config", r#"profile.dev.package."*".opt-level=1"#]);
        // With one codegen unit, the linker reads one object file for each dependency instead of up to 16.
        command.args(["--config", r#"profile.dev.package."*".codegen-units=1"#]);
    }
    if !spec.features.is_empty() {
        command.args(["--features", &spec.features.join(",")]);
    }
    // Only the plugin's own crate selects how std is linked. Its dependencies are rlibs, which work with the shared
    // libstd and with a copy of std.
    if std == StdLink::Shared {
        let mut runpath = OsString::from("-Clink-arg=-Wl,-rpath,");
        runpath.push(&facts.toolchain.libdir);
        command.args(["--", "-Cprefer-dynamic"]).arg(runpath);
    }
    // rustc cannot link the shared libstd with LTO over several crates. A plugin with its own copy of std gets the same
    // setting, so that it can use the same compiled dependencies.
    if facts.has_profile(&spec.profile) {
        let profile = spec.profile.to_uppercase().replace('-', "_");
        command.env(format!("CARGO_PROFILE_{profile}_LTO"), "false");
    }
    command
}

pub(super) fn failure(
    manifest: &Manifest,
    facts: &PackageFacts,
    diagnostics: Vec<Diagnostic>,
    finished: &process::Finished,
) -> BuildError {
    let errors: Vec<_> = diagnostics.iter().filter(|it| it.level.is_error()).collect();
    let Some(first) = errors.first() else {
        let (file, status) = (facts.file.clone(), finished.status.to_string());
        return BuildError::Cargo { file, status, stderr: finished.stderr.clone() };
    };
    if first.message.contains("panic strategy `abort`") {
        let (file, profile) = (facts.file.clone(), manifest.build.profile.clone());
        return BuildError::PanicAborts { file, profile, diagnostics };
    }
    let place = match (&first.file, first.line) {
        (Some(file), Some(line)) => {
            format!("{}:{line}: ", file.strip_prefix(&manifest.root).unwrap_or(file).display())
        }
        _ => String::new(),
    };
    let more = match errors.len() - 1 {
        0 => String::new(),
        1 => " (and 1 more error)".into(),
        more => format!(" (and {more} more errors)"),
    };
    BuildError::Compile { summary: format!("{place}{}{more}", first.message), diagnostics }
}

/// Converts a message of rustc. Returns `None` for a message that only summarizes other messages.
pub(super) fn diagnostic(message: RustcDiagnostic, workspace_root: &Path) -> Option<Diagnostic> {
    let sums_up = message.message.starts_with("aborting due to")
        || message.message.ends_with("warning emitted")
        || message.message.ends_with("warnings emitted");
    if matches!(message.level, RustcLevel::FailureNote) || (message.spans.is_empty() && sums_up) {
        return None;
    }
    let level = match message.level {
        RustcLevel::Ice => DiagnosticLevel::CompilerBug,
        RustcLevel::Error => DiagnosticLevel::Error,
        RustcLevel::Warning => DiagnosticLevel::Warning,
        RustcLevel::Note => DiagnosticLevel::Note,
        _ => DiagnosticLevel::Help,
    };
    let span = message.spans.iter().find(|span| span.is_primary);
    Some(Diagnostic {
        level,
        file: span.map(|span| workspace_root.join(&span.file_name)),
        line: span.map(|span| span.line_start),
        rendered: message.rendered.unwrap_or_else(|| format!("{}: {}\n", level.name(), message.message)),
        message: message.message.lines().next().unwrap_or_default().into(),
    })
}

/// The sources in a dep-info file: the list after the colon, separated by unescaped spaces.
pub(super) fn dep_info_sources(text: &str) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    // rustc writes the variables that `env!` reads into comments. Their values may contain a colon.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, list)) = line.split_once(": ") else { continue };
        let (mut source, mut escaped) = (String::new(), false);
        for c in list.chars().chain([' ']) {
            match c {
                '\\' if !escaped => {
                    escaped = true;
                    continue;
                }
                ' ' if !escaped => {
                    if !source.is_empty() {
                        sources.push(PathBuf::from(std::mem::take(&mut source)));
                    }
                }
                c => {
                    // A backslash escapes only a space; before any other character it is literal.
                    if escaped && c != ' ' {
                        source.push('\\');
                    }
                    source.push(c);
                }
            }
            escaped = false;
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dep_info_sources_unescapes_the_spaces_in_paths() {
        let text = "/t/lib\\ x.so: /p/a\\ b.txt /p/src/lib.rs\n\n# env-dep:CARGO_PKG_DESCRIPTION=one: two\n";
        assert_eq!(dep_info_sources(text), [PathBuf::from("/p/a b.txt"), "/p/src/lib.rs".into()]);
    }
}
