//! `replug new`: a plugin that builds, with its test.

use super::{
    error::CliError,
    terminal::{self, DIM, GOOD, invocation, quoted},
};
use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Make a plugin that builds, with its test
///
/// Writes Cargo.toml, plugin.toml, src/lib.rs and .gitignore into a new folder, and says how to go on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug new my-plugin
  replug new my-plugin --dir plugins")]
pub(super) struct New {
    /// The name of the plugin and of its folder: a-z, 0-9 and `-`, beginning with a letter
    name: String,
    /// The folder to make the plugin's folder in [default: this one]
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
}

/// The files of a new plugin, with `@..@` to be filled in.
const TEMPLATE: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("plugin.toml", include_str!("template/plugin.toml.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    (".gitignore", "/target\n/.replug\n"),
];

/// What cargo refuses, and names that would hide a crate the plugin needs.
const TAKEN: [&str; 12] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "proc-macro",
    "replug-api",
    "replug-macros",
    "std",
    "test",
    "replug",
];

/// Rust's keywords, which no crate can be called.
const KEYWORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "union", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

impl New {
    pub(super) fn run(self) -> Result<(), CliError> {
        check(&self.name)?;
        let folder = self.dir.clone().unwrap_or_default().join(&self.name);
        self.write(&folder)?;
        let id = id(&self.name);
        let enter = quoted(&folder.to_string_lossy());
        let call = format!("{} dev --call {id} greet '{{\"name\":\"World\"}}'", invocation());
        terminal::print(&format!(
            "{GOOD}made{GOOD:#} {enter} {DIM}(id {id}){DIM:#}\n\n  cd {enter}\n  cargo test\n  {call}\n\n\
             {DIM}then edit src/lib.rs and save{DIM:#}"
        ))
    }

    fn write(&self, folder: &Path) -> Result<(), CliError> {
        if folder.symlink_metadata().is_ok() {
            return Err(CliError::Refused(format!(
                "{} is there already: choose another name, or remove it",
                folder.display()
            )));
        }
        let remedy = "choose a place that this user can write to with --dir";
        let source = folder.join("src");
        fs::create_dir_all(&source).map_err(CliError::io("cannot make", &source, remedy))?;
        let dependency = dependency();
        let words = [
            ("@name@", self.name.as_str()),
            ("@id@", &id(&self.name)),
            ("@title@", &title(&self.name)),
            ("@dependency@", &dependency),
        ];
        for (file, template) in TEMPLATE {
            let mut text =
                words.iter().fold(template.to_owned(), |text, (word, value)| text.replace(word, value));
            if file == "Cargo.toml" && is_inside_workspace(folder) {
                text.push_str(
                    "\n# The workspace of the folders above does not list this package.\n[workspace]\n",
                );
            }
            let path = folder.join(file);
            fs::write(&path, text).map_err(CliError::io("cannot write", &path, remedy))?;
        }
        Ok(())
    }
}

fn check(name: &str) -> Result<(), CliError> {
    let refused = |why: &str| {
        let better = better(name);
        Err(CliError::Usage(format!("`{name}` cannot be the name of a plugin: {why}; try `{better}`")))
    };
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.chars().all(legal) {
        return refused("it may have a-z, 0-9 and `-`");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.ends_with('-') {
        return refused("it must begin with a letter, and not end with `-`");
    }
    if name.len() > 64 {
        return refused("it is longer than 64 letters");
    }
    if KEYWORDS.contains(&name) || TAKEN.contains(&name) {
        return refused("it means something else to Rust or cargo");
    }
    Ok(())
}

/// A legal name that is near.
fn better(name: &str) -> String {
    let mut better = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => better.push(c),
            _ if better.ends_with('-') || better.is_empty() => {}
            _ => better.push('-'),
        }
    }
    better.truncate(48);
    let better = better.trim_end_matches('-');
    match better {
        "" => "my-plugin".into(),
        better if better.starts_with(|c: char| c.is_ascii_digit()) => format!("plugin-{better}"),
        better if KEYWORDS.contains(&better) || TAKEN.contains(&better) => format!("my-{better}"),
        better => better.into(),
    }
}

fn id(name: &str) -> String {
    format!("dev.example.{name}")
}

/// `My plugin` of `my-plugin`.
fn title(name: &str) -> String {
    let mut title = name.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

/// Where the plugin gets `replug-api` from: the checkout that this program was built from, as long as it is there.
fn dependency() -> String {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-api");
    match fs::canonicalize(checkout) {
        Ok(path) if path.join("Cargo.toml").is_file() => {
            // A JSON string is a TOML string too.
            format!("{{ path = {} }}", serde_json::Value::from(path.to_string_lossy()))
        }
        _ => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
    }
}

/// Whether a folder above would claim the package for its workspace.
fn is_inside_workspace(folder: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(folder) else { return false };
    let manifests = folder.ancestors().skip(1).map(|above| above.join("Cargo.toml"));
    manifests.filter_map(|file| fs::read_to_string(file).ok()).any(|text| {
        text.lines()
            .map(str::trim_start)
            .any(|line| line.starts_with("[workspace]") || line.starts_with("[workspace."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_is_answered_with_one_that_can() {
        for (wrong, right) in [
            ("My Plugin", "my-plugin"),
            ("my_plugin", "my-plugin"),
            ("9lives", "plugin-9lives"),
            ("../x", "x"),
            ("-x-", "x"),
            ("match", "my-match"),
            ("std", "my-std"),
            ("", "my-plugin"),
        ] {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.ends_with(&format!("try `{right}`")), "{error}");
            assert!(check(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn a_new_plugin_has_a_manifest_that_is_read_and_nothing_left_to_fill_in() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("my-plugin");
        let new = New { name: "my-plugin".into(), dir: None };
        new.write(&folder).unwrap();
        let manifest = replug::manifest::read(&folder).unwrap();
        assert_eq!((manifest.id.as_str(), manifest.name.as_str()), ("dev.example.my-plugin", "My plugin"));
        let cargo: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
        assert_eq!(cargo["package"]["name"].as_str(), Some("my-plugin"));
        assert!(!cargo.contains_key("workspace"));
        let source = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        assert!(source.starts_with("//! My plugin: ") && source.contains("\"Hello, {name}!\""), "{source}");
        let refused = new.write(&folder).unwrap_err().to_string();
        assert!(refused.contains("is there already"), "{refused}");
    }

    #[test]
    fn a_plugin_below_another_workspace_has_one_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
        let folder = dir.path().join("plugins/my-plugin");
        New { name: "my-plugin".into(), dir: None }.write(&folder).unwrap();
        let cargo: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
        assert!(cargo.contains_key("workspace"));
    }
}
