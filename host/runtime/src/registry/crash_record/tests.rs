//! Tests how crash records are read, including damaged ones, and to which plugin a crash is attributed.

use super::{
    layout::{FAULT_AT, HEADER_BYTES, Header, Kind, RECORD_BYTES, RECORD_NAME, THREAD_SLOT_BYTES},
    notes::{self, NOTES_NAME},
    *,
};
use crate::{registry::mark::Mark, registry::thread_slot::CallColumn};
use replug_model::id::{Digest, Generation};
use std::{os::unix::process::ExitStatusExt, process::ExitStatus};
use tempfile::TempDir;

const COLUMN: usize = 7;

/// A run folder with a record, and a note about the generation of [`COLUMN`].
fn run_dir(record: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(NOTES_NAME)).unwrap();
    fs::write(dir.path().join(RECORD_NAME), record).unwrap();
    note().write(&notes::path(dir.path(), COLUMN)).unwrap();
    dir
}

fn note() -> Note {
    Note {
        plugin: "dev.test.noted".parse().unwrap(),
        generation: Generation(3),
        digest: Digest([5; 32]),
        interfaces: vec![NotedInterface { name: "Probe".into(), methods: vec!["work".into()] }],
        mapped: Some(1000..2000),
        origin: None,
    }
}

fn fresh() -> Vec<u8> {
    Header::own().unwrap().fresh_record()
}

fn call(method: u32) -> u64 {
    Mark::interface(CallColumn::numbered(COLUMN), 0).method(method).0
}

fn put(record: &mut [u8], at: usize, bytes: &[u8]) {
    record[at..at + bytes.len()].copy_from_slice(bytes);
}

fn with_mark(thread_slot: usize, level: usize, mark: u64) -> Vec<u8> {
    let mut record = fresh();
    put(&mut record, HEADER_BYTES + thread_slot * THREAD_SLOT_BYTES + level * 8, &mark.to_ne_bytes());
    record
}

fn with_fault(mut record: Vec<u8>, kind: Kind, mark: u64, address: u64) -> Vec<u8> {
    put(&mut record, FAULT_AT, &(kind as u32).to_ne_bytes());
    put(&mut record, FAULT_AT + 4, &libc::SIGSEGV.to_ne_bytes());
    put(&mut record, FAULT_AT + 8, &mark.to_ne_bytes());
    put(&mut record, FAULT_AT + 16, &address.to_ne_bytes());
    record
}

fn read_back(record: &[u8]) -> Option<Crash> {
    read(run_dir(record).path())
}

fn suspects(record: &[u8]) -> Vec<(String, Attribution)> {
    let crash = read_back(record).expect("a record");
    crash.suspects.into_iter().map(|it| (format!("{}.{}", it.interface, it.method), it.attribution)).collect()
}

#[test]
fn the_thread_that_raised_the_signal_is_the_only_suspect() {
    let record = with_fault(with_mark(1, 0, call(0)), Kind::Raised, call(9), 0);
    assert_eq!(suspects(&record), [("Probe.method 9".into(), Attribution::Raised)]);
    assert_eq!(read_back(&record).unwrap().end, End::Signal("SIGSEGV"));
}

#[test]
fn a_fault_with_a_foreign_mark_names_no_suspect_of_this_host() {
    let foreign = Mark::interface(CallColumn::numbered(COLUMN + 1), 0).method(0).0;
    let record = with_fault(with_mark(1, 0, call(0)), Kind::Raised, foreign, 0);
    assert_eq!(suspects(&record), []);
}

#[test]
fn a_fault_outside_of_any_call_is_attributed_by_its_address() {
    let fault = |address| with_fault(with_mark(1, 0, call(0)), Kind::Raised, 0, address);
    let own = ".a thread of its own".to_owned();
    assert_eq!(suspects(&fault(1999)), [(own, Attribution::Raised)]);
    assert_eq!(suspects(&fault(2000)), [("Probe.work".into(), Attribution::InFlight)]);
}

#[test]
fn without_a_fault_the_innermost_call_of_each_thread_is_suspected_once() {
    assert_eq!(suspects(&fresh()), []);
    for thread_slot in [0, 1023] {
        let mut record = with_mark(thread_slot, 0, call(1));
        put(&mut record, HEADER_BYTES + thread_slot * THREAD_SLOT_BYTES + 8, &call(0).to_ne_bytes());
        put(&mut record, HEADER_BYTES + 5 * THREAD_SLOT_BYTES, &call(0).to_ne_bytes());
        assert_eq!(suspects(&record), [("Probe.work".into(), Attribution::InFlight)]);
        assert_eq!(read_back(&record).unwrap().end, End::Unknown);
    }
}

#[test]
fn an_unreadable_mark_does_not_hide_the_outer_mark() {
    let mut record = with_mark(2, 0, call(0));
    put(&mut record, HEADER_BYTES + 2 * THREAD_SLOT_BYTES + 8, &3_u64.to_ne_bytes());
    assert_eq!(suspects(&record), [("Probe.work".into(), Attribution::InFlight)]);
}

#[test]
fn an_exit_outside_of_any_plugin_is_not_a_crash() {
    assert_eq!(read_back(&with_fault(with_mark(0, 0, call(0)), Kind::Left, 0, 0)), None);
}

#[test]
fn an_exit_during_a_call_is_attributed_to_that_call() {
    let record = with_fault(fresh(), Kind::Exit, call(0), 0);
    assert_eq!(suspects(&record), [("Probe.work".into(), Attribution::Raised)]);
    assert_eq!(read_back(&record).unwrap().end, End::Exit);
}

#[test]
fn note_end_does_not_replace_the_end_recorded_by_the_process() {
    let killed = ExitStatus::from_raw(libc::SIGKILL);
    let noted = |record: &[u8]| {
        let dir = run_dir(record);
        note_end(dir.path(), killed).unwrap();
        read(dir.path()).unwrap().end
    };
    assert_eq!(noted(&fresh()), End::Signal("SIGKILL"));
    assert_eq!(noted(&with_fault(fresh(), Kind::Raised, 0, 0)), End::Signal("SIGSEGV"));
    assert_eq!(noted(&with_fault(fresh(), Kind::Exit, 0, 0)), End::Exit);
    let error = note_end(run_dir(b"no record").path(), killed).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn an_exit_noted_by_another_process_names_the_running_plugin() {
    let dir = run_dir(&with_mark(1, 0, call(0)));
    note_end(dir.path(), ExitStatus::from_raw(0)).unwrap();
    let Crash { end, suspects, .. } = read(dir.path()).unwrap();
    assert_eq!(
        (end, suspects[0].method.as_str(), suspects[0].attribution),
        (End::Exit, "work", Attribution::InFlight)
    );
    let dir = run_dir(&with_fault(with_mark(1, 0, call(0)), Kind::Left, 0, 0));
    note_end(dir.path(), ExitStatus::from_raw(0)).unwrap();
    assert_eq!(read(dir.path()), None, "a normal exit is not a crash");
}

#[test]
fn an_exit_outside_of_any_call_is_attributed_by_return_addresses() {
    let left = |address| {
        let mut record = with_fault(with_mark(1, 0, call(0)), Kind::Left, 0, 7);
        put(&mut record, FAULT_AT + 16 + 31 * 8, &u64::to_ne_bytes(address));
        read_back(&record)
    };
    let crash = left(1000).expect("a plugin called it");
    assert_eq!(crash.end, End::Exit);
    assert_eq!(
        (crash.suspects[0].method.as_str(), crash.suspects[0].attribution),
        ("a thread of its own", Attribution::Raised)
    );
    assert_eq!(left(999), None);
}

#[test]
fn a_record_of_the_wrong_length_is_not_read() {
    let record = with_fault(with_mark(0, 0, call(0)), Kind::Raised, call(0), 0);
    let dir = run_dir(&record);
    assert!(read(dir.path()).is_some());
    let file = File::options().write(true).open(dir.path().join(RECORD_NAME)).unwrap();
    let all = (0..HEADER_BYTES + 2 * THREAD_SLOT_BYTES).chain(RECORD_BYTES - THREAD_SLOT_BYTES..RECORD_BYTES);
    for length in all.rev() {
        file.set_len(length as u64).unwrap();
        assert_eq!(read(dir.path()), None, "{length} bytes");
    }
    file.set_len(RECORD_BYTES as u64 + 1).unwrap();
    assert_eq!(read(dir.path()), None);
}

#[test]
fn a_record_of_another_format_or_another_boot_is_not_read() {
    for at in (0..12).chain(16..52) {
        let mut record = fresh();
        record[at] ^= 1;
        assert_eq!(read_back(&record), None, "byte {at}");
    }
}

#[test]
fn a_record_with_random_content_names_only_noted_plugins() {
    // xorshift64, which generates the same bytes in each run.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..50 {
        let mut record = fresh();
        for word in record[FAULT_AT..].chunks_exact_mut(8) {
            word.copy_from_slice(&random().to_ne_bytes());
        }
        // The kind is valid, so that the rest is read, too.
        let kind = (random() % 6) as u32;
        put(&mut record, FAULT_AT, &kind.to_ne_bytes());
        put(&mut record, FAULT_AT + 4, &((random() % 70) as u32).to_ne_bytes());
        for suspect in read_back(&record).into_iter().flat_map(|crash| crash.suspects) {
            assert_eq!(suspect.plugin, note().plugin);
        }
        put(&mut record, FAULT_AT, &(6 + random() as u32 % 1000).to_ne_bytes());
        assert_eq!(read_back(&record), None);
    }
}

#[test]
fn a_damaged_note_names_no_plugin() {
    let record = with_mark(0, 0, call(0));
    let whole = serde_json::to_vec(&note()).unwrap();
    let dir = run_dir(&record);
    let place = notes::path(dir.path(), COLUMN);
    for length in 0..whole.len() {
        fs::write(&place, &whole[..length]).unwrap();
        assert_eq!(read(dir.path()).unwrap().suspects, [], "{length} bytes");
    }
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    assert_eq!(read(dir.path()).unwrap().suspects, []);
}

#[test]
fn a_note_that_follows_an_incomplete_one_is_valid() {
    let record = with_mark(0, 0, call(0));
    let dir = run_dir(&record);
    let place = notes::path(dir.path(), COLUMN);
    let whole = fs::read(&place).unwrap();
    for length in 0..whole.len() {
        fs::write(&place, &whole[..length]).unwrap();
        note().write(&place).unwrap();
        assert_eq!(read(dir.path()).unwrap().suspects[0].generation, note().generation, "{length} bytes");
    }
}

#[test]
fn the_previous_note_is_valid_until_the_next_one_is_complete() {
    let record = with_mark(0, 0, call(0));
    let dir = run_dir(&record);
    let place = notes::path(dir.path(), COLUMN);
    let generation = || read(dir.path()).unwrap().suspects[0].generation;
    let next = Note { generation: Generation(note().generation.0 + 1), ..note() };
    let first = fs::read(&place).unwrap();
    next.write(&place).unwrap();
    let both = fs::read(&place).unwrap();
    assert_eq!(generation(), next.generation);
    for length in first.len()..both.len() {
        fs::write(&place, &both[..length]).unwrap();
        assert_eq!(generation(), note().generation, "{length} bytes");
    }
}

#[test]
fn a_folder_without_a_record_has_no_crash() {
    assert_eq!(read(tempfile::tempdir().unwrap().path()), None);
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(RECORD_NAME)).unwrap();
    assert_eq!(read(dir.path()), None);
}

#[test]
fn a_note_is_removed_when_its_column_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let record = CrashRecord::create(dir.path(), None).unwrap();
    let mut lease = crate::registry::ColumnLease::take().unwrap();
    lease.note(&record, &note()).unwrap();
    let notes = || fs::read_dir(dir.path().join(NOTES_NAME)).unwrap().count();
    assert_eq!(notes(), 1);
    drop(lease);
    assert_eq!(notes(), 0);
}

#[test]
fn hosts_of_a_process_share_one_record_until_the_last_is_dropped() {
    let create = || {
        let dir = tempfile::tempdir().unwrap();
        let record = CrashRecord::create(dir.path(), None).unwrap();
        let file = fs::metadata(dir.path().join(RECORD_NAME)).unwrap().ino();
        (dir, record, file)
    };
    let (first, second) = (create(), create());
    assert_eq!(first.2, second.2);
    drop((first, second));
    let (dir, ..) = create();
    assert_eq!(fs::metadata(dir.path().join(RECORD_NAME)).unwrap().len(), RECORD_BYTES as u64);
}

#[test]
fn the_memory_of_a_record_cannot_be_resized() {
    let memory = make().unwrap();
    for length in [0, RECORD_BYTES as u64 - 1, RECORD_BYTES as u64 + 1] {
        let error = memory.set_len(length).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
    assert!(
        memory.metadata().unwrap().blocks() * 512 >= RECORD_BYTES as u64,
        "all memory of the record is allocated"
    );
    let unsealed = tempfile::tempfile().unwrap();
    unsealed.set_len(RECORD_BYTES as u64).unwrap();
    adopt(unsealed).unwrap_err();
}

#[test]
fn memory_is_written_down_only_if_it_contains_a_record() {
    let dir = run_dir(b"");
    let memory = make().unwrap();
    let error = write_down(&memory, dir.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(read(dir.path()), None);
    memory.write_all_at(&with_fault(with_mark(1, 0, call(0)), Kind::Raised, call(0), 0), 0).unwrap();
    fs::remove_file(dir.path().join(RECORD_NAME)).unwrap();
    write_down(&memory, dir.path()).unwrap();
    assert_eq!(read(dir.path()).unwrap().end, End::Signal("SIGSEGV"));
}

#[test]
fn a_forked_child_does_not_change_the_record_of_the_process() {
    use crate::registry::thread_slot::ThreadSlot;
    let level = ThreadSlot::mine().unwrap().enter().unwrap();
    level.mark(Mark(call(3)));
    // SAFETY: the child only stores to memory, and exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        level.mark(Mark(call(4)));
        if let Some(end) = memory::fault() {
            end.signal.store(99, std::sync::atomic::Ordering::Relaxed);
        }
        // SAFETY: `_exit` terminates the child immediately.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: `status` is a place to write to.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!((status, ThreadSlot::present_mark()), (0, Mark(call(3))));
    assert_ne!(memory::fault().unwrap().signal.load(std::sync::atomic::Ordering::Relaxed), 99);
}
