//! Invalid artifacts that are installed in place of a serving one.

use replug::Status;
use replug_tests::{
    Lab,
    artifact::{misbehave, offset_of, replaced},
};
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

fn running(name: &str) -> Lab {
    let lab = Lab::running(name);
    assert_eq!(lab.probe().increment(5).unwrap(), 5);
    lab
}

/// Asserts that the host rejects the artifact with an error that contains these words, and that the previous version
/// keeps serving.
fn assert_refused(name: &str, artifact: impl AsRef<[u8]>, words: &[&str]) {
    let mut lab = running(name);
    let error = lab.refused(artifact);
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
    assert_unharmed(&lab);
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (2, 5));
}

fn assert_unharmed(lab: &Lab) {
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (1, 5));
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!((info.status, info.generation.map(|it| it.0)), (Status::Ready, Some(1)));
    assert_eq!(copies(lab), 1, "a copy of the rejected artifact is left");
}

/// The number of the host's private copies of artifacts.
fn copies(lab: &Lab) -> usize {
    let runs = fs::read_dir(lab.state_dir().join("run")).unwrap();
    let files = runs.flat_map(|run| fs::read_dir(run.unwrap().path()).unwrap());
    // The crash record is in the same folder.
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|it| it == "so")).count()
}

/// The library that `cc` builds from a C source.
fn compiled(source: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("plain.c"), source).unwrap();
    let mut cc = Command::new("cc");
    let status = cc.args(["-shared", "-fPIC", "plain.c", "-o", "plain.so"]).current_dir(dir.path()).status();
    assert!(status.unwrap().success());
    fs::read(dir.path().join("plain.so")).unwrap()
}

#[test]
fn a_file_that_is_no_elf_file_is_rejected() {
    assert_refused("no-elf", "#!/bin/sh\necho hello\n", &["is not an ELF file: it looks like a script"]);
}

#[test]
fn an_empty_artifact_is_rejected() {
    assert_refused("empty", "", &["is empty: the build did not finish writing it"]);
}

#[test]
fn a_truncated_artifact_is_rejected() {
    let mut artifact = misbehave("version=2");
    artifact.truncate(artifact.len() / 2);
    assert_refused("truncated", artifact, &["is truncated: it has", "build again"]);
}

#[test]
fn an_artifact_for_another_machine_is_rejected() {
    let mut artifact = misbehave("version=2");
    artifact[18] = 183;
    assert_refused("other-machine", artifact, &["is for AArch64, and this host runs on x86-64"]);
}

#[test]
fn a_library_that_is_no_plugin_is_rejected() {
    let plain = compiled("int answer(void) { return 42; }");
    assert_refused(
        "no-root",
        plain,
        &["is not a replug plugin: it has no root module", "replug_api::export!"],
    );
}

#[test]
fn a_library_with_an_invalid_root_module_is_rejected() {
    let name = "_1as_0lib_1header_0root_bmodule_bloader";
    let plain = compiled(&format!("int {name}[1024] = {{ 42 }};"));
    assert_refused(
        "strange-root",
        plain,
        &["was built with a different version of abi_stable than this host"],
    );
}

#[test]
fn an_artifact_with_another_abi_stable_version_is_rejected() {
    let mut artifact = misbehave("version=2");
    // The header begins with 32 bytes of text, followed by the major version.
    let at = offset_of(&artifact, "_1as_0lib_1header_0root_bmodule_bloader") + 32;
    let major = u32::from_le_bytes(artifact[at..at + 4].try_into().unwrap());
    artifact[at..at + 4].copy_from_slice(&(major + 7).to_le_bytes());
    let found = format!("it uses abi {}.", major + 7);
    assert_refused(
        "other-abi-stable",
        artifact,
        &["was built with a different version of abi_stable than this host", &found],
    );
}

#[test]
fn an_artifact_with_a_missing_library_is_rejected_before_it_is_opened() {
    let artifact = replaced(misbehave("version=2"), b"libc.so.6\0", b"libq.so.6\0");
    assert_refused("missing-library", artifact, &["needs `libq.so.6`, which was not found (searched /"]);
}

#[test]
fn the_loader_rejects_an_artifact_with_a_missing_symbol() {
    let artifact = replaced(misbehave("version=2"), b"\0rust_eh_personality\0", b"\0rust_eh_personalitz\0");
    assert_refused("missing-symbol", artifact, &["the dynamic loader rejects", "rust_eh_personalitz"]);
}

#[test]
fn an_overwritten_build_output_does_not_affect_the_loaded_plugin() {
    let mut lab = running("output-overwritten");
    let output = lab.path("plugin.so");
    fs::write(&output, vec![0xff; 100_000]).unwrap();
    assert_unharmed(&lab);
    fs::File::options().write(true).open(&output).unwrap().set_len(10).unwrap();
    assert_unharmed(&lab);
    fs::remove_file(&output).unwrap();
    let error = lab.reload().unwrap_err().to_string();
    assert!(error.contains("plugin.so: no such file; put the library there"), "{error}");
    assert_unharmed(&lab);
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    assert_eq!(lab.probe().version().unwrap(), 2);
}

#[test]
fn rollback_rejects_a_damaged_artifact_and_keeps_the_loaded_plugin() {
    let mut lab = running("store-tampered");
    let first = lab.host().info(&lab.id()).unwrap().digest.unwrap();
    let stored = lab.state_dir().join(format!("artifacts/{first}.so"));
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    fs::set_permissions(&stored, fs::Permissions::from_mode(0o644)).unwrap();
    for length in [10_000_000, 1000] {
        fs::File::options().write(true).open(&stored).unwrap().set_len(length).unwrap();
        let error = lab.host().rollback(&lab.id(), None).wait().unwrap_err().to_string();
        assert!(error.contains("is damaged") || error.contains("is truncated"), "{error}");
        assert!(error.contains("build again"), "{error}");
        assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (2, 5));
    }
    fs::remove_file(&stored).unwrap();
    let error = lab.host().rollback(&lab.id(), None).wait().unwrap_err().to_string();
    assert!(error.contains("is no longer in the store: reload to build it again"), "{error}");
    assert_eq!(lab.probe().version().unwrap(), 2);
    lab.install(misbehave("version=1"));
    lab.reload().unwrap();
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (1, 5));
}
