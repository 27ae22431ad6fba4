//! Tests of the store: damaged artifacts, incomplete files, and a file system without free space.

mod companions;

use super::*;
use std::{
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
    time::Duration,
};

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, content: &[u8]) -> Artifact {
        let built = self.path("built.so");
        fs::write(&built, content).unwrap();
        let artifact = self.store.put(&built).unwrap();
        assert_eq!(artifact.copy_of, built);
        // An artifact that `get` returns does not name the original file.
        Artifact { copy_of: artifact.path.clone(), ..artifact }
    }

    fn names(&self) -> BTreeSet<String> {
        fs::read_dir(self.store.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Replaces the read-only file of an artifact, as another program could.
    fn overwrite(&self, artifact: &Artifact, content: &[u8]) {
        fs::remove_file(&artifact.path).unwrap();
        fs::write(&artifact.path, content).unwrap();
    }

    fn age(&self, artifact: &Artifact, seconds: u64) {
        let at = SystemTime::now() - Duration::from_secs(seconds);
        File::open(&artifact.path).unwrap().set_modified(at).unwrap();
    }
}

#[test]
fn an_artifact_is_named_by_the_hash_of_its_content() {
    let fixture = Fixture::new();
    let artifact = fixture.put(b"abc");
    let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(artifact.digest.to_string(), sha);
    assert_eq!(artifact.path, fixture.store.dir().join(format!("{sha}.so")));
    assert_eq!(artifact.bytes, 3);
    assert_eq!(
        fixture.store.get(artifact.digest),
        Some(Artifact { copy_of: artifact.path.clone(), ..artifact })
    );
    assert_eq!(fixture.store.get(Digest([0; 32])), None);
}

#[test]
fn an_artifact_is_a_read_only_copy_and_not_a_link_to_the_build_output() {
    let fixture = Fixture::new();
    let artifact = fixture.put(b"abc");
    let stored = fs::metadata(&artifact.path).unwrap();
    assert_eq!(stored.mode() & 0o777, 0o444);
    assert_eq!(stored.nlink(), 1);
    assert_ne!(stored.ino(), fs::metadata(fixture.path("built.so")).unwrap().ino());
    fs::write(fixture.path("built.so"), b"the next build").unwrap();
    assert_eq!(fs::read(&artifact.path).unwrap(), b"abc");
}

#[test]
fn a_second_put_of_the_same_content_makes_the_artifact_the_newest() {
    let fixture = Fixture::new();
    let first = fixture.put(b"first");
    let second = fixture.put(b"second");
    fixture.age(&first, 60);
    fixture.age(&second, 30);
    assert_eq!(fixture.put(b"first"), first);
    assert_eq!(fixture.store.list().unwrap(), [first, second]);
    assert_eq!(fixture.names().len(), 2);
}

#[test]
fn a_damaged_artifact_is_replaced_when_it_is_built_again() {
    let fixture = Fixture::new();
    let artifact = fixture.put(b"abc");
    fixture.overwrite(&artifact, b"ab");
    fixture.put(b"abc");
    assert_eq!(fs::read(&artifact.path).unwrap(), b"abc");
}

#[test]
fn an_unchanged_output_is_stored_again_if_its_artifact_changed() {
    let fixture = Fixture::new();
    let artifact = fixture.put(b"abc");
    let built = fixture.path("built.so");
    let put_again = || {
        assert_eq!(fixture.store.put(&built).unwrap().digest, artifact.digest);
        assert_eq!(fs::read(&artifact.path).unwrap(), b"abc");
        assert_eq!(fixture.names().len(), 1);
    };
    put_again();
    fixture.overwrite(&artifact, b"abd");
    put_again();
    fs::remove_file(&artifact.path).unwrap();
    put_again();
    put_again();
}

#[test]
fn an_output_with_an_unchanged_size_and_mtime_is_read_again() {
    let fixture = Fixture::new();
    let first = fixture.put(b"abc");
    let built = fixture.path("built.so");
    let time = fs::metadata(&built).unwrap().modified().unwrap();
    fs::write(&built, b"abd").unwrap();
    File::options().write(true).open(&built).unwrap().set_modified(time).unwrap();
    let second = fixture.store.put(&built).unwrap();
    assert_ne!(second.digest, first.digest);
    assert_eq!(fs::read(&second.path).unwrap(), b"abd");
    assert_eq!(fixture.names().len(), 2);
}

#[test]
fn put_rejects_a_missing_file_an_empty_file_and_a_folder() {
    let fixture = Fixture::new();
    let missing = fixture.store.put(&fixture.path("nowhere.so")).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing:?}");
    assert!(missing.to_string().contains("nowhere.so: build again"), "{missing}");

    fs::write(fixture.path("empty.so"), b"").unwrap();
    let empty = fixture.store.put(&fixture.path("empty.so")).unwrap_err();
    assert!(empty.to_string().contains("empty.so is empty"), "{empty}");

    let folder = fixture.store.put(fixture.dir.path()).unwrap_err();
    assert!(matches!(folder, StoreError::Unreadable { .. }), "{folder:?}");
    assert!(fixture.names().is_empty());
}

#[test]
fn a_file_shorter_than_its_reported_length_is_rejected_as_changing() {
    // A file of /sys reports a size of one page and has fewer bytes, like a file that shrinks while it is read.
    let Ok(path) = Path::new("/sys/devices/system/cpu/online").canonicalize() else {
        return eprintln!("skipped: this system has no /sys");
    };
    let fixture = Fixture::new();
    let error = fixture.store.put(&path).unwrap_err();
    assert!(matches!(error, StoreError::Changing { .. }), "{error:?}");
    assert!(error.to_string().contains("changed while it was read"), "{error}");
    assert!(fixture.names().is_empty());
}

#[test]
fn a_write_that_keeps_the_length_of_a_file_changes_its_stamp() {
    let fixture = Fixture::new();
    let path = fixture.path("built.so");
    fs::write(&path, b"half").unwrap();
    let file = File::open(&path).unwrap();
    let before = CopyStamp::of(&file).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    assert!(CopyStamp::of(&file).unwrap() != before);
}

#[test]
fn a_private_copy_has_the_artifacts_content_and_its_own_inode() {
    let fixture = Fixture::new();
    let artifact = fixture.put(b"abc");
    let to = fixture.path("g1.so");
    fixture.store.private_copy(&artifact, &to).unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"abc");
    let (copy, stored) = (fs::metadata(&to).unwrap(), fs::metadata(&artifact.path).unwrap());
    assert_ne!(copy.ino(), stored.ino());
    assert_eq!((copy.nlink(), copy.mode() & 0o777), (1, 0o444));
}

#[test]
fn a_private_copy_never_overwrites_a_file() {
    let fixture = Fixture::new();
    let artifact = fixture.put(b"abc");
    let to = fixture.path("g1.so");
    fs::write(&to, b"mapped by someone").unwrap();
    let error = fixture.store.private_copy(&artifact, &to).unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error:?}");
    assert_eq!(fs::read(&to).unwrap(), b"mapped by someone");
}

#[test]
fn private_copy_rejects_a_replaced_or_truncated_artifact() {
    let fixture = Fixture::new();
    let artifact = fixture.put(b"abc");
    let to = fixture.path("g1.so");
    for content in [&b"xyz"[..], b"ab", b""] {
        fixture.overwrite(&artifact, content);
        let error = fixture.store.private_copy(&artifact, &to).unwrap_err();
        let StoreError::Damaged { expected, bytes_found, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*expected, *bytes_found), (artifact.digest, content.len() as u64));
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert!(error.to_string().contains("build again"), "{error}");
        assert!(!to.exists());
    }
    fs::remove_file(&artifact.path).unwrap();
    let error = fixture.store.private_copy(&artifact, &to).unwrap_err();
    assert!(error.to_string().contains("removed from the store"), "{error}");
    assert!(!to.exists());
}

#[test]
fn prune_removes_the_oldest_artifacts_and_keeps_those_in_use() {
    let fixture = Fixture::new();
    let all: Vec<Artifact> = (0..5u8)
        .map(|i| {
            let artifact = fixture.put(&[i]);
            fixture.age(&artifact, 100 - u64::from(i));
            artifact
        })
        .collect();
    let in_use = BTreeSet::from([all[0].digest, all[1].digest]);
    assert_eq!(fixture.store.prune(3, &in_use).unwrap(), [all[2].digest, all[3].digest]);
    assert_eq!(fixture.store.list().unwrap(), [all[4].clone(), all[1].clone(), all[0].clone()]);
    assert_eq!(fixture.store.prune(0, &in_use).unwrap(), [all[4].digest]);
    assert_eq!(fixture.store.prune(9, &in_use).unwrap(), []);
}

#[test]
fn open_removes_the_incomplete_files_of_dead_processes_only() {
    let fixture = Fixture::new();
    fs::write(fixture.store.dir().join(".incoming-dead"), b"hal").unwrap();
    fs::write(fixture.store.dir().join("notes.txt"), b"not ours").unwrap();
    let live = fixture.store.incoming().unwrap();
    let name = live.path().file_name().unwrap().to_str().unwrap().to_owned();
    Store::open(fixture.store.dir()).unwrap();
    assert_eq!(fixture.names(), BTreeSet::from([name, "notes.txt".to_owned()]));
    assert!(fixture.store.list().unwrap().is_empty());
}

#[test]
fn the_error_of_a_failed_store_open_names_the_path_and_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = Store::open(dir.path().join("file/store")).unwrap_err().to_string();
    assert!(error.contains("file/store"), "{error}");
    assert!(error.contains("make it writable"), "{error}");
}

const FULL_DISK: &str = "REPLUG_TEST_FULL_DISK";

/// Runs in a child process, on the folder that the environment variable names. Either the folder's file system has 64
/// KiB, or the process has a file size limit of 64 KiB.
#[test]
fn child_that_fills_a_disk() {
    let Some(dir) = std::env::var_os(FULL_DISK).map(PathBuf::from) else { return };
    let store = Store::open(dir.join("store")).unwrap();
    let small = dir.join("../small.so");
    let kept = store.put(&small).unwrap();
    let error = store.put(&dir.join("../large.so")).unwrap_err();
    let StoreError::Full { bytes_needed, bytes_free, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*bytes_needed, 1 << 20);
    assert!(bytes_free.is_some());
    assert!(error.to_string().contains("no space for 1048576 bytes"), "{error}");
    assert_eq!(
        store.get(kept.digest).map(|it| it.bytes),
        Some(kept.bytes),
        "the earlier artifact is still in the store"
    );
    assert_eq!(fs::read_dir(store.dir()).unwrap().count(), 1, "no incomplete file is left");

    // The target of a private copy can be full, too.
    let large = Artifact { path: dir.join("../large.so"), bytes: 1 << 20, ..kept.clone() };
    let error = store.private_copy(&large, &dir.join("g1.so")).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(!dir.join("g1.so").exists());
    store.private_copy(&kept, &dir.join("g2.so")).unwrap();
    println!("the disk was full");
}

#[test]
fn a_full_disk_is_reported_and_the_store_keeps_its_content() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("disk")).unwrap();
    fs::write(dir.path().join("small.so"), b"small").unwrap();
    fs::write(dir.path().join("large.so"), vec![1; 1 << 20]).unwrap();
    // A mount namespace needs a user namespace, which some systems forbid. On such a system, the test limits the file
    // size instead. The store then returns the same error for another error number of the kernel.
    let mounted = "mount -t tmpfs -o size=64k none \"$1\" && ";
    let limited = "trap '' XFSZ; ulimit -f 64; ";
    let run = "exec \"$0\" --exact artifact::store::tests::child_that_fills_a_disk --nocapture";
    let child = |command: &mut Command, first: &str| {
        let output = command
            .arg("-c")
            .arg(format!("{first}{run}"))
            .arg(std::env::current_exe().unwrap())
            .arg(dir.path().join("disk"))
            .env(FULL_DISK, dir.path().join("disk"))
            .stdin(Stdio::null())
            .output();
        output.map(|output| {
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            (output.status.success() && said.contains("the disk was full"), said)
        })
    };
    let in_namespace =
        child(Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sh"]), mounted);
    let tried = match in_namespace {
        Ok((true, _)) => return,
        Ok((false, said)) if said.contains("panicked") => panic!("{said}"),
        Ok((false, said)) => said,
        Err(error) => error.to_string(),
    };
    eprintln!("cannot mount a file system ({}): using a limit on the file size instead", tried.trim());
    let (passed, said) = child(&mut Command::new("sh"), limited).unwrap();
    assert!(passed, "{said}");
}
