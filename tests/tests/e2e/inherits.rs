//! What a plugin's process inherits from its host and what it does not inherit: environment variables, privileges, the
//! terminal, and access to the control plane.

use replug::manifest::Mode;
use replug_tests::{
    Lab,
    artifact::aborting,
    command::{Dev, command, command_to_host, program},
    http::control,
    misbehave, skipped,
    wait::ProcessEnd,
};
use rustix::process::geteuid;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
};

/// A user other than root.
const NOBODY: u32 = 65534;

/// A host in this process, with a control plane and a plugin in a child process.
fn listening(name: &str) -> Lab {
    let mut lab = Lab::in_mode(name, Mode::Process);
    lab.install(misbehave("version=1"));
    let config = control(&lab);
    lab.start_listening(config, |builder| builder).unwrap();
    lab
}

/// A shell command that sends a request to the host, and writes the answer to this file.
fn asks(lab: &Lab, file: &str) -> String {
    let (replug, folder) = (program().display(), lab.dir().display());
    let state = lab.state_dir();
    format!(
        "cd {folder}; REPLUG_STATE_DIR={} {replug} status plugins > {folder}/{file} 2>&1 || true",
        state.display()
    )
}

fn read(lab: &Lab, file: &str) -> String {
    fs::read_to_string(lab.dir().join(file)).unwrap()
}

/// Makes the plugin run a script.
fn run(lab: &Lab, script: &str) {
    lab.probe().misbehave(&format!("sh:{script}")).unwrap();
}

fn fifo(lab: &Lab, name: &str) -> PathBuf {
    let path = lab.dir().join(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

fn assert_refused(said: &str) {
    assert!(said.contains("does not accept requests from processes of its plugins"), "{said}");
}

#[test]
fn the_socket_rejects_processes_of_plugins_and_accepts_others() {
    let lab = listening("asks-its-host");
    // This process, which is not a plugin, runs the same command.
    assert!(Command::new("sh").args(["-c", &asks(&lab, "other")]).status().unwrap().success());
    assert!(read(&lab, "other").contains("asks-its-host"), "{}", read(&lab, "other"));
    run(&lab, &asks(&lab, "own"));
    assert_refused(&read(&lab, "own"));
}

#[test]
fn the_socket_rejects_descendants_in_other_sessions_or_namespaces() {
    let lab = listening("asks-from-afar");
    let done = fifo(&lab, "done");
    // The parent of the script ends immediately, so the script's new parent is not a process of the host.
    let script = format!("{}; echo > {}", asks(&lab, "away"), done.display());
    let away = lab.dir().join("away.sh");
    fs::write(&away, script).unwrap();
    run(&lab, &format!("(setsid sh {} &) &", away.display()));
    fs::read(&done).unwrap();
    assert_refused(&read(&lab, "away"));

    let inside = lab.dir().join("inside.sh");
    fs::write(&inside, asks(&lab, "inside")).unwrap();
    let said = lab.dir().join("unshare");
    run(&lab, &format!("unshare --user sh {} 2> {}", inside.display(), said.display()));
    if lab.dir().join("inside").exists() {
        assert_refused(&read(&lab, "inside"));
    } else {
        skipped(&format!("a user namespace cannot be created here: {}", read(&lab, "unshare")));
    }
}

#[test]
fn the_socket_rejects_a_descendant_of_an_ended_plugin() {
    let mut lab = Lab::in_mode("asks-as-an-orphan", Mode::Process);
    // The descendant must outlive the plugin's process. If they had a cgroup, the host would kill both.
    lab.install_with(misbehave("version=1"), "[limits]\ncgroup = \"off\"");
    let config = control(&lab);
    lab.start_listening(config, |builder| builder).unwrap();
    let (begun, go, done) = (fifo(&lab, "begun"), fifo(&lab, "go"), fifo(&lab, "done"));
    let script = format!(
        "echo > {}; read line < {}; {}; echo > {}",
        begun.display(),
        go.display(),
        asks(&lab, "orphan"),
        done.display()
    );
    let orphan = lab.dir().join("orphan.sh");
    fs::write(&orphan, script).unwrap();
    run(&lab, &format!("(setsid sh {} &) &", orphan.display()));
    fs::read(&begun).unwrap();
    let end = ProcessEnd::of(lab.pid()).unwrap();
    lab.kill();
    end.wait();
    File::options().write(true).open(&go).unwrap().write_all(b"\n").unwrap();
    fs::read(&done).unwrap();
    assert_refused(&read(&lab, "orphan"));
}

/// The variables in the output of `env`.
fn variables(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

/// `replug dev` on the lab's plugins, with secrets in its environment.
fn with_secrets(lab: &Lab) -> Dev {
    let mut run = command(lab, &["dev", "--json"]);
    run.env("LEAKED_SECRET", "s3cret").env("DATABASE_URL", "postgres://").env("LC_TIME", "C.UTF-8");
    run.stdin(Stdio::null());
    Dev::of(run)
}

#[test]
fn a_process_gets_only_basic_variables_and_those_of_its_manifest() {
    let mut lab = Lab::in_mode("environment", Mode::Process);
    let file = lab.dir().join("env");
    // `init` runs once in the trial, and once in the serving process.
    let directives = format!("do=init:sh:env>>{}", file.display());
    lab.install_with(
        misbehave(&directives),
        "[process]\nenv = [\"DATABASE_URL\", \"MODE=prod=1\", \"NOT_THERE\"]",
    );
    let mut host = with_secrets(&lab);
    host.wait_for("host_started");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("DATABASE_URL=postgres://\n").count(), 2, "{text}");
    assert_eq!(text.matches("MODE=prod=1\n").count(), 2, "{text}");
    assert!(!text.contains("s3cret") && !text.contains("REPLUG_"), "{text}");
    let found = variables(&text);
    assert!(found.contains_key("PATH") && found.contains_key("LC_TIME"), "{text}");
    assert!(!found.contains_key("HOME") && !found.contains_key("NOT_THERE"), "{text}");
    // The host reads the values of the variables when it starts the process. A change of the list in the manifest
    // starts a new process.
    fs::remove_file(&file).unwrap();
    lab.set_manifest("binary = \"plugin.so\"\n[process]\nenv = [\"LEAKED_SECRET\"]");
    host.wait_for("reloaded");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("LEAKED_SECRET=s3cret") && !text.contains("DATABASE_URL"), "{text}");
    assert!(host.interrupt().success());
}

#[test]
fn a_trial_of_an_in_process_plugin_has_the_environment_of_the_host() {
    let mut lab = Lab::in_mode("trial-environment", Mode::InProcess);
    let file = lab.dir().join("env");
    lab.install(misbehave(&format!("do=init:sh:env>>{}", file.display())));
    let mut host = with_secrets(&lab);
    host.wait_for("host_started");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(
        text.matches("LEAKED_SECRET=s3cret\n").count(),
        2,
        "once in the trial, and once in the host: {text}"
    );
    assert!(host.interrupt().success());
}

/// The fields of `/proc/PID/status`, such as the capabilities.
fn fields(status: &str) -> BTreeMap<&str, &str> {
    status.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key, value.trim())).collect()
}

/// The bit of `CAP_DAC_OVERRIDE`, with which a process can access all files.
const READS_ALL: &str = "0000000000000002";
const NONE: &str = "0000000000000000";

#[test]
fn a_process_cannot_get_capabilities_and_has_no_terminal() {
    let mut lab = Lab::in_mode("privileges", Mode::Process);
    lab.install(misbehave("version=1"));
    lab.start();
    let pid = lab.pid().to_string();
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let kept = if geteuid().is_root() { READS_ALL } else { NONE };
    // Every thread of the process can start other threads and processes, so the test checks all of them.
    let mut seen = 0;
    for thread in fs::read_dir(folder.join("task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let found = fields(&status);
        for (field, expected) in
            [("CapEff", kept), ("CapPrm", kept), ("CapInh", NONE), ("CapAmb", NONE), ("NoNewPrivs", "1")]
        {
            assert_eq!(found[field], expected, "{field}: {status}");
        }
        if geteuid().is_root() {
            assert_eq!(found["CapBnd"], READS_ALL, "{status}");
        }
        seen += 1;
    }
    assert!(seen >= 3, "{seen}");
    run(&lab, &format!("cat /proc/self/status > {}", lab.dir().join("status").display()));
    let status = read(&lab, "status");
    assert_eq!((fields(&status)["CapEff"], fields(&status)["NoNewPrivs"]), (kept, "1"), "{status}");

    let stat = fs::read_to_string(folder.join("stat")).unwrap();
    let stat: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // These fields are the process group, the session and the terminal.
    assert_eq!((stat[2], stat[3], stat[4]), (&*pid, &*pid, "0"), "{stat:?}");
}

#[test]
fn a_plugin_process_of_root_can_use_a_private_folder_of_another_user() {
    if !geteuid().is_root() {
        skipped("this test must run as root, to create a folder that another user owns");
        return;
    }
    let mut lab = Lab::in_mode("closed-folder", Mode::Process);
    lab.install(misbehave("version=1"));
    chown(lab.dir(), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    lab.start();
    run(&lab, &format!("echo written > {}", lab.dir().join("file").display()));
    assert_eq!(read(&lab, "file"), "written\n");
}

#[test]
fn a_host_of_a_normal_user_runs_plugins_without_privileges() {
    if !geteuid().is_root() {
        skipped("this test must run as root, to start a host as another user");
        return;
    }
    let mut lab = Lab::in_mode("other-user", Mode::Process);
    // This artifact contains the standard library, because the user `nobody` may not have access to the toolchain.
    lab.install(aborting());
    let owned = Command::new("chown").arg("-R").arg(NOBODY.to_string()).arg(lab.dir()).status();
    assert!(owned.unwrap().success());
    let mut run = command(&lab, &["run", "--json"]);
    run.stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
    let mut host = Dev::of(run);
    let started = host.wait_for_any(&["host_started", "reload_failed"]);
    assert_eq!(started["event"], "host_started", "{started}");
    let file = lab.dir().join("status");
    let script = json!([format!("sh:cat /proc/self/status > {}", file.display())]).to_string();
    let mut ask = command_as_nobody(&lab, &["call", &lab.id(), "misbehave", &script]);
    let answer = ask.output().unwrap();
    assert!(answer.status.success(), "{answer:?}");
    let status = fs::read_to_string(file).unwrap();
    let found = fields(&status);
    assert_eq!((found["CapEff"], found["CapPrm"], found["NoNewPrivs"]), (NONE, NONE, "1"), "{status}");
    assert!(found["Uid"].starts_with("65534\t65534"), "{status}");
    assert!(host.interrupt().success());
}

fn command_as_nobody(lab: &Lab, args: &[&str]) -> Command {
    let mut command = command_to_host(lab, args);
    command.env("REPLUG_STATE_DIR", lab.state_dir()).uid(NOBODY).gid(NOBODY);
    command
}
