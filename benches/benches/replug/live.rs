//! The time from the save of an edit to the first answer of the new code, compared with `cargo build` of the same edit, and
//! with other programs that rebuild and reload.

use crate::{
    hot_lib::{Edit, HotLib},
    peers,
};
use anyhow::{Context, Result, bail, ensure};
use replug::{EventKind, Events, Handle, Host, event::Stages};
use replug_benches::{Bar, Chart, Plot, Role, Section, Table, Target, median, quantile};
use replug_interfaces::Greeter;
use replug_tests::sandbox::Sandbox;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const ID: &str = "dev.replug.hello-world";
const EDITS: usize = 12;
/// The number of edits at the beginning that do not count, because they fill the caches of cargo and of the kernel.
const WARM_UP: usize = 2;
const SHARE: f64 = 0.5;
/// The debounces of hot-lib-reloader in milliseconds: the default, and the one with which it is fastest. With a shorter
/// one, it often looks for the file while cargo replaces it, and then waits for half a second.
const DEBOUNCES: [(&str, &str); 2] =
    [("500", "hot-lib-reloader 0.8, by default"), ("10", "hot-lib-reloader 0.8, with a debounce of 10 ms")];

/// Measures edits of one line of the plugin `hello-world`. replug and cargo each have a copy of the plugin and a target
/// folder.
pub(crate) fn measure() -> Result<Section> {
    let (ours, theirs) = (Copy::new("live")?, Copy::new("live-cargo")?);
    let builder =
        Host::builder().plugins(ours.sandbox.plugins_dir()).state_dir(ours.sandbox.state_dir()).watch(true);
    let mut events = builder.events();
    let host = builder.build().wait()?;
    let greeter: Handle<dyn Greeter> = host.get(ID)?;
    greeter.greet("you").context("the plugin did not start")?;
    theirs.cargo_build()?;

    let mut others = start_others();
    let (mut live, mut cargo, mut stages) = (Vec::new(), Vec::new(), Vec::new());
    for edit in 1..=WARM_UP + EDITS {
        // replug and cargo alternate in building first, because the caches may be warmer for the second build.
        let ours_first = edit % 2 == 0;
        if !ours_first {
            cargo.push(theirs.build_an_edit(edit)?);
        }
        let (took, of) = ours.go_live(edit, &greeter, &mut events)?;
        live.push(took);
        stages.push(of);
        if ours_first {
            cargo.push(theirs.build_an_edit(edit)?);
        }
        others.iter_mut().for_each(|other| other.go_live(edit));
    }
    host.shutdown().wait();

    let (live, cargo, stages) = (&live[WARM_UP..], &cargo[WARM_UP..], &stages[WARM_UP..]);
    let row = |name: &str, values: &[f64]| {
        let cell = |share| format!("{:.1}", quantile(values, share));
        vec![name.to_owned(), cell(0.5), cell(0.0), cell(1.0)]
    };
    let stage = |pick: fn(&Stages) -> f64| stages.iter().map(pick).collect::<Vec<f64>>();
    let share = median(live) / median(cargo);
    let mut rows = vec![
        row("save to first answer of the new code", live),
        row("of this: until the build begins", &stage(|stages| stages.detect)),
        row("of this: build", &stage(|stages| stages.build)),
        row(
            "of this: store, preflight, load, swap",
            &stage(|it| it.store + it.preflight + it.load + it.swap),
        ),
        row("`cargo build` of the same edit", cargo),
    ];
    for other in &others {
        match &other.failed {
            None => {
                rows.push(row(other.name, &other.times(|edit| edit.live)));
                rows.push(row("of this: its `cargo build`", &other.times(|edit| edit.build)));
            }
            Some(why) => rows.push(vec![other.name.to_owned(), "-".into(), "-".into(), why.clone()]),
        }
    }
    rows.push(vec!["dx serve --hot-patch".to_owned(), "-".into(), "-".into(), dx()]);
    let best = others.iter().filter(|other| other.failed.is_none());
    let best = best.map(|other| (other.name, median(&other.times(|edit| edit.live))));
    let best = best.min_by(|(_, one), (_, other)| one.total_cmp(other));
    let (notice, build) = (median(&stage(|it| it.detect)), median(&stage(|it| it.build)));
    let mut bars = vec![
        bar(
            "replug",
            Role::Ours,
            &[
                ("notice", notice),
                ("build", build),
                ("reload and first answer", median(live) - notice - build),
            ],
        ),
        bar("cargo build, without a reload", Role::Floor, &[("build", median(cargo))]),
    ];
    bars.extend(others.iter().filter(|other| other.failed.is_none()).map(|other| {
        let build = median(&other.times(|edit| edit.build));
        let after = median(&other.times(|edit| edit.live)) - build;
        bar(other.name, Role::Peer, &[("cargo build", build), ("wait and reload", after)])
    }));
    let beside = best.map(|(name, ms)| format!("; {name} takes {ms:.0} ms"));
    let chart = Chart {
        file: "live".into(),
        title: format!(
            "The time from a save to the new code is {:.0} ms, {share:.2} times that of a cargo build of the \
             same edit{}",
            median(live),
            beside.unwrap_or_default()
        ),
        subject: format!("one line of a small plugin, profile dev, medians of {EDITS} edits"),
        axis: "time since the save".into(),
        plot: Plot::Stages { bars },
    };
    Ok(Section {
        title: "From the save to the new code",
        tables: vec![Table {
            columns: vec![
                "edit of one line, profile dev with cargo's default settings",
                "p50 ms",
                "least",
                "most",
            ],
            rows,
        }],
        targets: vec![
            Target {
                what: "save to live, relative to `cargo build`",
                bound: "at most 0.5 times",
                measured: format!(
                    "{share:.2} times ({:.1} and {:.1} ms, {EDITS} edits)",
                    median(live),
                    median(cargo)
                ),
                met: share <= SHARE,
                ours: Some(format!("{:.1} ms", median(live))),
                peer: best.map(|(name, ms)| format!("{ms:.1} ms ({name})")),
                floor: Some(format!("{:.1} ms (`cargo build`)", median(cargo))),
            },
            Target {
                what: "save to live, relative to the fastest other loop",
                bound: "less than 1 time",
                measured: best.map_or_else(
                    || "no other loop was measured".to_owned(),
                    |(_, ms)| format!("{:.2} times", median(live) / ms),
                ),
                met: best.is_some_and(|(_, ms)| median(live) < ms),
                ours: Some(format!("{:.1} ms", median(live))),
                peer: best.map(|(name, ms)| format!("{ms:.1} ms ({name})")),
                ..Target::default()
            },
        ],
        charts: vec![chart],
    })
}

fn bar(name: &str, role: Role, stages: &[(&str, f64)]) -> Bar {
    let stages = stages.iter().map(|(name, ms)| ((*name).to_owned(), *ms)).collect();
    Bar { name: name.to_owned(), role, stages }
}

/// Another program that rebuilds and reloads.
struct Other {
    name: &'static str,
    running: Option<HotLib>,
    edits: Vec<Edit>,
    /// Why it is not measured.
    failed: Option<String>,
}

/// Starts a program with hot-lib-reloader for each debounce. The program does not build: for each edit, the benchmark
/// itself runs `cargo build` immediately after the save.
fn start_others() -> Vec<Other> {
    let programs = peers::build();
    let start = |(debounce, name)| {
        let started = programs.as_ref().map_err(|error| format!("{error:#}"));
        let started =
            started.and_then(|it| HotLib::start(it, debounce).map_err(|error| format!("{error:#}")));
        match started {
            Ok(running) => Other { name, running: Some(running), edits: Vec::new(), failed: None },
            Err(why) => Other { name, running: None, edits: Vec::new(), failed: Some(why) },
        }
    };
    DEBOUNCES.map(start).into()
}

impl Other {
    fn go_live(&mut self, edit: usize) {
        match self.running.as_ref().map(|running| running.go_live(edit)) {
            Some(Ok(took)) => self.edits.push(took),
            Some(Err(error)) => {
                self.failed = Some(format!("edit {edit}: {error:#}"));
                self.running = None;
            }
            None => {}
        }
    }

    fn times(&self, pick: fn(&Edit) -> f64) -> Vec<f64> {
        self.edits.iter().skip(WARM_UP).map(pick).collect()
    }
}

/// Why `dx` is not measured.
fn dx() -> String {
    match Command::new("dx").arg("--version").output() {
        Err(_) => "not measured: `dx` is not on the PATH (`cargo install dioxus-cli` installs it)".to_owned(),
        Ok(output) => {
            let version = String::from_utf8_lossy(&output.stdout);
            format!(
                "not measured: the benchmark contains no program that `dx` could reload ({} is installed)",
                version.trim()
            )
        }
    }
}

/// A copy of the plugin for edits.
struct Copy {
    sandbox: Sandbox,
    file: PathBuf,
    original: String,
}

impl Copy {
    fn new(name: &str) -> Result<Self> {
        let sandbox = Sandbox::fresh(name)?;
        sandbox.remove_profiles()?;
        let file = sandbox.add("plugins/hello-world")?.join("src/lib.rs");
        let original = fs::read_to_string(&file)?;
        ensure!(
            original.contains("\"Hello, {name}!\""),
            "{} does not contain the expected greeting",
            file.display()
        );
        Ok(Self { sandbox, file, original })
    }

    /// Saves the source with another greeting, and returns the time before the save.
    fn save(&self, edit: usize) -> Result<Instant> {
        let edited = self.original.replace("\"Hello, {name}!\"", &format!("\"Hello {edit}, {{name}}!\""));
        let before = Instant::now();
        fs::write(&self.file, edited)?;
        Ok(before)
    }

    /// Milliseconds from a save until the plugin answers with the new text.
    fn go_live(
        &self,
        edit: usize,
        greeter: &Handle<dyn Greeter>,
        events: &mut Events,
    ) -> Result<(f64, Stages)> {
        let saved = self.save(edit)?;
        let stages = loop {
            // Waiting for the event takes no processor time from the compiler; repeated calls would.
            let event = events.next_blocking().context("the host has shut down")?;
            match &event.kind {
                EventKind::Reloaded { stages, .. }
                    if greeter.greet("you")? == format!("Hello {edit}, you!") =>
                {
                    break *stages;
                }
                EventKind::BuildFailed { error, .. } | EventKind::ReloadFailed { error, .. } => {
                    bail!("edit {edit}: {error}")
                }
                _ => {}
            }
        };
        Ok((millis(saved.elapsed()), stages))
    }

    /// Milliseconds that cargo takes for an edit.
    fn build_an_edit(&self, edit: usize) -> Result<f64> {
        let saved = self.save(edit)?;
        self.cargo_build()?;
        Ok(millis(saved.elapsed()))
    }

    fn cargo_build(&self) -> Result<()> {
        let root: &Path = self.sandbox.root();
        let status = Command::new("cargo")
            .args(["build", "--quiet", "--package", "hello-world"])
            .arg("--target-dir")
            .arg(root.join("target"))
            .current_dir(root)
            .stdin(Stdio::null())
            .status()?;
        ensure!(status.success(), "`cargo build` in {} failed: {status}", root.display());
        Ok(())
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
