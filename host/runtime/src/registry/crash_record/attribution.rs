//! Attributes a crash to a plugin, from the marks of the threads in the record.

use super::{
    layout::{Fault, Kind, thread_slots},
    line::line,
    notes::{self, Note},
    read::{Blame, Crash, End, Suspect},
};
use crate::registry::mark::{Doing, Mark, MarkContents};
use std::path::Path;

/// The plugins that may have ended the process. If it is known which plugin's thread did, only that one; otherwise all
/// that were running code.
pub(super) fn suspects(run_dir: &Path, record: &[u8], fault: &Fault) -> Vec<Suspect> {
    if matches!(fault.kind, Kind::Raised | Kind::Exit | Kind::Left) {
        if let Some(contents) = Mark(fault.mark).read() {
            // A mark without a note in this folder belongs to a plugin of another host.
            let found = behind(run_dir, contents);
            return found.map(|(note, place)| raised(note, place, fault)).into_iter().collect();
        }
        if let Some(note) = notes::at(run_dir, &fault.addresses) {
            return vec![raised(note, (String::new(), "a thread of its own".into()), fault)];
        }
    }
    // A program may exit while calls run.
    if fault.kind == Kind::Left { Vec::new() } else { in_flight(run_dir, record) }
}

/// All plugins whose code was running, each once.
fn in_flight(run_dir: &Path, record: &[u8]) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    for thread_slot in thread_slots(record) {
        let innermost = thread_slot.rev().find_map(|mark| Mark(mark).read());
        let found = innermost.and_then(|contents| behind(run_dir, contents));
        let found = found.map(|(note, place)| of(note, place, Blame::InFlight));
        suspects.extend(found.filter(|suspect| !suspects.contains(suspect)));
    }
    suspects
}

/// An interface, which may be empty, and a method.
type Place = (String, String);

/// The generation behind a mark, and what it was doing.
fn behind(run_dir: &Path, contents: MarkContents) -> Option<(Note, Place)> {
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

fn raised(note: Note, place: Place, fault: &Fault) -> Suspect {
    let line = line(&note, fault);
    Suspect { line, ..of(note, place, Blame::Raised) }
}

fn of(note: Note, (interface, method): Place, blamed: Blame) -> Suspect {
    let Note { plugin, generation, digest, .. } = note;
    Suspect { plugin, generation, digest, interface, method, line: None, blamed }
}

impl Crash {
    /// The plugin that ended the process, if that is certain: the one whose thread did; otherwise the only plugin
    /// that was running when a signal came from outside, or when the process ended without its handlers noticing.
    pub fn culprit(&self) -> Option<&Suspect> {
        if let Some(raised) = self.suspects.iter().find(|suspect| suspect.blamed == Blame::Raised) {
            return Some(raised);
        }
        let first = self.suspects.first()?;
        let alone = self.suspects.iter().all(|it| (&it.plugin, it.digest) == (&first.plugin, first.digest));
        (alone && self.end != End::Unknown).then_some(first)
    }
}
