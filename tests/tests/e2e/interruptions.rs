//! A history is a sequence of actions of users and authors. The test executes each history many times, each time with
//! one interruption after one of the steps: the host is shut down, killed, or crashed by another plugin. All guarantees
//! must hold afterwards: about the serving version, stopped plugins, the version after a rollback, quarantine, state,
//! and edits that no host has built.
//!
//! A model of the guarantees executes the same history. After each step, it gives the expected state.

use replug::manifest::Mode;
use replug_tests::{Lab, command::Dev, misbehave};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// The actions of users and authors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Increment the counter by this number.
    Count(u64),
    /// Save a valid version, and wait until it is built.
    Edit(u64),
    /// Save a version that does not compile, and wait until its build fails.
    Break,
    /// Save a version, and do not wait until it is built.
    Save(u64),
    Rollback,
    Stop,
    Discard,
    Start,
    /// Crash until the plugin is quarantined.
    Crash,
}
use Step::*;

/// How the host is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interruption {
    /// The host is shut down and started again.
    Stopped,
    /// The host is killed and started again.
    Killed,
    /// Another plugin crashes the host, and the parent process starts the host again.
    Crashed,
}

const INTERRUPTIONS: [Interruption; 3] = [Interruption::Stopped, Interruption::Killed, Interruption::Crashed];

/// The histories, each with the mode of its plugin.
const HISTORIES: [(Mode, &[Step]); 6] = [
    (Mode::InProcess, &[Count(5), Edit(2), Break, Count(1)]),
    (Mode::InProcess, &[Edit(2), Rollback, Count(3), Edit(3), Rollback]),
    (Mode::InProcess, &[Count(2), Stop, Save(2), Start, Count(1)]),
    (Mode::Process, &[Count(4), Stop, Discard, Start]),
    (Mode::Process, &[Edit(2), Crash, Save(3), Start]),
    (Mode::Process, &[Count(7), Break, Stop, Start, Save(4)]),
];

/// The expected state.
#[derive(Clone, Debug, Default)]
struct Promised {
    /// The version in the source; `None` if it does not compile.
    source: Option<u64>,
    /// The versions that have served, in the order of their first service.
    served: Vec<u64>,
    /// The version that serves, or that served last.
    serving: u64,
    /// The version from which the plugin was rolled back; `None` if it was not rolled back.
    back_from: Option<u64>,
    stopped: bool,
    quarantined: BTreeSet<u64>,
    value: u64,
}

impl Promised {
    fn runs(&self) -> bool {
        !self.stopped && !self.quarantined.contains(&self.serving)
    }

    fn serve(&mut self, version: u64) {
        self.serving = version;
        if !self.served.contains(&version) {
            self.served.push(version);
        }
    }

    /// The source is built. If it compiles, the result serves.
    fn build(&mut self) {
        if let Some(version) = self.source {
            self.serve(version);
            self.back_from = None;
        }
    }

    /// The plugin or the host starts. The last version serves until a newer one is built.
    fn come_up(&mut self) {
        if self.source.is_some() && self.source != self.back_from {
            self.build();
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Count(by) => self.value += by,
            Edit(version) => {
                self.source = Some(version);
                self.build();
            }
            Break => self.source = None,
            Save(version) => self.source = Some(version),
            Rollback => {
                let at = self.served.iter().position(|version| *version == self.serving).unwrap();
                self.back_from = self.back_from.or(Some(self.serving));
                self.serving = self.served[at - 1];
            }
            Stop => self.stopped = true,
            Discard => (self.stopped, self.value) = (true, 0),
            Start => {
                self.stopped = false;
                self.quarantined.clear();
                self.come_up();
            }
            Crash => {
                self.quarantined.insert(self.serving);
                self.value = 0;
            }
        }
    }

    fn interrupted(&mut self, how: Interruption) {
        if self.stopped {
            return;
        }
        if how != Interruption::Stopped && self.runs() {
            // There are no checkpoints, so a crash loses the state.
            self.value = 0;
        }
        self.come_up();
    }
}

/// A host with two plugins: the tested plugin, whose builds copy a file, and a neighbour that can crash the host.
struct Stage {
    lab: Lab,
    /// `None` while no host runs.
    host: Option<Dev>,
    pid: Pid,
}

const NEIGHBOUR: &str = "dev.test.neighbour";

const SCRIPT: &str = "#!/bin/sh
set -e
if [ ! -f src/plugin.so ]; then echo 'it does not compile' >&2; exit 1; fi
mkdir -p out
cp src/plugin.so out/plugin.so
";

impl Stage {
    fn new(name: &str, mode: Mode) -> Self {
        let mut lab = Lab::in_mode(name, mode);
        lab.write_script("scripts/build.sh", SCRIPT);
        save(&lab, Some(1));
        lab.set_manifest("binary = \"out/plugin.so\"\n[process]\nmax_deaths = 1");
        let manifest = format!("id = \"{NEIGHBOUR}\"\nmode = \"in-process\"\nbinary = \"plugin.so\"\n");
        lab.neighbour("neighbour", manifest, misbehave("version=7"));
        let mut stage = Self { lab, host: None, pid: Pid::INIT };
        stage.start();
        stage.comes_up(&Promised::default());
        stage
    }

    fn start(&mut self) {
        let program = env!("CARGO_BIN_EXE_embedder");
        self.pid = pid_of(&self.host.insert(Dev::embedder(&self.lab, program)).wait_for("here"));
    }

    fn host(&mut self) -> &mut Dev {
        self.host.as_mut().expect("the host was started")
    }

    /// Waits until the host has started. If the plugin should run, also waits for the end of a build of its source.
    fn comes_up(&mut self, promised: &Promised) {
        let id = self.lab.id();
        let (mut is_up, mut builds) = (false, false);
        let mut is_settled = promised.stopped;
        while !(is_up && is_settled) {
            let event = self.host().wait_for_any(&[
                "host_started",
                "build_started",
                "reloaded",
                "build_unchanged",
                "build_failed",
                "reload_failed",
                "plugin_quarantined",
            ]);
            let is_own = event["plugin"] == id.as_str();
            match event["event"].as_str().unwrap() {
                "host_started" => is_up = true,
                "build_started" => builds |= is_own,
                _ => is_settled |= is_own && builds,
            }
        }
    }

    fn ask(&mut self, command: &str) -> Value {
        let id = self.lab.id();
        self.host().ask(&command.replace("ID", &id))
    }

    fn step(&mut self, step: Step) {
        let answer = match step {
            Count(by) => self.ask(&format!("call ID increment [{by}]")),
            Edit(version) => {
                save(&self.lab, Some(version));
                self.ask("reload ID")
            }
            Break => {
                save(&self.lab, None);
                let refused = self.ask("reload ID");
                assert!(refused["error"].is_string(), "{refused}");
                return;
            }
            Save(version) => return save(&self.lab, Some(version)),
            Rollback => self.ask("rollback ID"),
            Stop => self.ask("stop ID"),
            Discard => self.ask("discard ID"),
            Start => self.ask("start ID"),
            Crash => {
                let command = format!("call {} misbehave [\"abort\"]", self.lab.id());
                self.host().send(&command);
                // The two events come in either order.
                let told = [(); 2].map(|()| self.host().wait_for_any(&["answer", "plugin_quarantined"]));
                assert!(told.iter().any(|it| it["error"].is_string()), "{told:?}");
                return;
            }
        };
        assert!(answer["error"].is_null(), "{step:?}: {answer}");
    }

    fn interrupt(&mut self, how: Interruption, promised: &Promised) {
        match how {
            Interruption::Stopped => {
                assert!(self.host.take().expect("the host was started").leave().success());
                self.start();
            }
            Interruption::Killed => {
                kill_process(self.pid, Signal::KILL).unwrap();
                self.host.take().expect("the host was started").ended();
                self.start();
            }
            Interruption::Crashed => {
                self.host().send(&format!("call {NEIGHBOUR} misbehave [\"write-to-null\"]"));
                self.pid = pid_of(&self.host().wait_for("here"));
            }
        }
        self.comes_up(promised);
    }

    /// Asserts that the state is as expected.
    fn assert_kept(&mut self, promised: &Promised) {
        let info = self.ask("info ID")["result"].clone();
        if promised.stopped {
            assert_eq!(info["status"], "stopped", "{info}");
            return;
        }
        if !promised.runs() {
            assert_eq!(info["status"], "error", "{info}");
            assert!(info["detail"].as_str().unwrap().contains("quarantined"), "{info}");
            return;
        }
        assert_eq!(self.ask("call ID version []")["result"], promised.serving, "{info}");
        assert_eq!(self.ask("call ID value []")["result"], promised.value, "{info}");
        let broken = promised.source.is_none();
        let said = info["detail"].as_str().unwrap().contains("it does not compile");
        assert_eq!(said, broken, "{info}");
    }
}

fn pid_of(event: &Value) -> Pid {
    Pid::from_raw(event["pid"].as_i64().unwrap().try_into().unwrap()).unwrap()
}

fn save(lab: &Lab, version: Option<u64>) {
    match version {
        Some(version) => lab.write("src/plugin.so", misbehave(&format!("version={version}"))),
        None => fs::remove_file(lab.path("src/plugin.so")).unwrap(),
    }
}

/// Executes a history, with an interruption after the first `after` steps.
fn go_through(number: usize, after: usize, how: Interruption) {
    let (mode, history) = HISTORIES[number];
    let name = format!("history-{number}-{after}-{how:?}").to_lowercase();
    let mut stage = Stage::new(&name, mode);
    let mut promised = Promised { source: Some(1), ..Promised::default() };
    promised.build();
    stage.assert_kept(&promised);
    for (done, step) in history.iter().enumerate() {
        if done == after {
            promised.interrupted(how);
            stage.interrupt(how, &promised);
            stage.assert_kept(&promised);
        }
        promised.step(*step);
        stage.step(*step);
        // A saved version that is not built has no visible effect yet.
        if !matches!(step, Save(_)) {
            stage.assert_kept(&promised);
        }
    }
    if after == history.len() {
        promised.interrupted(how);
        stage.interrupt(how, &promised);
        stage.assert_kept(&promised);
    }
    assert!(stage.host.take().expect("the host was started").leave().success());
}

#[test]
fn all_guarantees_hold_after_an_interruption_after_any_step() {
    let mut cases = Vec::new();
    for (number, (_, history)) in HISTORIES.iter().enumerate() {
        for after in 1..=history.len() {
            cases.extend(INTERRUPTIONS.map(|how| (number, after, how)));
        }
    }
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from).max(2) {
            scope.spawn(|| {
                while let Some(&(number, after, how)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let went = std::panic::catch_unwind(|| go_through(number, after, how));
                    if let Err(panic) = went {
                        let why = panic.downcast_ref::<String>().cloned();
                        let case = format!("{:?} with {how:?} after {after} steps", HISTORIES[number]);
                        failures.lock().unwrap().insert(case, why.unwrap_or_default());
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {}: {failures:#?}", failures.len(), cases.len());
}
