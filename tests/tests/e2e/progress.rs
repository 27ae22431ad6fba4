//! The progress reports during a build.

use replug_tests::{
    Lab, Source,
    command::{Dev, command},
    hold::Hang,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

#[test]
fn a_line_reports_the_build_every_ten_seconds_without_a_terminal() {
    let mut lab = Lab::new("slow");
    let _hang = Hang::save(&lab);
    lab.set_manifest("binary = \"out/plugin.so\"");
    let started = [&["dev"][..], &["build"]].map(|args| {
        let mut command = command(&lab, args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for (number, mut child) in started.into_iter().enumerate() {
        // `build` reports its progress on the standard error, because its standard output contains only the result.
        let output: Box<dyn Read> = match number {
            0 => Box::new(child.stdout.take().unwrap()),
            _ => Box::new(child.stderr.take().unwrap()),
        };
        let mut lines = BufReader::new(output).lines().map(Result::unwrap);
        let line = lines.find(|line| line.starts_with("building ")).unwrap();
        assert!(line.starts_with("building slow for 1") && line.ends_with('s'), "{line}");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        lines.for_each(drop);
        child.wait().unwrap();
    }
}

#[test]
fn a_host_reports_the_progress_of_cargo() {
    let mut lab = Lab::new("how-far");
    lab.write_source(&Source::new(1));
    let mut dev = Dev::start(&lab, &[]);
    let progress = dev.wait_for("build_progress");
    assert_eq!(progress["plugin"], lab.id());
    let (done, total) = (progress["done"].as_u64().unwrap(), progress["total"].as_u64().unwrap());
    assert!(done <= total && total > 0, "{progress}");
    assert!(!progress["doing"].as_str().unwrap().is_empty(), "{progress}");
    dev.wait_for("reloaded");
    assert!(dev.interrupt().success());
}
