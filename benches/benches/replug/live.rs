//! The time from the save of an edit to the first answer of the new code, compared with `cargo build` of the same edit, and
//! with other programs that reload edited code.

use crate::{
    hot_lib::{Edit, HotLib},
    live_plugins::{Copies, SUBJECTS, Subject},
    live_stages::{self, Call, PASSES},
    peers,
};
use anyhow::{Context, Result};
use replug::{Events, Handle, Host, event::Stages};
use replug_benches::{Bar, Chart, Plot, Role, Section, Table, Target, median, quantile};
use replug_interfaces::Greeter;
use std::process::Command;

/// The number of edits at the beginning that are not counted, because they fill the caches of cargo and of the kernel.
const WARM_UP: usize = 2;
/// The debounces of hot-lib-reloader in milliseconds: the default, and the one with which it is fastest. With an even
/// shorter debounce, it often looks for the file while cargo replaces it, and then waits for half a second.
const DEBOUNCES: [(&str, &str); 2] =
    [("500", "hot-lib-reloader 0.8, by default"), ("10", "hot-lib-reloader 0.8, with a debounce of 10 ms")];

/// Measures edits of one line, in each of three plugins. replug and cargo each have their own copies of the plugins and
/// their own target folder. The other programs reload a library that is like the small plugin.
pub(crate) fn measure() -> Result<Section> {
    let (ours, theirs) = (Copies::new("live")?, Copies::new("live-cargo")?);
    let builder =
        Host::builder().plugins(ours.sandbox.plugins_dir()).state_dir(ours.sandbox.state_dir()).watch(true);
    let mut events = builder.events();
    let host = builder.build().wait()?;
    let mut others = start_others();
    let mut measured = Vec::new();
    for (number, subject) in SUBJECTS.iter().enumerate() {
        let greeter: Handle<dyn Greeter> = host.get(subject.id)?;
        greeter.greet("you").with_context(|| format!("the {} plugin did not start", subject.name))?;
        theirs.cargo_build(subject.package)?;
        let no_others: &mut [Other] = &mut [];
        let others = if number == 0 { &mut *others } else { no_others };
        measured.push(measure_edits(number, (&ours, &theirs), (&greeter, &mut events), others)?);
    }
    host.shutdown().wait();
    let calls = (0..SUBJECTS.len()).map(|subject| live_stages::calls(&ours, subject));
    let calls = calls.collect::<Result<Vec<_>>>()?;

    let small = &measured[0];
    let best = others.iter().filter(|other| other.failed.is_none());
    let best = best.map(|other| (other.name, median(&other.times(|edit| edit.live))));
    let best = best.min_by(|(_, one), (_, other)| one.total_cmp(other));
    let mut targets: Vec<_> =
        SUBJECTS.iter().zip(&measured).map(|(subject, it)| it.target(subject)).collect();
    targets[0].peer = best.map(|(name, ms)| format!("{ms:.1} ms ({name})"));
    targets.push(Target {
        what: "edit of the small plugin, relative to the fastest other loop",
        bound: "less than 1 time",
        measured: best.map_or_else(
            || "no other loop was measured".to_owned(),
            |(_, ms)| format!("{:.2} times", median(&small.live) / ms),
        ),
        met: best.is_some_and(|(_, ms)| median(&small.live) < ms),
        ours: Some(format!("{:.1} ms", median(&small.live))),
        peer: best.map(|(name, ms)| format!("{ms:.1} ms ({name})")),
        ..Target::default()
    });
    Ok(Section {
        title: "From the save to the new code",
        tables: vec![edits_table(&measured, &others), stages_table(&measured, &calls)],
        targets,
        charts: vec![chart(small, &others, best)],
    })
}

/// The milliseconds of the edits of one plugin, without the warm-up.
struct Measured {
    live: Vec<f64>,
    stages: Vec<Stages>,
    cargo: Vec<f64>,
}

fn measure_edits(
    subject: usize,
    (ours, theirs): (&Copies, &Copies),
    (greeter, events): (&Handle<dyn Greeter>, &mut Events),
    others: &mut [Other],
) -> Result<Measured> {
    let (mut live, mut stages, mut cargo) = (Vec::new(), Vec::new(), Vec::new());
    for edit in 1..=WARM_UP + SUBJECTS[subject].edits {
        // replug and cargo alternate in building first, because the caches may be warmer for the second build.
        let ours_first = edit % 2 == 0;
        if !ours_first {
            cargo.push(theirs.build_an_edit(subject, edit)?);
        }
        let (took, of) = ours.go_live((subject, edit), greeter, events)?;
        live.push(took);
        stages.push(of);
        if ours_first {
            cargo.push(theirs.build_an_edit(subject, edit)?);
        }
        others.iter_mut().for_each(|other| other.go_live(edit));
    }
    Ok(Measured {
        live: live.split_off(WARM_UP),
        stages: stages.split_off(WARM_UP),
        cargo: cargo.split_off(WARM_UP),
    })
}

impl Measured {
    fn share(&self) -> f64 {
        median(&self.live) / median(&self.cargo)
    }

    /// The median time of a stage over all edits.
    fn stage(&self, pick: fn(&Stages) -> f64) -> f64 {
        median(&self.stages.iter().map(pick).collect::<Vec<_>>())
    }

    fn target(&self, subject: &Subject) -> Target {
        let (live, cargo, share) = (median(&self.live), median(&self.cargo), self.share());
        Target {
            what: subject.what,
            bound: subject.bound,
            measured: format!("{share:.2} times ({live:.1} and {cargo:.1} ms, {} edits)", subject.edits),
            met: share <= subject.share,
            ours: Some(format!("{live:.1} ms")),
            floor: Some(format!("{cargo:.1} ms (`cargo build`)")),
            ..Target::default()
        }
    }
}

fn edits_table(measured: &[Measured], others: &[Other]) -> Table {
    let row = |name: &str, values: &[f64], share: String| {
        let cell = |share| format!("{:.1}", quantile(values, share));
        vec![name.to_owned(), cell(0.5), cell(0.0), cell(1.0), share]
    };
    let mut rows = Vec::new();
    for (subject, it) in SUBJECTS.iter().zip(measured) {
        let name = format!("{} plugin ({})", subject.name, subject.about);
        rows.push(row(&name, &it.live, format!("{:.2}", it.share())));
        rows.push(row("`cargo build` of the same edit", &it.cargo, "1.00".to_owned()));
    }
    let of_cargo = |values: &[f64]| format!("{:.2}", median(values) / median(&measured[0].cargo));
    for other in others {
        match &other.failed {
            None => {
                let live = other.times(|edit| edit.live);
                rows.push(row(other.name, &live, of_cargo(&live)));
                rows.push(row("of this: its `cargo build`", &other.times(|edit| edit.build), String::new()));
            }
            Some(why) => {
                rows.push(vec![other.name.to_owned(), "-".into(), "-".into(), why.clone(), "-".into()]);
            }
        }
    }
    rows.push(vec!["dx serve --hot-patch".to_owned(), "-".into(), "-".into(), dx(), "-".into()]);
    Table {
        columns: vec![
            "edit of one line, profile dev with cargo's default settings",
            "p50 ms",
            "least",
            "most",
            "times `cargo build`",
        ],
        rows,
    }
}

fn stages_table(measured: &[Measured], calls: &[Vec<Call>]) -> Table {
    let stage = |name: &str, pick: fn(&Stages) -> f64| {
        let cells = measured.iter().map(|it| format!("{:.1}", it.stage(pick)));
        [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let of_rustc = |name: &str, pick: &dyn Fn(&Call) -> f64| {
        let cells = calls.iter().map(|calls| {
            let values: Vec<_> = calls.iter().map(pick).collect();
            format!("{:.1}", median(&values))
        });
        [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let answer = |(it, stage): (&Measured, f64)| format!("{:.1}", median(&it.live) - stage);
    let sums = measured.iter().map(|it| {
        it.stage(|it| it.detect + it.build + it.store + it.preflight + it.load + it.migrate + it.swap)
    });
    let rest = measured.iter().zip(sums).map(answer);
    let mut rows = vec![
        stage("until the build begins", |it| it.detect),
        stage("build", |it| it.build),
        stage("store", |it| it.store),
        stage("preflight, with its trial", |it| it.preflight),
        stage("load", |it| it.load),
        stage("hand over the state, swap", |it| it.migrate + it.swap),
        ["between the stages, and the first answer".to_owned()].into_iter().chain(rest).collect(),
        of_rustc("rustc alone, started cold: the process", &|call| call.process),
        of_rustc("of this: start and exit", &|call| call.process - call.rustc),
    ];
    for (number, (name, _)) in PASSES.iter().enumerate() {
        rows.push(of_rustc(&format!("of this: {name}"), &|call| call.passes[number]));
    }
    let columns = [vec!["stage, p50 ms"], SUBJECTS.iter().map(|subject| subject.name).collect()].concat();
    Table { columns, rows }
}

fn chart(small: &Measured, others: &[Other], best: Option<(&str, f64)>) -> Chart {
    let (live, cargo) = (median(&small.live), median(&small.cargo));
    let (notice, build) = (small.stage(|it| it.detect), small.stage(|it| it.build));
    let ours = [("notice", notice), ("build", build), ("reload and first answer", live - notice - build)];
    let mut bars = vec![
        bar("replug", Role::Ours, &ours),
        bar("cargo build, without a reload", Role::Floor, &[("build", cargo)]),
    ];
    bars.extend(others.iter().filter(|other| other.failed.is_none()).map(|other| {
        let build = median(&other.times(|edit| edit.build));
        let after = median(&other.times(|edit| edit.live)) - build;
        bar(other.name, Role::Peer, &[("cargo build", build), ("wait and reload", after)])
    }));
    let beside = best.map(|(name, ms)| format!("; {name} takes {ms:.0} ms")).unwrap_or_default();
    let share = small.share();
    Chart {
        file: "live".into(),
        title: format!(
            "The time from a save to the new code is {live:.0} ms, {share:.2} times that of a cargo build of the \
             same edit{beside}"
        ),
        subject: format!("one line of a small plugin, profile dev, medians of {} edits", SUBJECTS[0].edits),
        axis: "time since the save".into(),
        plot: Plot::Stages { bars },
    }
}

fn bar(name: &str, role: Role, stages: &[(&str, f64)]) -> Bar {
    let stages = stages.iter().map(|(name, ms)| ((*name).to_owned(), *ms)).collect();
    Bar { name: name.to_owned(), role, stages }
}

/// Another program that reloads edited code, and its measured edits.
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
