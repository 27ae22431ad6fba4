//! Attributes a crash to a plugin, from the marks in the crash record and from the notes, which name the generation of
//! each mark.

use super::{
    layout::{Fault, Kind, thread_slots},
    line::line,
    notes::{self, Note},
    read::{Attribution, Crash, End, Suspect},
};
use crate::registry::mark::{Doing, Mark, MarkContents};
use std::path::Path;

/// The plugins that may have crashed the process: if it is known which plugin's thread crashed it, only that plugin;
/// otherwise, all plugins whose code was running.
pub(super) fn suspects(run_dir: &Path, record: &[u8], fault: &Fault) -> Vec<Suspect> {
    if matches!(fault.kind, Kind::Raised | Kind::Exit | Kind::Left) {
        if let Some(contents) = Mark(fault.mark).read() {
            // All hosts of a process share one crash record, but each writes its notes to its own run folder. A mark
            // without a note in this folder belongs to a plugin of another host.
            let found = behind(run_dir, contents);
            return found.map(|(note, place)| raised(note, place, fault)).into_iter().collect();
        }
        if let Some(note) = notes::at(run_dir, &fault.addresses) {
            return vec![raised(note, (String::new(), "a thread of its own".into()), fault)];
        }
    }
    // The program may have exited by itself while calls were running, so the running calls prove nothing.
    if fault.kind == Kind::Left { Vec::new() } else { in_flight(run_dir, record) }
}

/// All plugins whose code was running, each once.
fn in_flight(run_dir: &Path, record: &[u8]) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    for thread_slot in thread_slots(record) {
        let innermost = thread_slot.rev().find_map(|mark| Mark(mark).read());
        let found = innermost.and_then(|contents| behind(run_dir, contents));
        let found = found.map(|(note, place)| of(note, place, Attribution::InFlight));
        suspects.extend(found.filter(|suspect| !suspects.contains(suspect)));
    }
    suspects
}

/// The name of an interface (empty for a lifecycle step, or if the interface is unknown), and the name of a method or
/// lifecycle step.
type MarkedCode = (String, String);

/// The generation that a mark names, and the code in it.
fn behind(run_dir: &Path, contents: MarkContents) -> Option<(Note, MarkedCode)> {
    let note = notes::behind(run_dir, contents.column)?;
    let place = match contents.doing {
        Doing::Step(step) => (String::new(), step.name().into()),
        Doing::Unknown => (String::new(), "an unknown step".into()),
        Doing::Call { interface, method } => {
            let interface = note.interfaces.get(usize::from(interface));
            let name = interface.and_then(|it| it.methods.get(method as usize)).cloned();
            let name = name.unwrap_or_else(|| format!("method {method}"));
            (interface.map(|it| it.name.clone()).unwrap_or_default(), name)
        }
    };
    Some((note, place))
}

fn raised(note: Note, place: MarkedCode, fault: &Fault) -> Suspect {
    let line = line(&note, fault);
    Suspect { line, ..of(note, place, Attribution::Raised) }
}

fn of(note: Note, (interface, method): MarkedCode, attribution: Attribution) -> Suspect {
    let Note { plugin, generation, digest, .. } = note;
    Suspect { plugin, generation, digest, interface, method, line: None, attribution }
}

impl Crash {
    /// The plugin to which the crash is attributed, if there is one: the plugin whose thread crashed the process;
    /// otherwise, if it is known how the process terminated, the only plugin whose code was running.
    pub fn culprit(&self) -> Option<&Suspect> {
        if let Some(raised) = self.suspects.iter().find(|suspect| suspect.attribution == Attribution::Raised)
        {
            return Some(raised);
        }
        let first = self.suspects.first()?;
        let alone = self.suspects.iter().all(|it| (&it.plugin, it.digest) == (&first.plugin, first.digest));
        (alone && self.end != End::Unknown).then_some(first)
    }
}
