//! The time from the save of an edit to the first answer of the new code, compared with `cargo build` of the same edit.

use anyhow::{Context, Result, bail, ensure};
use replug::{EventKind, Events, Handle, Host, event::Stages};
use replug_benches::{Section, Table, Target, median, quantile};
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
    }
    host.shutdown().wait();

    let (live, cargo, stages) = (&live[WARM_UP..], &cargo[WARM_UP..], &stages[WARM_UP..]);
    let row = |name: &str, values: &[f64]| {
        let cell = |share| format!("{:.1}", quantile(values, share));
        vec![name.to_owned(), cell(0.5), cell(0.0), cell(1.0)]
    };
    let stage = |pick: fn(&Stages) -> f64| stages.iter().map(pick).collect::<Vec<f64>>();
    let share = median(live) / median(cargo);
    Ok(Section {
        title: "From the save to the new code",
        tables: vec![Table {
            columns: vec!["edit of one line, profile dev without settings", "p50 ms", "least", "most"],
            rows: vec![
                row("save to first answer of the new code", live),
                row("of this: until the build begins", &stage(|stages| stages.detect)),
                row("of this: build", &stage(|stages| stages.build)),
                row(
                    "of this: store, preflight, load, swap",
                    &stage(|it| it.store + it.preflight + it.load + it.swap),
                ),
                row("`cargo build` of the same edit", cargo),
            ],
        }],
        targets: vec![Target {
            what: "save to live, relative to `cargo build`",
            bound: "at most 0.5 times",
            measured: format!(
                "{share:.2} times ({:.1} and {:.1} ms, {EDITS} edits)",
                median(live),
                median(cargo)
            ),
            met: share <= SHARE,
        }],
    })
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
