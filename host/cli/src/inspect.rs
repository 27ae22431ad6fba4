//! `replug inspect`: details of a file, a stored artifact or a plugin.

use super::{
    args::{PluginsFlag, State},
    error::CliError,
    one::One,
    signature,
    terminal::{self, BAD, DIM, GOOD, NAME, WARN, relative},
    trace,
};
use clap::Args;
use replug::{
    Digest, PluginInfo,
    manifest::{Defaults, LaneKind, LaneReason, Mode},
};
use replug_api::describe::Interface;
use replug_builder::artifact::{
    Artifact, Facts, Store, inspect,
    inspect::{Lookup, RootSymbol, StdLinkage},
};
use replug_runtime::lane;
use serde_json::json;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Show details of a file, a stored artifact or a plugin
///
/// Reads a file or an artifact without loading it. Builds and loads a plugin, and shows its interfaces.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug inspect dev.replug.calculator
  replug inspect target/debug/libcalculator.so
  replug inspect 1f0c93 --json | jq .artifact.needed")]
pub(super) struct Inspect {
    /// A file, a plugin's id or the last part of it, or the digest of an artifact (a prefix is enough)
    #[arg(value_name = "FILE|ID|DIGEST")]
    what: String,
    #[command(flatten)]
    plugins: PluginsFlag,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: State,
}

/// The facts about a file, from its name and its content.
struct File {
    path: PathBuf,
    digest: Digest,
    facts: Facts,
}

impl File {
    fn read(path: &Path) -> Result<Self, CliError> {
        Ok(Self { path: path.to_owned(), facts: inspect(path)?, digest: Store::digest_of(path)? })
    }

    fn stored(artifact: &Artifact) -> Result<Self, CliError> {
        Ok(Self { path: artifact.path.clone(), digest: artifact.digest, facts: artifact.inspect()? })
    }
}

impl Inspect {
    pub(super) async fn run(self) -> Result<(), CliError> {
        trace::quietly();
        let path = Path::new(&self.what);
        if path.is_file() || self.what.contains('/') {
            return self.show_file(&File::read(path)?);
        }
        let place = self.state.place(self.plugins.folder())?.settled();
        let artifacts = replug::artifacts_dir(&place.state_dir);
        if is_hexadecimal(&self.what) {
            return self.show_file(&File::stored(&self.stored(&artifacts)?)?);
        }
        let Ok(named) = self.what.parse();
        let defaults = place.config.defaults.clone();
        let one = One::start(place, &named).await?;
        let info = one.host.info(one.handle.id().as_str())?;
        let lane = chosen_lane(&info, &defaults)?;
        let interfaces = one.handle.interfaces();
        let store = Store::open(&artifacts)?;
        one.finish(async {}).await?;
        let artifact = info.digest.and_then(|digest| store.get(digest));
        let file = artifact.as_ref().map(File::stored).transpose()?;
        self.show_plugin(&info, lane.as_ref(), file.as_ref(), &interfaces)
    }

    /// The only stored artifact whose digest begins with the argument of the command.
    fn stored(&self, dir: &Path) -> Result<Artifact, CliError> {
        let wanted = self.what.to_ascii_lowercase();
        let mut found = match dir.is_dir() {
            true => Store::open(dir)?.list()?,
            false => Vec::new(),
        };
        found.retain(|artifact| artifact.digest.to_string().starts_with(&wanted));
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(CliError::NotFound(format!("no artifact in {} begins with {wanted}", dir.display()))),
            many => {
                Err(CliError::NotFound(format!("{many} artifacts begin with {wanted}: give more digits")))
            }
        }
    }

    fn show_file(&self, file: &File) -> Result<(), CliError> {
        match self.json {
            true => terminal::print_json(&json!({ "artifact": as_json(file) })),
            false => terminal::print(&facts(file)),
        }
    }

    fn show_plugin(
        &self,
        info: &PluginInfo,
        lane: Option<&LaneChoice>,
        file: Option<&File>,
        interfaces: &[Interface],
    ) -> Result<(), CliError> {
        if self.json {
            return terminal::print_json(&json!({
                "plugin": {
                    "id": info.id,
                    "name": info.name,
                    "version": info.version,
                    "description": info.description,
                    "type": info.kind,
                    "path": info.path,
                    "runs_in": info.runs_in,
                    "lane": lane.map(|lane| lane.kind),
                    "lane_reason": lane.map(|lane| lane.reason),
                },
                "artifact": file.map(as_json),
                "interfaces": interfaces,
            }));
        }
        let rows = [
            ("name", info.name.clone()),
            ("version", info.version.clone()),
            ("type", info.kind.name().to_owned()),
            ("about", info.description.clone()),
            ("folder", relative(&info.path)),
            ("runs in", info.runs_in.map(|mode| mode.name().to_owned()).unwrap_or_default()),
            ("lane", lane.map(LaneChoice::to_text).unwrap_or_default()),
        ];
        let mut parts = vec![format!("{NAME}{}{NAME:#}\n{}", info.id, listed(&rows))];
        parts.extend(file.map(facts));
        parts.extend(interfaces.iter().map(signature::of));
        terminal::print(&parts.join("\n\n"))
    }
}

/// The lane that calls to a child process will use, and why. The lane in use is known only after a call, and this command
/// makes none.
struct LaneChoice {
    kind: LaneKind,
    reason: LaneReason,
    /// Why there is no shared memory.
    lacking: Option<io::Error>,
}

impl LaneChoice {
    fn of(requested: LaneKind, memory: io::Result<()>) -> Self {
        match (requested, memory) {
            (LaneKind::SharedMemory, Err(error)) => {
                Self { kind: LaneKind::Socket, reason: LaneReason::NoMemory, lacking: Some(error) }
            }
            (kind, _) => Self { kind, reason: LaneReason::Requested, lacking: None },
        }
    }

    fn to_text(&self) -> String {
        match (&self.lacking, self.kind) {
            (Some(error), _) => {
                format!("socket, because this machine cannot create sealed shared memory: {error}")
            }
            (None, LaneKind::Socket) => "socket, as the manifest says (`process.lane`)".to_owned(),
            (None, LaneKind::SharedMemory) => {
                "shared-memory, because it is requested (the default) and available".to_owned()
            }
        }
    }
}

/// The lane of a plugin that runs in a child process.
fn chosen_lane(info: &PluginInfo, defaults: &Defaults) -> Result<Option<LaneChoice>, CliError> {
    if info.runs_in != Some(Mode::Process) {
        return Ok(None);
    }
    let requested = defaults.read(&info.path)?.process.lane;
    Ok(Some(LaneChoice::of(requested, lane::probe())))
}

/// Whether the text may be a digest or a prefix of a digest. It is not a plugin's id, because an id has a dot.
fn is_hexadecimal(text: &str) -> bool {
    text.len() >= 4 && text.len() <= 64 && text.chars().all(|c| c.is_ascii_hexdigit())
}

fn as_json(file: &File) -> serde_json::Value {
    let mut json = json!({ "path": file.path, "digest": file.digest });
    if let (Some(json), Ok(serde_json::Value::Object(facts))) =
        (json.as_object_mut(), serde_json::to_value(&file.facts))
    {
        json.extend(facts);
    }
    json
}

fn facts(file: &File) -> String {
    let facts = &file.facts;
    let root = match facts.root {
        RootSymbol::Exported => format!("{GOOD}exported{GOOD:#}"),
        RootSymbol::NothingExported => {
            format!("{BAD}nothing exported{BAD:#}: write `replug_api::export!(Type: Interface);`")
        }
        RootSymbol::Absent => format!("{WARN}absent{WARN:#}: this is not a replug plugin"),
    };
    let std = match &facts.std {
        StdLinkage::Shared { library } => format!("{GOOD}shared{GOOD:#} {DIM}({library}){DIM:#}"),
        StdLinkage::Static => {
            format!("{WARN}its own{WARN:#}, or none: each generation uses up thread-local keys of the host")
        }
    };
    let nodelete = match facts.nodelete {
        true => "never: linked with -z nodelete, or has unique symbols",
        false => "possible",
    };
    let mut rows = vec![
        ("kind", facts.kind.to_owned()),
        ("machine", facts.machine.clone()),
        ("digest", file.digest.to_string()),
        ("build id", facts.build_id.clone().unwrap_or_else(|| "none".into())),
        ("root", root),
        ("std", std),
        ("unload", nodelete.to_owned()),
        ("size", sizes(facts)),
    ];
    rows.extend(facts.soname.iter().map(|soname| ("soname", soname.clone())));
    for (at, library) in facts.libraries.iter().enumerate() {
        let found = format!("{}  {DIM}{}{DIM:#}", library.name, library.path.display());
        rows.push((if at == 0 { "brings" } else { "" }, found));
    }
    for (at, needed) in facts.needed.iter().enumerate() {
        let found = match &needed.lookup {
            Lookup::Found(path) => format!("{DIM}{}{DIM:#}", path.display()),
            Lookup::Missing(_) => format!("{BAD}missing{BAD:#}"),
        };
        rows.push((if at == 0 { "needs" } else { "" }, format!("{}  {found}", needed.name)));
    }
    format!("{NAME}{}{NAME:#}\n{}", relative(&file.path), listed(&rows))
}

fn sizes(facts: &Facts) -> String {
    let kib = |bytes: u64| format!("{} KiB", bytes.div_ceil(1024));
    let debug = if facts.debug_info { "with" } else { "without" };
    format!(
        "{} {debug} debug information; mapped {}, of which {} are private to each generation",
        kib(facts.file_bytes),
        kib(facts.mapped_bytes),
        kib(facts.private_bytes)
    )
}

fn listed(rows: &[(&str, String)]) -> String {
    let filled = rows.iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(key, value)| format!("  {DIM}{key:<9}{DIM:#} {value}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lane_of_a_plugin_is_shown_with_its_reason() {
        let without_memory = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let text = |requested, memory| LaneChoice::of(requested, memory).to_text();
        assert!(text(LaneKind::SharedMemory, Ok(())).starts_with("shared-memory, because"));
        let lacking = text(LaneKind::SharedMemory, without_memory());
        assert!(
            lacking.starts_with("socket, because") && lacking.ends_with("permission denied"),
            "{lacking}"
        );
        for memory in [Ok(()), without_memory()] {
            assert!(text(LaneKind::Socket, memory).starts_with("socket, as the manifest says"));
        }
    }
}
