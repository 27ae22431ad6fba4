//! A killed host leaves no build behind.

use replug_tests::{
    Lab,
    command::{Dev, command},
};
use rustix::process::{Signal, kill_process_group};
use std::{fs, os::unix::process::CommandExt, process::Command};

/// A plugin whose build reports its beginning and never ends.
fn building_forever(name: &str) -> Lab {
    let mut lab = Lab::new(name);
    lab.write_script("scripts/build.sh", "#!/bin/sh\nsleep 100000 &\necho it builds > ../../begun\nwait\n");
    lab.set_manifest("binary = \"out/plugin.so\"");
    // The pipe is outside the plugin's folder, so that the pipe is not an input of the build.
    assert!(Command::new("mkfifo").arg(lab.dir().join("begun")).status().unwrap().success());
    lab
}

/// Kills a host and its parent during a build.
fn kill_during_the_build(lab: &Lab, host: Dev) {
    assert_eq!(fs::read_to_string(lab.dir().join("begun")).unwrap(), "it builds\n");
    assert!(lab.children().iter().any(|it| it.contains("build.sh")), "the build is running");
    kill_process_group(host.pid(), Signal::KILL).unwrap();
    host.ended();
    lab.expect_leftover_files();
}

#[test]
fn a_killed_dev_command_leaves_no_build_process() {
    let lab = building_forever("dev-killed-amid-build");
    let mut dev = command(&lab, &["dev", "--json"]);
    dev.process_group(0);
    kill_during_the_build(&lab, Dev::of(dev));
}

#[test]
fn a_killed_build_command_leaves_no_build_process() {
    let lab = building_forever("build-killed-amid-build");
    let mut build = command(&lab, &["build"]);
    build.process_group(0);
    kill_during_the_build(&lab, Dev::of(build));
}

#[test]
fn a_killed_embedding_program_leaves_no_build_process() {
    let lab = building_forever("embedder-killed-amid-build");
    let host = Dev::embedder(&lab, env!("CARGO_BIN_EXE_embedder"));
    kill_during_the_build(&lab, host);
}
