//! Finds the line of a plugin's source at which a process crashed, from the recorded addresses.

use super::{layout::Fault, notes::Note};

/// The line at which the process crashed, if a recorded address is in the library of this plugin, and the artifact in
/// the store is still the same.
#[cfg(feature = "lines")]
pub(super) fn line(note: &Note, fault: &Fault) -> Option<String> {
    use super::layout::Kind;
    use super::lines;
    use replug_model::id::Digest;
    use sha2::{Digest as _, Sha256};

    let (origin, mapped) = (note.origin.as_ref()?, note.mapped.as_ref()?);
    // A call instruction is just before its return address.
    let (addresses, into) = match fault.kind {
        Kind::Raised => (&fault.addresses[..1], 0),
        Kind::Exit | Kind::Left => (&fault.addresses[..], 1),
        Kind::None | Kind::Sent | Kind::Claimed => return None,
    };
    let inside =
        addresses.iter().filter_map(|address| address.checked_sub(into)).filter(|it| mapped.contains(it));
    let instructions: Vec<_> = inside.map(|address| address - mapped.start).collect();
    if instructions.is_empty() {
        return None;
    }
    let library = std::fs::read(&origin.file).ok()?;
    // If the library has been replaced, the same offsets may belong to other lines.
    let is_intact = Digest(Sha256::digest(&library).into()) == origin.content;
    is_intact.then(|| lines::line(&library, &instructions, origin.root.as_ref()))?
}

/// Without the feature `lines`, no line is known.
#[cfg(not(feature = "lines"))]
pub(super) fn line(_: &Note, _: &Fault) -> Option<String> {
    None
}

#[cfg(test)]
#[cfg(feature = "lines")]
mod tests {
    use super::*;
    use crate::registry::crash_record::{
        CodeOrigin,
        layout::{ADDRESSES, Kind},
        lines::tests::Sample,
    };
    use replug_model::id::{Digest, Generation};
    use sha2::{Digest as _, Sha256};

    /// The address at which the library is mapped.
    const START: u64 = 0x7000_0000;

    fn note(sample: &Sample) -> Note {
        let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
        let content = Digest(Sha256::digest(&sample.library).into());
        Note {
            plugin: "dev.test.noted".parse().unwrap(),
            generation: Generation(1),
            digest: Digest([5; 32]),
            interfaces: Vec::new(),
            mapped: Some(START..START + sample.library.len() as u64),
            origin: Some(CodeOrigin { file: text(sample.file()), content, root: text(sample.sources()) }),
        }
    }

    fn fault(kind: Kind, noted: &[u64]) -> Fault {
        let mut addresses = [0; ADDRESSES];
        addresses[..noted.len()].copy_from_slice(noted);
        Fault { kind, signal: 0, mark: 0, addresses }
    }

    #[test]
    fn a_signal_maps_to_its_instruction_and_an_exit_to_its_call() {
        let sample = Sample::built(&[]);
        let (note, own) = (note(&sample), sample.function("own"));
        let (begin, end) = (START + own.start, START + own.end);
        let found = |kind, addresses: &[u64]| line(&note, &fault(kind, addresses));
        assert_eq!(found(Kind::Raised, &[begin]).as_deref(), Some("lib.rs:4"));
        assert_eq!(
            found(Kind::Raised, &[1, begin]),
            None,
            "only the first address is that of the faulting instruction"
        );
        for kind in [Kind::Exit, Kind::Left] {
            assert_eq!(found(kind, &[1, end]).as_deref(), Some("lib.rs:6"), "the call before the address");
        }
        for kind in [Kind::None, Kind::Sent, Kind::Claimed] {
            assert_eq!(found(kind, &[begin]), None);
        }
        for nowhere in [0, 1, START - 1, note.mapped.clone().unwrap().end, u64::MAX] {
            assert_eq!(found(Kind::Raised, &[nowhere]), None);
        }
    }

    #[test]
    fn a_line_is_looked_up_only_in_the_artifact_that_crashed() {
        let sample = Sample::built(&[]);
        let (note, raised) = (note(&sample), fault(Kind::Raised, &[START + sample.function("own").start]));
        assert!(line(&note, &raised).is_some());
        std::fs::write(sample.file(), [&sample.library[..], b" "].concat()).unwrap();
        assert_eq!(line(&note, &raised), None, "the content of the file differs");
        std::fs::remove_file(sample.file()).unwrap();
        assert_eq!(line(&note, &raised), None);
        assert_eq!(line(&Note { origin: None, ..note }, &raised), None);
    }
}
