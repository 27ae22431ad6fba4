//! Tests with a tree of plain files instead of the kernel's cgroups. One test uses the kernel's, if they are writable.

use super::*;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A `/proc` and a cgroup tree of plain files: a process in `place` of a hierarchy mounted at `ROOT/cgroup`.
struct Fake {
    dir: TempDir,
}

impl Fake {
    fn new(place: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (own, mounted) = (dir.path().join("self"), dir.path().join("cgroup"));
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(mounted.join(place.trim_start_matches('/'))).unwrap();
        let mounts = format!(
            "25 1 0:22 / /proc rw - proc proc rw\n36 35 0:31 / {} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n",
            mounted.display()
        );
        fs::write(own.join("mountinfo"), mounts).unwrap();
        fs::write(own.join("cgroup"), format!("4:memory:/elsewhere\n0::{place}\n")).unwrap();
        Self { dir }
    }

    fn place(&self) -> CgroupParent {
        CgroupParent::find(self.dir.path()).unwrap()
    }

    /// The place, with the available controllers (`there`) and the enabled controllers (`enabled`).
    fn with(&self, there: &str, enabled: &str) -> CgroupParent {
        let place = self.place();
        fs::write(place.dir.join("cgroup.controllers"), there).unwrap();
        fs::write(place.dir.join("cgroup.subtree_control"), enabled).unwrap();
        place
    }
}

#[test]
fn cgroups_are_made_in_the_hosts_own_cgroup_or_the_unit_above_it() {
    let found = |place: &str| {
        let fake = Fake::new(place);
        let found = fake.place().dir.strip_prefix(fake.dir.path()).unwrap().to_owned();
        found.to_str().unwrap().to_owned()
    };
    assert_eq!(found("/"), "cgroup");
    assert_eq!(found("/app.slice/host.service"), "cgroup/app.slice/host.service");
    assert_eq!(found("/app.slice/host.service/main"), "cgroup/app.slice/host.service");
    assert_eq!(found("/docker/0123"), "cgroup/docker/0123");
}

#[test]
fn a_usual_mount_point_is_used_if_it_lists_this_process() {
    for usual in ["sys/fs/cgroup/host.service", "sys/fs/cgroup/unified/host.service"] {
        let dir = tempfile::tempdir().unwrap();
        let (proc, usual) = (dir.path().join("proc"), dir.path().join(usual));
        fs::create_dir_all(proc.join("self")).unwrap();
        fs::create_dir_all(&usual).unwrap();
        fs::write(proc.join("self/cgroup"), "0::/host.service\n").unwrap();
        fs::write(proc.join("self/mountinfo"), "36 35 0:31 / /other rw - cgroup2 cgroup2 rw\n").unwrap();
        let write = |pids: String| fs::write(usual.join("cgroup.procs"), pids).unwrap();
        write(format!("{}\n1\n", process::id()));
        assert_eq!(own(&proc), Some(usual.clone()));
        write(format!("1{}\n", process::id()));
        assert_eq!(own(&proc), Some("/other/host.service".into()));
    }
}

#[test]
fn a_missing_cgroup2_mount_is_reported() {
    let fake = Fake::new("/");
    fs::write(fake.dir.path().join("self/mountinfo"), "25 1 0:22 / /proc rw - proc proc rw\n").unwrap();
    let error = CgroupParent::find(fake.dir.path()).unwrap_err();
    assert!(error.to_string().contains("no cgroup v2"), "{error}");
}

#[test]
fn an_available_controller_is_enabled_and_a_missing_one_is_reported() {
    let fake = Fake::new("/host.service/main");
    let place = fake.with("cpu memory", "cpu");
    place.enable("memory").unwrap();
    let written = fs::read_to_string(place.dir.join("cgroup.subtree_control")).unwrap();
    assert!(written.starts_with("+memory"), "{written}");
    let error = place.enable("pids").unwrap_err();
    assert!(error.to_string().contains("`pids` is not available"), "{error}");
    // Controllers that are already enabled are not written again, because the host may not be allowed to write the
    // file.
    fs::write(place.dir.join("cgroup.subtree_control"), "memory pids").unwrap();
    place.enable("pids").unwrap();
    assert_eq!(fs::read_to_string(place.dir.join("cgroup.subtree_control")).unwrap(), "memory pids");
}

#[test]
fn a_limit_without_a_kernel_file_is_reported_and_not_written() {
    let fake = Fake::new("/host.service/main");
    let cgroup = fake.place().make(|| "replug-1-greeter-g1-1".into()).unwrap();
    fs::write(cgroup.dir().join("memory.max"), "max").unwrap();
    let limits = Limits { memory_bytes: Some(1 << 20), processes: Some(64), ..Limits::default() };
    let bounds = cgroup.bound(&limits);
    assert_eq!(bounds[0], Ok((LimitedResource::MemoryBytes, 1 << 20)));
    assert!(matches!(&bounds[1], Err(CgroupError::NoController { controller: "pids", .. })), "{bounds:?}");
    assert!(fs::read_to_string(cgroup.dir().join("memory.max")).unwrap().starts_with("1048576"));
    assert!(!cgroup.dir().join("pids.max").exists(), "the host creates no file in a cgroup");
}

#[test]
fn an_out_of_memory_kill_is_detected() {
    let fake = Fake::new("/host.service/main");
    let cgroup = fake.place().make(|| "replug-1-greeter-g1-1".into()).unwrap();
    assert!(!cgroup.ran_out_of_memory());
    fs::write(cgroup.dir().join("memory.events"), "low 0\noom 1\noom_kill 0\n").unwrap();
    assert!(!cgroup.ran_out_of_memory());
    fs::write(cgroup.dir().join("memory.events"), "low 0\noom 1\noom_kill 2\n").unwrap();
    assert!(cgroup.ran_out_of_memory());
}

#[test]
fn sweep_removes_only_cgroups_of_dead_hosts() {
    let fake = Fake::new("/host.service/main");
    let place = fake.place();
    fs::create_dir(fake.dir.path().join("7")).unwrap();
    let stat = "7 (replug) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 99 1 1";
    fs::write(fake.dir.path().join("7/stat"), stat).unwrap();
    let own = format!("replug-{}-greeter-g1-1", process::id());
    let names = ["replug-7-greeter-g1-1", "replug-8-greeter-g1-1", "replug-me", "main", &own];
    for name in names {
        fs::create_dir_all(place.dir.join(name)).unwrap();
    }
    place.sweep_now(fake.dir.path());
    let left = names.map(|name| place.dir.join(name).exists());
    assert_eq!(left, [true, false, true, true, false], "an earlier process had the pid of this one");
}

/// Held by each test that creates cgroups of the kernel: a sweep removes all empty ones with the pid of this process.
static OF_THE_KERNEL: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

#[test]
fn sweep_kills_neither_a_process_of_a_dead_host_nor_one_with_its_pid() {
    let _alone = OF_THE_KERNEL.lock();
    let Ok(place) = CgroupParent::find(Path::new("/proc")) else {
        return eprintln!("skipped: no cgroup is delegated");
    };
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let make = |pid: u32| place.make(|| format!("{PREFIX}{pid}-sweep-g1-1"));
    // The cgroup of a host that has exited and has left a process.
    let Ok(left) = make(gone.id()) else { return eprintln!("skipped: no cgroup can be created") };
    let mut process = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // The cgroup of a host that has exited, and whose pid now belongs to a process that is no host.
    let reused = make(process.id()).unwrap();
    left.take_in(process.id()).unwrap();
    place.sweep_now(Path::new("/proc"));
    assert!(left.dir().exists() && reused.dir().exists());
    // The process still answers.
    io::Write::write_all(process.stdin.as_mut().unwrap(), b"go").unwrap();
    io::Read::read_exact(process.stdout.as_mut().unwrap(), &mut [0; 2]).unwrap();
    drop(process.stdin.take());
    assert!(process.wait().unwrap().success(), "the process has ended by itself");
    place.sweep_now(Path::new("/proc"));
    assert!(!left.dir().exists() && !reused.dir().exists());
}

#[test]
fn a_cgroup_name_that_already_exists_is_skipped() {
    let fake = Fake::new("/host.service/main");
    let place = fake.place();
    fs::create_dir_all(place.dir.join("replug-2-greeter-g1-1")).unwrap();
    let mut serials = 1..;
    let made = place.make(|| format!("replug-2-greeter-g1-{}", serials.next().unwrap()));
    assert!(made.unwrap().dir().ends_with("replug-2-greeter-g1-2"));
}

#[test]
fn killing_a_cgroup_of_the_kernel_kills_all_its_processes() {
    let _alone = OF_THE_KERNEL.lock();
    let place = CgroupParent::find(Path::new("/proc"));
    let made = place.and_then(|place| place.make(|| name("test", Generation(1))));
    let cgroup = match made {
        Ok(cgroup) => cgroup,
        // In continuous integration, no cgroup may be delegated.
        Err(error) => return eprintln!("skipped: {error}"),
    };
    // The process starts another one, which moves to a session of its own.
    let mut child = Command::new("sh")
        .args(["-c", "read go; setsid sleep 100000 & echo started; wait"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    cgroup.take_in(child.id()).unwrap();
    io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    let mut output = child.stdout.take().unwrap();
    io::Read::read_exact(&mut output, &mut [0; 7]).unwrap();
    assert!(cgroup.processes().unwrap() >= 2);
    cgroup.kill();
    // All processes in the cgroup have the pipe open, so the copy ends when all of them have exited.
    io::copy(&mut output, &mut io::sink()).unwrap();
    child.wait().unwrap();
    cgroup.remove(Duration::from_secs(60));
    assert!(!cgroup.dir().exists());
}
