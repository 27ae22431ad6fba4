//! Artifacts that have crashed. A demoted artifact runs only in a child process, or not at all.
//!
//! The host cannot prevent a crash, but its crash record names the artifact. The next host reads the crash record, and
//! writes into the state folder that the artifact has crashed. After that, no host runs this artifact in its own
//! process. Other artifacts of the plugin are not affected.

use crate::{
    atomic_file::{self, Durability},
    event::{CrashSite, EventKind},
    id::{Digest, PluginId},
    lifecycle::{AfterCrash, Processes},
    manifest::{Manifest, Mode},
    registry::crash_record::{Crash, End},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The maximum number of recorded artifacts of a plugin: more than are usually kept for rollbacks.
const REMEMBERED: usize = 32;

/// An artifact that has crashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demotion {
    /// The artifact.
    pub digest: Digest,
    /// The crash. Only the signal is set if the artifact crashed in a child process.
    #[serde(flatten)]
    pub crash: CrashSite,
    /// The time at which the crash was detected, as RFC 3339 in UTC.
    pub at: String,
    /// The consequence.
    pub what: Treatment,
}

/// The consequence for an artifact that has crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// The artifact runs in a child process.
    Process,
    /// The artifact does not run until the user starts the plugin.
    Quarantined,
}

impl From<AfterCrash> for Treatment {
    fn from(after: AfterCrash) -> Self {
        match after {
            AfterCrash::Outside => Self::Process,
            AfterCrash::Nowhere => Self::Quarantined,
        }
    }
}

impl fmt::Display for Demotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CrashSite { method, line, signal } = &self.crash;
        match method {
            Some(method) => write!(f, "it crashed the host in {method}")?,
            None => write!(f, "it crashed")?,
        }
        if let Some(line) = line {
            write!(f, " at {line}")?;
        }
        write!(f, " ({})", signal.as_deref().unwrap_or("exit"))?;
        match self.what {
            Treatment::Process => Ok(()),
            Treatment::Quarantined => {
                write!(f, ": it is quarantined; rebuild it, or `start` it to try again")
            }
        }
    }
}

impl Demotion {
    /// A demotion whose crash is detected now.
    pub(crate) fn now(digest: Digest, crash: CrashSite, what: Treatment) -> Self {
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        Self { digest, crash, at, what }
    }

    /// The event that reports this demotion.
    pub(crate) fn event(&self) -> EventKind {
        let (crash, reason) = (self.crash.clone(), self.to_string());
        match self.what {
            Treatment::Process => EventKind::PluginDemoted { crash, reason },
            Treatment::Quarantined => EventKind::PluginQuarantined { crash, reason },
        }
    }
}

/// The artifacts that have crashed, as recorded in the state folder: one file for each plugin.
#[derive(Debug)]
pub(crate) struct Demotions {
    dir: PathBuf,
    known: Mutex<BTreeMap<PluginId, Vec<Demotion>>>,
    /// The crashes that this host has detected at its start. It reports them when its plugins have started.
    news: Mutex<BTreeSet<(PluginId, Digest)>>,
}

impl Demotions {
    /// Reads the recorded demotions. Ignores an unreadable file, with a warning.
    pub(crate) fn read(dir: PathBuf) -> Self {
        let mut known = BTreeMap::new();
        for file in fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let Some(id) = plugin_of(&file) else { continue };
            let read = fs::read(&file).and_then(|text| Ok(serde_json::from_slice(&text)?));
            match read {
                Ok(demotions) => drop(known.insert(id, demotions)),
                Err(error) => tracing::warn!(
                    "{} lists the artifacts of {id} that have crashed, and cannot be read: {error}; remove it",
                    file.display()
                ),
            }
        }
        Self { dir, known: Mutex::new(known), news: Mutex::default() }
    }

    /// The demotion of an artifact, if it has one.
    pub(crate) fn of(&self, id: &PluginId, digest: Digest) -> Option<Demotion> {
        self.known.lock().get(id)?.iter().find(|it| it.digest == digest).cloned()
    }

    /// Whether an artifact of the plugin has a demotion.
    pub(crate) fn has_any(&self, id: &PluginId) -> bool {
        self.known.lock().contains_key(id)
    }

    /// Whether this host has detected the crash of the artifact at its start. Such a crash is reported when the plugins
    /// have started, so the caller need not report it. Returns `true` only once for each crash.
    pub(crate) fn is_news(&self, id: &PluginId, digest: Digest) -> bool {
        self.news.lock().remove(&(id.clone(), digest))
    }

    /// Records that an artifact has crashed.
    pub(crate) fn add(&self, id: &PluginId, demotion: Demotion) {
        let mut known = self.known.lock();
        let of_plugin = known.entry(id.clone()).or_default();
        of_plugin.retain(|it| it.digest != demotion.digest);
        of_plugin.insert(0, demotion);
        of_plugin.truncate(REMEMBERED);
        self.write(id, of_plugin);
    }

    /// Removes the demotions of the plugin.
    pub(crate) fn lift(&self, id: &PluginId) {
        if self.known.lock().remove(id).is_some() {
            self.write(id, &[]);
        }
    }

    fn write(&self, id: &PluginId, demotions: &[Demotion]) {
        if let Err(error) = self.try_write(id, demotions) {
            tracing::warn!(
                "{}: cannot record the crash ({error}): the next host may load the artifact again",
                self.file(id).display()
            );
        }
    }

    fn try_write(&self, id: &PluginId, demotions: &[Demotion]) -> io::Result<()> {
        if demotions.is_empty() {
            fs::remove_file(self.file(id))?;
            // Fails if the folder is not empty.
            let _ = fs::remove_dir(&self.dir);
            return Ok(());
        }
        // The name of the temporary file begins with a dot, and an id does not. So no file of another plugin has this
        // name.
        let text = serde_json::to_vec_pretty(demotions)?;
        atomic_file::replace(&self.file(id), &text, Durability::Process)
    }

    fn file(&self, id: &PluginId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    /// Decides the consequence of a crash, records it, and returns the event, with the plugin to which the crash is
    /// attributed. Returns `None` if the crash is not reported.
    pub(crate) fn handle_crash(
        &self,
        crash: &Crash,
        manifests: &[Manifest],
        processes: Processes,
    ) -> Option<(Option<PluginId>, EventKind)> {
        let Some(suspect) = crash.culprit() else { return unexplained(crash).map(|event| (None, event)) };
        let manifest = manifests.iter().find(|manifest| manifest.id == suspect.plugin);
        let mode = manifest.map_or(Mode::Auto, |manifest| manifest.mode);
        if mode == Mode::Process {
            return unexplained(crash).map(|event| (None, event));
        }
        let what = AfterCrash::of(mode, processes).into();
        let (method, line) = (Some(suspect.method.clone()), suspect.line.clone());
        let site = CrashSite { method, line, signal: signal(crash) };
        let demotion = Demotion::now(suspect.digest, site, what);
        let event = demotion.event();
        self.add(&suspect.plugin, demotion);
        self.news.lock().insert((suspect.plugin.clone(), suspect.digest));
        Some((Some(suspect.plugin.clone()), event))
    }
}

fn signal(crash: &Crash) -> Option<String> {
    match crash.end {
        End::Signal(name) => Some(name.to_owned()),
        End::Exit | End::Unknown => None,
    }
}

/// The event for a crash that cannot be attributed to a plugin.
fn unexplained(crash: &Crash) -> Option<EventKind> {
    let how = match crash.end {
        End::Signal(name) => format!("was killed by {name}"),
        End::Exit => "ended by a call to `exit`".into(),
        // If neither a cause nor a running plugin was recorded, the process was probably killed on purpose. This is not
        // reported.
        End::Unknown if crash.suspects.is_empty() => return None,
        End::Unknown => "ended without recording a reason".into(),
    };
    let in_flight: Vec<_> =
        crash.suspects.iter().map(|suspect| format!("{} ({})", suspect.plugin, suspect.method)).collect();
    let who = match in_flight.as_slice() {
        [] => "no plugin was running".into(),
        some => {
            format!(
                "in progress: {}; the crash cannot be attributed to one plugin, so no plugin is moved to a child process",
                some.join(", ")
            )
        }
    };
    let reason = format!("the previous host (process {}) {how}: {who}", crash.pid);
    Some(EventKind::HostCrashed { signal: signal(crash), in_flight, reason })
}

fn plugin_of(file: &Path) -> Option<PluginId> {
    file.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Generation;
    use crate::registry::crash_record::{Attribution, Suspect};

    fn suspect(plugin: &str, digest: u8, attribution: Attribution) -> Suspect {
        Suspect {
            plugin: plugin.parse().unwrap(),
            generation: Generation(1),
            digest: Digest([digest; 32]),
            interface: "Calculator".into(),
            method: "divide".into(),
            line: None,
            attribution,
        }
    }

    fn crash(end: End, suspects: Vec<Suspect>) -> Crash {
        Crash { pid: 7, end, suspects }
    }

    #[test]
    fn the_culprit_raised_the_signal_or_was_the_only_artifact_in_a_call() {
        let (a, b) = (
            suspect("dev.test.a", 1, Attribution::InFlight),
            suspect("dev.test.b", 2, Attribution::InFlight),
        );
        let raised = suspect("dev.test.c", 3, Attribution::Raised);
        let named = |end, suspects: &[&Suspect]| {
            let crash = crash(end, suspects.iter().map(|&it| it.clone()).collect());
            crash.culprit().map(|it| it.plugin.to_string())
        };
        let segv = End::Signal("SIGSEGV");
        assert_eq!(named(segv, &[&a, &raised]).as_deref(), Some("dev.test.c"));
        assert_eq!(named(End::Exit, &[&raised]).as_deref(), Some("dev.test.c"));
        assert_eq!(named(End::Signal("SIGKILL"), &[&a, &a]).as_deref(), Some("dev.test.a"));
        assert_eq!(named(End::Signal("SIGKILL"), &[&a, &b]), None, "either plugin may be the cause");
        assert_eq!(named(End::Exit, &[&a, &a]).as_deref(), Some("dev.test.a"));
        assert_eq!(named(End::Exit, &[&a, &b]), None);
        assert_eq!(named(End::Unknown, &[&a]), None, "the host may have been killed from outside");
        assert_eq!(named(segv, &[]), None);
    }

    #[test]
    fn a_demotion_of_one_artifact_is_kept_until_it_is_lifted() {
        let dir = tempfile::tempdir().unwrap();
        let (id, bad, good) = ("dev.test.a".parse().unwrap(), Digest([1; 32]), Digest([2; 32]));
        let read = || Demotions::read(dir.path().join("demoted"));
        let crash = crash(End::Signal("SIGSEGV"), vec![suspect("dev.test.a", 1, Attribution::Raised)]);
        let (of, event) = read().handle_crash(&crash, &[], Processes::Possible).unwrap();
        assert_eq!(of.as_ref(), Some(&id));
        let EventKind::PluginDemoted { crash: site, reason } = event else { panic!("{event:?}") };
        let (method, signal) = (Some("divide".into()), Some("SIGSEGV".into()));
        assert_eq!(site, CrashSite { method, line: None, signal });
        assert_eq!(reason, "it crashed the host in divide (SIGSEGV)");
        assert_eq!(read().of(&id, bad).map(|it| it.what), Some(Treatment::Process));
        assert_eq!(read().of(&id, good), None);
        let (_, event) = read().handle_crash(&crash, &[], Processes::Impossible).unwrap();
        assert!(matches!(event, EventKind::PluginQuarantined { .. }), "{event:?}");
        assert_eq!(read().of(&id, bad).map(|it| it.what), Some(Treatment::Quarantined));
        read().lift(&id);
        assert_eq!(read().of(&id, bad), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no file is left in the folder");
    }

    #[test]
    fn a_crash_without_a_culprit_demotes_no_plugin_and_lists_the_suspects() {
        let dir = tempfile::tempdir().unwrap();
        let demotions = Demotions::read(dir.path().join("demoted"));
        let both = vec![
            suspect("dev.test.a", 1, Attribution::InFlight),
            suspect("dev.test.b", 2, Attribution::InFlight),
        ];
        let (of, event) =
            demotions.handle_crash(&crash(End::Unknown, both), &[], Processes::Possible).unwrap();
        let EventKind::HostCrashed { in_flight, .. } = event else { panic!("{event:?}") };
        assert_eq!((of, in_flight), (None, vec!["dev.test.a (divide)".into(), "dev.test.b (divide)".into()]));
        assert!(demotions.handle_crash(&crash(End::Unknown, Vec::new()), &[], Processes::Possible).is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_invalid_file_of_demotions_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("dev.test.a.json"), "[{\"digest\": 1").unwrap();
        fs::write(dir.path().join("notes.txt"), "").unwrap();
        let demotions = Demotions::read(dir.path().into());
        assert!(demotions.known.lock().is_empty());
    }
}
