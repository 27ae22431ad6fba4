//! A reported change of a plugin is on disk: if the host is killed after the report, the next host knows the change.

use replug::EventKind;
use replug_tests::{Lab, misbehave};
use rustix::fs::{CWD, FileType, mknodat};
use std::{fs, io::Write};

#[test]
fn a_reload_is_reported_after_its_record_is_written() {
    let mut lab = Lab::new("told-when-written");
    lab.install(misbehave("version=1"));
    lab.start();
    lab.reload().unwrap();
    lab.told_since();
    // The file names the host that owns the record. A host reads the file before it writes the record. Here, the file
    // is a pipe, so the host waits.
    let own = lab.state_dir().join("plugins").join(lab.id()).join("host");
    let (aside, pipe) = (own.with_file_name("aside"), own.with_file_name("pipe"));
    mknodat(CWD, &pipe, FileType::Fifo, 0o600.into(), 0).unwrap();
    fs::rename(&own, &aside).unwrap();
    fs::rename(&pipe, &own).unwrap();
    lab.install(misbehave("version=2"));
    let reloading = lab.host().reload(&lab.id());
    // This waits until the host opens the other end of the pipe.
    let mut opened = fs::OpenOptions::new().write(true).open(&own).unwrap();
    let told = lab.told_since();
    assert_eq!(lab.probe().version(), Ok(2), "calls do not wait for the disk");
    fs::rename(&aside, &own).unwrap();
    opened.write_all(&fs::read(&own).unwrap()).unwrap();
    drop(opened);
    let is_told = |event: &EventKind| matches!(event, EventKind::Reloaded { .. });
    assert!(!told.iter().any(|event| is_told(&event.kind)), "{told:?}");
    reloading.wait().unwrap();
    lab.wait_for(|event| is_told(&event.kind).then_some(()));
}
