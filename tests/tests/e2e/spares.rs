//! Processes that the host starts for a version while the version is being built.

use replug::{Handle, manifest::Mode};
use replug_tests::{Lab, Source, Tally};
use std::{fs, process, thread};

/// A build script that waits, after an edit, until the host has `COUNT` child processes. It passes their process ids to
/// the library, and writes them to `SEEN`.
const BUILD: &str = r#"//! Lists the child processes of the host.
use std::{env, fs, path::Path, thread, time::Duration};

fn children() -> Vec<String> {
    let started = "\0__replug-shim\0HOST\0";
    let listed = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let is_child = |pid: &String| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(started))
    };
    listed.filter(is_child).collect()
}

fn main() {
    println!("cargo::rerun-if-changed=src/lib.rs");
    let is_edited = fs::read_to_string("src/lib.rs").unwrap().contains("EDITED");
    let mut seen = children();
    for _ in 0..6_000 {
        if !is_edited || seen.len() >= COUNT {
            break;
        }
        thread::sleep(Duration::from_millis(10));
        seen = children();
    }
    fs::write(Path::new(&env::var("OUT_DIR").unwrap()).join("children"), seen.join(" ")).unwrap();
    fs::write("SEEN", seen.join(" ")).unwrap();
}
"#;

/// A plugin whose method `version` returns 1 if its process had been started when the build script ran.
fn source(lab: &Lab, count: usize) -> Source {
    let listed = "        let own = std::process::id().to_string();\n        \
                  u64::from(include_str!(concat!(env!(\"OUT_DIR\"), \"/children\")).split(' ').any(|pid| pid == own))\n";
    let script = BUILD.replace("HOST", &process::id().to_string()).replace("COUNT", &count.to_string());
    let script = script.replace("SEEN", lab.dir().join("seen").to_str().unwrap());
    Source::new(1).edited("        1\n", listed).with("build.rs", script)
}

fn tally(lab: &Lab) -> Handle<dyn Tally> {
    lab.host().get(&lab.id()).unwrap()
}

#[test]
fn an_edited_version_runs_in_a_process_that_was_started_during_its_build() {
    let mut lab = Lab::in_mode("spare", Mode::Process);
    // The process of the serving version, that of the trial, and that of the new version.
    let source = source(&lab, 3);
    lab.write_source(&source);
    lab.start_watching();
    lab.reloaded();
    assert_eq!(tally(&lab).version(), Ok(0));
    lab.write("src/lib.rs", format!("{}// EDITED\n", source.lib));
    lab.reloaded();
    assert_eq!(tally(&lab).version(), Ok(1));
}

#[test]
fn a_process_that_was_started_for_a_failed_build_is_killed() {
    let mut lab = Lab::in_mode("spare-unused", Mode::InProcess);
    let source = source(&lab, 1);
    lab.write_source(&source);
    lab.start_watching();
    lab.reloaded();
    lab.write("src/lib.rs", format!("{}// EDITED\nnot Rust\n", source.lib));
    lab.build_failed();
    let seen = fs::read_to_string(lab.dir().join("seen")).unwrap();
    assert!(seen.parse::<u32>().is_ok(), "the build script has seen one process: {seen:?}");
    while fs::exists(format!("/proc/{seen}")).unwrap() {
        thread::yield_now();
    }
}
