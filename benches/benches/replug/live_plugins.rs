//! The three plugins whose edits `live` measures. All of them implement `Greeter`, and an edit changes the greeting.

use anyhow::{Context, Result, ensure};
use replug::{EventKind, Events, Handle, event::Stages};
use replug_interfaces::Greeter;
use replug_tests::sandbox::Sandbox;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A plugin, and the target for the times of its edits.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) package: &'static str,
    pub(crate) id: &'static str,
    /// The number of measured edits.
    pub(crate) edits: usize,
    /// The maximum of the time from the save to the new code, relative to `cargo build` of the same edit.
    pub(crate) share: f64,
    pub(crate) bound: &'static str,
    pub(crate) what: &'static str,
    /// Adds the plugin to a sandbox, and returns the file with the greeting.
    add: fn(&Sandbox) -> Result<PathBuf>,
}

pub(crate) const SUBJECTS: [Subject; 3] = [
    Subject {
        name: "small",
        about: "`hello-world`",
        package: "hello-world",
        id: "dev.replug.hello-world",
        edits: 12,
        share: 0.5,
        bound: "at most 0.5 times",
        what: "edit of the small plugin, relative to `cargo build`",
        add: |sandbox| Ok(sandbox.add("plugins/hello-world")?.join("src/lib.rs")),
    },
    Subject {
        name: "middle",
        about: "serde, regex and tokio",
        package: "middle",
        id: "dev.replug.middle",
        edits: 10,
        share: 0.65,
        bound: "at most 0.65 times",
        what: "edit of the middle plugin, relative to `cargo build`",
        add: add_middle,
    },
    Subject {
        name: "large",
        about: "20,000 generated lines",
        package: "large",
        id: "dev.replug.large",
        edits: 6,
        share: 0.9,
        bound: "at most 0.9 times",
        what: "edit of the large plugin, relative to `cargo build`",
        add: add_large,
    },
];

/// A sandbox with all plugins.
pub(crate) struct Copies {
    pub(crate) sandbox: Sandbox,
    files: Vec<(PathBuf, String)>,
}

impl Copies {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let sandbox = Sandbox::fresh(name)?;
        sandbox.remove_profiles()?;
        let files = SUBJECTS.iter().map(|subject| {
            let file = (subject.add)(&sandbox)?;
            let original = fs::read_to_string(&file)?;
            ensure!(original.contains(GREETING), "{} does not contain the greeting", file.display());
            Ok((file, original))
        });
        let files = files.collect::<Result<_>>()?;
        Ok(Self { sandbox, files })
    }

    /// Saves the source of a plugin with another greeting, and returns the time before the save.
    pub(crate) fn save(&self, subject: usize, edit: usize) -> Result<Instant> {
        let (file, original) = &self.files[subject];
        let edited = original.replace(GREETING, &format!("\"Hello {edit}, {{name}}!\""));
        let before = Instant::now();
        fs::write(file, edited)?;
        Ok(before)
    }

    /// Milliseconds from a save until the plugin answers with the new text.
    pub(crate) fn go_live(
        &self,
        (subject, edit): (usize, usize),
        greeter: &Handle<dyn Greeter>,
        events: &mut Events,
    ) -> Result<(f64, Stages)> {
        let saved = self.save(subject, edit)?;
        let stages = loop {
            // This waits for the event instead of calling repeatedly, because the calls would take processor time from
            // the compiler.
            let event = events.next_blocking().context("the host has shut down")?;
            match &event.kind {
                EventKind::Reloaded { stages, .. }
                    if greeter.greet("you")? == format!("Hello {edit}, you!") =>
                {
                    break *stages;
                }
                EventKind::BuildFailed { error, .. } | EventKind::ReloadFailed { error, .. } => {
                    anyhow::bail!("edit {edit} of {}: {error}", SUBJECTS[subject].name)
                }
                _ => {}
            }
        };
        Ok((millis(saved.elapsed()), stages))
    }

    /// Milliseconds that cargo takes for an edit.
    pub(crate) fn build_an_edit(&self, subject: usize, edit: usize) -> Result<f64> {
        let saved = self.save(subject, edit)?;
        self.cargo_build(SUBJECTS[subject].package)?;
        Ok(millis(saved.elapsed()))
    }

    pub(crate) fn cargo_build(&self, package: &str) -> Result<()> {
        let root: &Path = self.sandbox.root();
        let status = Command::new("cargo")
            .args(["build", "--quiet", "--package", package])
            .arg("--target-dir")
            .arg(root.join("target"))
            .current_dir(root)
            .stdin(Stdio::null())
            .status()?;
        ensure!(status.success(), "`cargo build` in {} failed: {status}", root.display());
        Ok(())
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The text that an edit replaces.
const GREETING: &str = "\"Hello, {name}!\"";

/// Writes a package with the name of its plugin, and returns its folder.
fn write_package(sandbox: &Sandbox, name: &str, dependencies: &str) -> Result<PathBuf> {
    let root = sandbox.plugins_dir().join(name);
    fs::create_dir_all(root.join("src"))?;
    fs::write(root.join("plugin.toml"), format!("id = \"dev.replug.{name}\"\n"))?;
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nreplug-api.workspace = true\nreplug-interfaces.workspace = true\n{dependencies}"
    );
    fs::write(root.join("Cargo.toml"), manifest)?;
    Ok(root)
}

fn add_middle(sandbox: &Sandbox) -> Result<PathBuf> {
    let dependencies = "regex.workspace = true\nserde.workspace = true\nserde_json.workspace = true\n\
                        tokio = { version = \"1\", features = [\"rt\", \"sync\", \"time\"] }\n";
    let file = write_package(sandbox, "middle", dependencies)?.join("src/lib.rs");
    fs::write(&file, MIDDLE)?;
    Ok(file)
}

const MIDDLE: &str = r#"//! Greets the visitors of a guest book.

use regex::Regex;
use replug_api::prelude::*;
use replug_interfaces::Greeter;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use tokio::{runtime, sync::oneshot, time::timeout};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Visitor {
    name: String,
    #[serde(default)]
    visits: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Tag>,
    notes: BTreeMap<String, Option<String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Tag {
    New,
    Regular { since: u32 },
    Guest { of: String },
}

pub struct Middle {
    word: Regex,
    runtime: runtime::Runtime,
}

impl Plugin for Middle {
    type Config = ();
    type State = ();

    fn init(_: &Context, (): ()) -> Result<Self, PluginError> {
        let runtime = runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| PluginError::new("runtime", error.to_string()))?;
        let word = Regex::new(r"\b\w+\b").map_err(|error| PluginError::new("word", error.to_string()))?;
        Ok(Self { word, runtime })
    }
}

impl Middle {
    fn visit(&self, name: &str) -> Result<Visitor, serde_json::Error> {
        let tags = vec![Tag::New, Tag::Regular { since: 2020 }, Tag::Guest { of: name.to_owned() }];
        let notes = BTreeMap::from([("first".to_owned(), None), ("last".to_owned(), Some(name.to_owned()))]);
        let text = serde_json::to_string(&Visitor { name: name.to_owned(), visits: 1, tags, notes })?;
        serde_json::from_str(&text)
    }
}

impl Greeter for Middle {
    fn greet(&self, name: &str) -> String {
        let Ok(visitor) = self.visit(name) else { return String::new() };
        let name = self.word.find(&visitor.name).map_or("nobody", |found| found.as_str());
        let greeting = format!("Hello, {name}!");
        self.runtime.block_on(async {
            let (send, receive) = oneshot::channel();
            tokio::task::LocalSet::new()
                .run_until(async {
                    tokio::task::spawn_local(async move { send.send(greeting) });
                    timeout(Duration::from_secs(1), receive).await.ok().and_then(Result::ok).unwrap_or_default()
                })
                .await
        })
    }
}

replug_api::export!(Middle: Greeter);
"#;

/// The number of modules of the large plugin, with some 200 lines each.
const MODULES: usize = 100;

/// The number of types in each module.
const TYPES: usize = 8;

fn add_large(sandbox: &Sandbox) -> Result<PathBuf> {
    let source = write_package(sandbox, "large", "")?.join("src");
    let mut modules = String::new();
    for module in 0..MODULES {
        writeln!(modules, "mod part_{module};")?;
        fs::write(source.join(format!("part_{module}.rs")), part(module)?)?;
    }
    let sums: Vec<_> = (0..MODULES).map(|module| format!("part_{module}::total(length)")).collect();
    let root = format!(
        "//! Greets, after much work.\n\n{modules}\nuse replug_api::prelude::*;\nuse replug_interfaces::Greeter;\n\n\
         pub struct Large;\n\nimpl Plugin for Large {{\n    type Config = ();\n    type State = ();\n\n    \
         fn init(_: &Context, (): ()) -> Result<Self, PluginError> {{\n        Ok(Self)\n    }}\n}}\n\n\
         impl Greeter for Large {{\n    fn greet(&self, name: &str) -> String {{\n        \
         let length = name.len() as u64;\n        let totals = [\n            {},\n        ];\n        \
         if totals.iter().sum::<f64>() < 0.0 {{\n            return String::new();\n        }}\n        \
         part_{}::greeting(name)\n    }}\n}}\n\nreplug_api::export!(Large: Greeter);\n",
        sums.join(",\n            "),
        MODULES / 2
    );
    fs::write(source.join("lib.rs"), root)?;
    Ok(source.join(format!("part_{}.rs", MODULES / 2)))
}

/// A module of the large plugin.
fn part(module: usize) -> Result<String> {
    let mut text = format!("//! Part {module}.\n\n");
    for number in 0..TYPES {
        text += &TYPE.replace("NUMBER", &number.to_string());
    }
    let totals: Vec<_> = (0..TYPES).map(|number| format!("Item{number}::total(length, 0.1)")).collect();
    writeln!(text, "pub fn total(length: u64) -> f64 {{\n    [{}].iter().sum()\n}}\n", totals.join(", "))?;
    if module == MODULES / 2 {
        writeln!(text, "pub fn greeting(name: &str) -> String {{\n    format!({GREETING})\n}}")?;
    }
    Ok(text)
}

const TYPE: &str = r#"#[derive(Clone, Debug, PartialEq)]
pub struct ItemNUMBER {
    id: u64,
    name: String,
    tags: Vec<String>,
}

impl ItemNUMBER {
    fn new(id: u64) -> Self {
        Self { id, name: format!("item {id}"), tags: vec!["new".to_owned()] }
    }

    fn price(&self, rate: f64) -> f64 {
        match self.tags.len() {
            0 => 0.0,
            tags => (self.id as f64 + self.name.len() as f64 * NUMBER.0) * rate * tags as f64,
        }
    }

    fn total(length: u64, rate: f64) -> f64 {
        (0..length).map(Self::new).map(|item| item.price(rate)).sum()
    }
}

"#;
