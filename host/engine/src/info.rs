//! The state of a host's plugins, for users.

use crate::{
    event::{LimitsInForce, RetireOutcome, Stage, Tally},
    id::{Digest, Generation, PluginId},
    manifest::{Kind, LaneKind, LaneReason, Manifest, Mode},
    metrics::Failures,
    process_usage::ProcessUsage,
    record::Served,
    worker::WorkerHandle,
    workspace::BuildDir,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The state of a plugin at one moment, for Rust programs. The control plane has a separate type for JSON, whose names
/// and defaults must stay compatible with clients of other versions of replug.
#[derive(Clone, Debug)]
pub struct PluginInfo {
    /// The plugin's id.
    pub id: PluginId,
    /// The display name in the manifest.
    pub name: String,
    /// The version in the manifest.
    pub version: String,
    /// The description in the manifest. Empty if the manifest has none.
    pub description: String,
    /// The plugin's role, `type` in the manifest.
    pub kind: Kind,
    /// The mode in the manifest.
    pub mode: Mode,
    /// Where the serving generation runs: [`Mode::InProcess`] or [`Mode::Process`]. `None` if no generation serves.
    pub runs_in: Option<Mode>,
    /// The pid of the child process. `None` if the plugin does not run in a child process.
    pub process_id: Option<u32>,
    /// The resources that the child process uses now.
    pub process: Option<ProcessUsage>,
    /// How the last call was passed to the child process. `None` if the plugin does not run in a child process, or no
    /// method of it was called.
    pub lane: Option<LaneKind>,
    /// Why calls are passed in this way.
    pub lane_reason: Option<LaneReason>,
    /// The limits of the child process that are in force, and the keys of `[limits]` that are not in force. No limit is
    /// in force if the serving generation runs in the host's process.
    pub limits: Option<LimitsInForce>,
    /// The number of restarts of the child process after an unexpected exit.
    pub restarts: u64,
    /// The private memory of the serving generation's library in the host's process, in bytes. `None` if no generation
    /// serves in the host's process.
    pub private_bytes: Option<u64>,
    /// The plugin's folder.
    pub path: PathBuf,
    /// The plugin's status.
    pub status: Status,
    /// Details of the status: the current stage, an error, a rollback, or why the plugin runs in a child process. May be
    /// empty.
    pub detail: String,
    /// Whether no generation serves, but the plugin is being built, started or restarted.
    pub coming_up: bool,
    /// The serving generation.
    pub generation: Option<Generation>,
    /// The artifact of the serving generation.
    pub digest: Option<Digest>,
    /// The names of the serving generation's interfaces.
    pub interfaces: Vec<String>,
    /// The time for which the generation has served, in seconds.
    pub uptime_s: Option<f64>,
    /// The number of ended calls, over all generations, including failed calls.
    pub calls: u64,
    /// The number of calls that have failed.
    pub failures: u64,
    /// The failures by kind.
    pub failed: Failures,
    /// The number of calls that the serving generation runs now.
    pub in_flight: usize,
    /// The number of generations that have ended since the host started, by outcome.
    pub retired: BTreeMap<RetireOutcome, u64>,
}

/// A version of a plugin that has served, and can serve again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The artifact's first generation that served.
    pub generation: Generation,
    /// The artifact's later generations that have served: at most the last 20, the oldest first.
    pub later: Vec<Generation>,
    /// The artifact.
    pub digest: Digest,
    /// The artifact's generation that serves now. `None` if the artifact does not serve.
    pub serves_as: Option<Generation>,
}

impl Version {
    /// The versions in the plugin's record, the oldest first.
    pub(crate) fn all(worker: &WorkerHandle) -> Vec<Self> {
        let live = worker.entry.live();
        let served = worker.progress.lock().served.clone();
        let versions = served.into_iter().map(|Served { generation, later, digest, .. }| {
            let serving = live.as_ref().filter(|live| live.digest == digest);
            Self { generation, later, digest, serves_as: serving.map(|live| live.generation) }
        });
        versions.collect()
    }
}

/// The status of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The plugin serves, and no call runs.
    Ready,
    /// The plugin serves, and calls run.
    Running,
    /// The plugin was stopped.
    Stopped,
    /// The plugin failed to start, or its process has crashed and has not been restarted yet.
    Error,
    /// The plugin was never started. An artifact exists.
    Available,
    /// The plugin was never started. Only its source exists.
    SourceOnly,
    /// The plugin was never started, and cannot be started, because neither its source nor an artifact exists.
    Incomplete,
}

impl Status {
    /// All values.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Running,
        Self::Stopped,
        Self::Error,
        Self::Available,
        Self::SourceOnly,
        Self::Incomplete,
    ];

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Error => "error",
            Self::Available => "available",
            Self::SourceOnly => "source_only",
            Self::Incomplete => "incomplete",
        }
    }

    /// Whether the plugin counts as started: it serves, was stopped, or failed to start.
    pub fn is_registered(self) -> bool {
        matches!(self, Self::Ready | Self::Running | Self::Stopped | Self::Error)
    }
}

impl PluginInfo {
    /// The info of a plugin that no host runs. The status is determined from the plugin's folder and the build folder.
    pub fn at_rest(manifest: &Manifest, build_dir: &BuildDir) -> Self {
        Self::idle(manifest, unregistered(manifest, build_dir))
    }

    /// The info of a plugin that does not run in a host, with this status.
    fn idle(manifest: &Manifest, status: Status) -> Self {
        Self {
            id: manifest.id.clone(),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            description: manifest.description.clone().unwrap_or_default(),
            kind: manifest.kind,
            mode: manifest.mode,
            runs_in: None,
            process_id: None,
            process: None,
            lane: None,
            lane_reason: None,
            limits: None,
            restarts: 0,
            private_bytes: None,
            path: manifest.root.clone(),
            status,
            detail: String::new(),
            coming_up: false,
            generation: None,
            digest: None,
            interfaces: Vec::new(),
            uptime_s: None,
            calls: 0,
            failures: 0,
            failed: Failures::default(),
            in_flight: 0,
            retired: BTreeMap::new(),
        }
    }

    pub(crate) fn of(worker: &WorkerHandle, (build_dir, tally): (&BuildDir, &Tally)) -> Self {
        let manifest = worker.manifest.lock().clone();
        let progress = worker.progress.lock().clone();
        let live = worker.entry.live();
        let calls = worker.entry.calls();
        let in_flight = worker.entry.calls_in_flight();
        let status = match (&live, progress.faults.first()) {
            (Some(_), _) if in_flight > 0 => Status::Running,
            (Some(_), _) => Status::Ready,
            (None, Some(_)) => Status::Error,
            (None, None) if worker.entry.is_restarting() => Status::Error,
            (None, None) if progress.has_run && !progress.unregistered => Status::Stopped,
            (None, None) => unregistered(&manifest, build_dir),
        };
        let is_starting = progress.starts_with_host || progress.doing.is_some();
        let coming_up = live.is_none() && (is_starting || worker.entry.is_restarting());
        let detail = match progress.doing {
            Some(Stage::Build) => "building".into(),
            Some(stage) => format!("in stage {}", stage.name()),
            None => {
                let moved = progress.moved.as_ref().filter(|_| live.is_some());
                let moved = moved.map(|why| format!("in a child process: {why}"));
                let wrong = match (progress.faults.first().cloned(), worker.entry.closed_because()) {
                    (Some(error), Some(restarting)) if worker.entry.is_restarting() => {
                        Some(format!("{restarting}: {error}"))
                    }
                    (error, closed) => error.or(closed),
                };
                let rolled_back = progress.rolled_back_from.filter(|_| live.is_some());
                let rolled_back = rolled_back.map(|from| {
                    format!("rolled back from {from}: to go forward, edit the source or `reload` the plugin")
                });
                wrong.or(rolled_back).or(moved).unwrap_or_default()
            }
        };
        let lane = live.as_ref().and_then(|live| live.lane());
        let uptime = live.is_some().then_some(progress.since).flatten();
        Self {
            runs_in: live.as_ref().map(|live| live.traits().mode()),
            process_id: live.as_ref().and_then(|live| live.process_id()),
            process: live.as_ref().and_then(|live| live.usage()),
            lane: lane.map(|lane| lane.kind),
            lane_reason: lane.map(|lane| lane.reason),
            limits: live.as_ref().and_then(|live| live.limits(manifest.limits)),
            restarts: progress.restarts,
            private_bytes: live
                .as_ref()
                .filter(|live| !live.traits().outside_the_process)
                .map(|live| live.private_bytes),
            detail,
            coming_up,
            generation: live.as_ref().map(|live| live.generation),
            digest: live.as_ref().map(|live| live.digest),
            interfaces: live
                .as_ref()
                .map(|live| live.interfaces().map(|interface| interface.name.clone()).collect())
                .unwrap_or_default(),
            uptime_s: uptime
                .and_then(|since| SystemTime::now().duration_since(since).ok())
                .map(|uptime| uptime.as_secs_f64()),
            calls: calls.calls,
            failures: calls.failures.total(),
            failed: calls.failures,
            in_flight,
            retired: tally.of(&manifest.id).retired,
            ..Self::idle(&manifest, status)
        }
    }
}

/// The status of a plugin that was never started.
pub(crate) fn unregistered(manifest: &Manifest, build_dir: &BuildDir) -> Status {
    let built = manifest.root.join("Cargo.toml").exists() && has_built(manifest, build_dir);
    let ready_made = manifest.binary.as_ref().is_some_and(|binary| manifest.root.join(binary).exists());
    let scripted = manifest.build.script.is_some() || manifest.root.join("scripts/build.sh").exists();
    let source = manifest.root.join("Cargo.toml").exists() || scripted;
    match (built || ready_made, source) {
        (true, _) => Status::Available,
        (false, true) => Status::SourceOnly,
        (false, false) => Status::Incomplete,
    }
}

/// Whether cargo has built a library from sources in the plugin's folder. The dep-info next to the library lists its
/// sources.
fn has_built(manifest: &Manifest, build_dir: &BuildDir) -> bool {
    let profile = match manifest.build.profile.as_str() {
        "dev" => "debug",
        other => other,
    };
    let source = format!("{}/", manifest.root.display());
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries(&build_dir.of(&manifest.root))
        .flat_map(|workspace| entries(&workspace.join(profile)))
        .filter(|file| file.extension().is_some_and(|it| it == "d") && file.with_extension("so").exists())
        .any(|dep_info| fs::read_to_string(dep_info).is_ok_and(|text| text.contains(&source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_at_rest_is_incomplete_source_only_or_available() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let plugin = root.join("greeter");
        fs::create_dir_all(&plugin).unwrap();
        fs::write(plugin.join("plugin.toml"), "id = \"dev.example.greeter\"").unwrap();
        let builds = root.join("build");
        let build_dir = BuildDir::from(builds.clone());
        let status = || PluginInfo::at_rest(&crate::manifest::read(&plugin).unwrap(), &build_dir).status;
        assert_eq!(status(), Status::Incomplete);
        fs::write(plugin.join("Cargo.toml"), "").unwrap();
        assert_eq!(status(), Status::SourceOnly);
        let built = builds.join("greeter-0123/debug");
        fs::create_dir_all(&built).unwrap();
        fs::write(built.join("libother.so"), "").unwrap();
        fs::write(built.join("libother.d"), "libother.so: /elsewhere/src/lib.rs").unwrap();
        assert_eq!(status(), Status::SourceOnly);
        fs::write(built.join("libgreeter.so"), "").unwrap();
        fs::write(built.join("libgreeter.d"), format!("libgreeter.so: {}/src/lib.rs", plugin.display()))
            .unwrap();
        assert_eq!(status(), Status::Available);
    }
}
