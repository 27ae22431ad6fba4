//! Tests of the findings, with the facts of this machine and of machines that do not meet a requirement.

use super::{Finding, Status, examine, system, toolchain};
use replug_engine::preflight::Budget;
use replug_runtime::load::process::{CgroupError, Delegated};
use rustix::thread::MembarrierQuery;
use std::io;

const RUSTC: &str = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu";

fn assert_helpful(finding: &Finding, status: Status) {
    assert_eq!(finding.status, status, "{finding:?}");
    assert!(finding.cost.is_some() && finding.remedy.is_some(), "{finding:?}");
}

fn flags(text: &str) -> Vec<(String, String)> {
    vec![("RUSTFLAGS".to_owned(), text.to_owned())]
}

#[test]
fn examine_finds_the_toolchain_of_this_machine() {
    let findings = examine(&Budget::default());
    for name in ["cargo", "rustc", "C compiler"] {
        let finding = findings.iter().find(|finding| finding.name == name).unwrap();
        assert_eq!(finding.status, Status::Ok, "{finding:?}");
    }
    for name in [
        "linker",
        "shared libstd",
        "inotify watches",
        "inotify instances",
        "file events",
        "thread-local keys",
        "memory",
        "membarrier",
        "cgroup",
        "process lanes",
    ] {
        assert!(findings.iter().any(|finding| finding.name == name), "{name} was not checked");
    }
    let json = serde_json::to_value(&findings[0]).unwrap();
    assert_eq!((&json["name"], &json["status"]), (&"cargo".into(), &"ok".into()));
}

#[test]
fn a_missing_requirement_has_a_cost_and_a_remedy() {
    assert_helpful(&toolchain::cargo(None), Status::Fail);
    assert_helpful(&toolchain::rustc(None), Status::Fail);
    assert_helpful(&toolchain::rustc(Some("rustc 1.70.0 (x)")), Status::Fail);
    assert_helpful(&toolchain::c_compiler(None), Status::Fail);
    assert_helpful(&toolchain::libstd(None), Status::Warn);
    assert_helpful(&toolchain::libstd(Some(tempfile::tempdir().unwrap().path())), Status::Warn);
    assert_helpful(&system::membarrier(MembarrierQuery::empty()), Status::Warn);
    assert_helpful(&system::cgroup(Err(CgroupError::None { path: "/proc".into() })), Status::Warn);
    let with = |controllers: &[&'static str]| {
        Ok(Delegated { dir: "/sys/fs/cgroup".into(), controllers: controllers.to_vec() })
    };
    assert_helpful(&system::cgroup(with(&["memory"])), Status::Warn);
    let whole = system::cgroup(with(&["memory", "pids"]));
    assert_eq!(whole.status, Status::Ok);
    assert_helpful(&system::lanes(Err(io::ErrorKind::Unsupported.into()), 2, Ok(true)), Status::Warn);
    let refused = Err(io::ErrorKind::PermissionDenied.into());
    assert_helpful(&system::lanes(Ok(()), 2, refused), Status::Warn);
}

#[test]
fn a_waiting_thread_spins_only_if_another_processor_may_be_used() {
    let found = |processors| system::lanes(Ok(()), processors, Ok(processors > 1)).found;
    assert!(found(1).starts_with("shared memory, because this process can create and seal it"));
    assert!(found(1).contains("sleeps at once"), "{}", found(1));
    assert!(found(4).contains("spins for up to 20us"), "{}", found(4));
    assert!(found(4).contains("moves to another one"), "{}", found(4));
}

#[test]
fn the_linker_of_the_flags_precedes_the_default_of_rustc() {
    let default = toolchain::linker(Some(RUSTC), true, &[]);
    assert_eq!((default.status, default.found.contains("rust-lld")), (Status::Ok, true));
    let mold = toolchain::linker(Some(RUSTC), true, &flags("-C link-arg=-fuse-ld=mold -C opt-level=1"));
    assert_eq!((mold.status, mold.found.as_str()), (Status::Ok, "mold (from RUSTFLAGS)"));
    assert_helpful(&toolchain::linker(Some(RUSTC), true, &flags("-Clink-arg=-fuse-ld=bfd")), Status::Warn);
    assert_helpful(&toolchain::linker(Some(RUSTC), true, &flags("-Clinker-features=-lld")), Status::Warn);
    assert_helpful(&toolchain::linker(Some(RUSTC), false, &[]), Status::Warn);
    assert_helpful(&toolchain::linker(None, true, &[]), Status::Warn);
}

#[test]
fn doctor_warns_of_a_limit_before_it_is_reached() {
    assert_eq!(system::inotify_watches(10, Some(8192)).status, Status::Ok);
    assert_helpful(&system::inotify_watches(8000, Some(8192)), Status::Warn);
    assert_eq!(system::inotify_watches(0, None).status, Status::Warn);
    assert_eq!(system::inotify_instances(127, Some(128)).status, Status::Ok);
    assert_helpful(&system::inotify_instances(128, Some(128)), Status::Fail);
}

#[test]
fn the_budgets_of_keys_and_memory_are_reported() {
    let budget = Budget { tls_keys_used: 10, ..Budget::default() };
    let keys = system::tls_keys(&budget);
    assert!(keys.found.contains("room for 475 generations"), "{keys:?}");
    assert_helpful(&system::tls_keys(&Budget { tls_keys_used: 959, ..budget }), Status::Warn);
    assert_eq!(system::memory(Some(8 << 30), None, &budget).status, Status::Ok);
    assert_helpful(&system::memory(Some(100 << 20), None, &budget), Status::Warn);
    assert_helpful(&system::memory(Some(8 << 30), Some(1 << 30), &budget), Status::Warn);
}

#[test]
fn a_file_system_without_events_causes_a_warning() {
    assert_eq!(system::file_events(None).status, Status::Ok);
    let silent = system::file_events(Some("NFS"));
    assert_helpful(&silent, Status::Warn);
    assert!(silent.found.contains("NFS"), "{silent:?}");
}
