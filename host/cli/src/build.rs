//! `replug build`: builds and stores artifacts without a host.

use super::{
    args::{Place, Plugins},
    building,
    error::CliError,
    signals::Signals,
    terminal::{self, DIM, GOOD, NAME, brief, relative, rendered},
    trace,
};
use clap::Args;
use replug::{
    Digest,
    error::ReloadCause,
    event::{BuildProgress, Diagnostic, millis},
    manifest::{Discovery, Manifest},
};
use replug_builder::{artifact::Store, build::Builder};
use replug_engine::preflight;
use serde_json::json;
use std::path::PathBuf;
use tokio::sync::mpsc::unbounded_channel;

/// Build the plugins and put their artifacts into the store
#[derive(Debug, Args)]
#[command(after_help = "Exit status 1 if a plugin does not build, or a manifest cannot be used.

Examples:
  replug build
  replug build plugins/calculator --json | jq -r .artifact")]
pub(super) struct Build {
    /// Print one JSON object per plugin, each on a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plugins: Plugins,
}

/// The result for one plugin.
struct Made {
    artifact: PathBuf,
    digest: Digest,
    took_ms: f64,
    warnings: Vec<Diagnostic>,
}

impl Build {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut signals = Signals::listen()?;
        trace::quietly();
        let place = self.plugins.state.place(self.plugins.folder())?.settled();
        let builder = Builder::new(place.build_dir());
        let Place { config, dir, state_dir } = place;
        let Discovery { manifests, problems } = config.defaults.discover(&dir)?;
        let store = Store::open(replug::artifacts_dir(&state_dir))?;
        let width = manifests.iter().map(|manifest| manifest.id.short().len()).max().unwrap_or(0);
        let mut failed = !problems.is_empty();
        for problem in &problems {
            terminal::error(problem);
        }
        for manifest in &manifests {
            let (sender, updates) = unbounded_channel();
            let report = |progress| drop(sender.send(progress));
            let making = building::shown(&manifest.id, updates, make(&builder, &store, (manifest, report)));
            let made = tokio::select! {
                biased;
                () = signals.next() => return Err(CliError::Interrupted),
                made = making => made,
            };
            failed |= made.is_err();
            if self.json {
                terminal::print_json(&as_json(manifest, &made))?;
            } else {
                show(manifest, &made, width)?;
            }
        }
        match (failed, manifests.is_empty()) {
            (true, _) => Err(CliError::Printed),
            (false, true) => Err(CliError::NotFound(format!("no plugins in {}", dir.display()))),
            (false, false) => Ok(()),
        }
    }
}

async fn make(
    builder: &Builder,
    store: &Store,
    (manifest, report): (&Manifest, impl FnMut(BuildProgress)),
) -> Result<Made, ReloadCause> {
    let built = builder.build_reporting(manifest, report).await?;
    let artifact = store.put(&built.artifact)?;
    preflight::check(&artifact, &artifact.inspect()?)?;
    let (took_ms, warnings) = (millis(built.took), built.warnings);
    Ok(Made { artifact: artifact.path, digest: artifact.digest, took_ms, warnings })
}

fn as_json(manifest: &Manifest, made: &Result<Made, ReloadCause>) -> serde_json::Value {
    match made {
        Ok(made) => json!({
            "plugin": manifest.id,
            "artifact": made.artifact,
            "digest": made.digest,
            "build_ms": made.took_ms,
            "warnings": made.warnings,
        }),
        Err(error) => json!({
            "plugin": manifest.id,
            "error": error.to_string(),
            "diagnostics": error.diagnostics(),
        }),
    }
}

fn show(manifest: &Manifest, made: &Result<Made, ReloadCause>, width: usize) -> Result<(), CliError> {
    let name = manifest.id.short();
    match made {
        Ok(made) => {
            let warnings = rendered(&made.warnings);
            if !warnings.is_empty() {
                terminal::note(&format!("{warnings}\n"));
            }
            let (took, path) = (brief(made.took_ms), relative(&made.artifact));
            terminal::print(&format!(
                "{NAME}{name:width$}{NAME:#} {GOOD}built{GOOD:#} in {took} {DIM}({}){DIM:#}\n  {path}",
                made.digest.short()
            ))
        }
        Err(error) => {
            let diagnostics = rendered(error.diagnostics());
            if !diagnostics.is_empty() {
                terminal::note(&diagnostics);
            }
            terminal::error(&format!("{}: {error}", manifest.id));
            Ok(())
        }
    }
}
