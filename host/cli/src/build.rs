//! `replug build`: artifacts without a host.

use super::{
    args::{Folder, Place, State},
    building,
    error::CliError,
    signals::Signals,
    terminal::{self, DIM, GOOD, NAME, brief, relative, rendered},
    trace,
};
use clap::Args;
use replug::{
    Digest,
    artifact::Store,
    build::Builder,
    error::{BuildError, InspectError, PreflightError, StoreError},
    event::{BuildProgress, Diagnostic, millis},
    manifest::{Discovery, Manifest},
    preflight,
};
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
    /// The folder whose sub-folders are the plugins, or one plugin's own [default: plugins or this, here or above]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print one JSON object per plugin, each on a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: State,
}

/// The result for one plugin.
struct Made {
    artifact: PathBuf,
    digest: Digest,
    took_ms: f64,
    warnings: Vec<Diagnostic>,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
enum NotMade {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Preflight(#[from] PreflightError),
}

impl NotMade {
    fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Build(error) => error.diagnostics(),
            Self::Store(_) | Self::Inspect(_) | Self::Preflight(_) => &[],
        }
    }
}

impl Build {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut signals = Signals::listen()?;
        trace::quietly();
        let place = self.state.place(Folder::bare(&self.dir))?.settled();
        let builder = Builder::new(place.build_dir());
        let Place { config, dir, state_dir } = place;
        let Discovery { manifests, problems } = config.defaults.discover(&dir)?;
        let store = Store::open(replug::artifacts_dir(&state_dir))?;
        let width = manifests.iter().map(|manifest| manifest.id.short().len()).max().unwrap_or(0);
        let mut failed = !problems.is_empty();
        for problem in &problems {
            terminal::complain(problem);
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
) -> Result<Made, NotMade> {
    let built = builder.build_reporting(manifest, report).await?;
    let artifact = store.put(&built.artifact)?;
    preflight::check(&artifact, &artifact.inspect()?, manifest.reload.unload)?;
    let (took_ms, warnings) = (millis(built.took), built.warnings);
    Ok(Made { artifact: artifact.path, digest: artifact.digest, took_ms, warnings })
}

fn as_json(manifest: &Manifest, made: &Result<Made, NotMade>) -> serde_json::Value {
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

fn show(manifest: &Manifest, made: &Result<Made, NotMade>, width: usize) -> Result<(), CliError> {
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
            terminal::complain(&format!("{}: {error}", manifest.id));
            Ok(())
        }
    }
}
