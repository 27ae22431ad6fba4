//! `replug new`: creates a plugin with a test. In a cargo workspace, the plugin becomes a member.

mod member;

use super::{
    error::CliError,
    here::is_in_served_folder,
    shell::{invocation, quoted},
    terminal::{self, DIM, GOOD, relative},
};
use clap::Args;
use member::Membership;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Create a plugin with a test
///
/// Writes Cargo.toml, plugin.toml, src/lib.rs and .gitignore into a new folder, and prints the next steps. In a cargo
/// workspace that does not exclude the folder, the plugin becomes a member: if no glob matches, it is added to
/// `members`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug new my-plugin
  replug new my-plugin --dir plugins")]
pub(super) struct New {
    /// The name of the plugin and of its folder: a-z, 0-9 and `-`, beginning with a letter
    name: String,
    /// The folder in which to create the plugin's folder [default: this one]
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
}

/// The files of a new plugin, with `@..@` as placeholders.
const TEMPLATE: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("plugin.toml", include_str!("template/plugin.toml.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    (".gitignore", "/target\n"),
];

/// An addition to the Cargo.toml of a plugin that is not a member of a workspace. Cargo ignores the profiles of
/// members.
const PROFILE: &str = "
# Line tables are enough for backtraces, and make every rebuild faster than full debug information.
[profile.dev]
debug = \"line-tables-only\"
";

/// Names that cargo rejects, and names of crates that the plugin needs.
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

/// Rust's keywords, which cannot be crate names.
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
        let membership = self.write(&folder)?;
        let id = id(&self.name);
        let enter = quoted(&folder.to_string_lossy());
        // A second host of the same plugins folder would be rejected. A running `replug dev` builds the new plugin, and a
        // running `replug run` does not.
        let (command, rest) = match is_in_served_folder(&folder) {
            true => ("call", "a running `replug dev` builds the plugin; edit src/lib.rs and save"),
            false => ("dev --call", "then edit src/lib.rs and save"),
        };
        let call = format!("{} {command} {id} greet '{{\"name\":\"World\"}}'", invocation());
        terminal::print(&format!(
            "{GOOD}created{GOOD:#} {enter} {DIM}(id {id}){DIM:#}\n\n  cd {enter}\n  cargo test\n  {call}\n\n\
             {DIM}{rest}{DIM:#}"
        ))?;
        match membership {
            Membership::Own | Membership::Member => {}
            Membership::Added { file, name } => {
                terminal::note(&format!("added `{name}` to `workspace.members` in {}", relative(&file)));
            }
            Membership::Missing { file, name, reason } => terminal::warn(&format!(
                "`{name}` cannot be added to the workspace: {reason}\n  add \"{name}\" to `workspace.members` in {}",
                relative(&file)
            )),
            Membership::Unknown { reason } => {
                terminal::warn(&format!("cargo does not accept the new package yet: {reason}"));
            }
        }
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<Membership, CliError> {
        if folder.symlink_metadata().is_ok() {
            return Err(CliError::Refused(format!(
                "{} exists already: choose another name, or remove it",
                folder.display()
            )));
        }
        let remedy = "choose a writable folder with --dir";
        let source = folder.join("src");
        fs::create_dir_all(&source).map_err(CliError::io("cannot create", &source, remedy))?;
        let dependency =
            dependency(&folder.canonicalize().map_err(CliError::io("cannot open", folder, remedy))?);
        let words = [
            ("@name@", self.name.as_str()),
            ("@id@", &id(&self.name)),
            ("@title@", &title(&self.name)),
            ("@dependency@", &dependency),
        ];
        for (file, template) in TEMPLATE {
            let text =
                words.iter().fold(template.to_owned(), |text, (word, value)| text.replace(word, value));
            let path = folder.join(file);
            fs::write(&path, text).map_err(CliError::io("cannot write", &path, remedy))?;
        }
        let membership = Membership::of(folder);
        if let Membership::Own = membership {
            let path = folder.join("Cargo.toml");
            let write = |mut file: fs::File| file.write_all(PROFILE.as_bytes());
            let written = fs::OpenOptions::new().append(true).open(&path).and_then(write);
            written.map_err(CliError::io("cannot write", &path, remedy))?;
        }
        Ok(membership)
    }
}

fn check(name: &str) -> Result<(), CliError> {
    let refused = |why: &str| {
        let better = better(name);
        Err(CliError::Usage(format!("`{name}` cannot be the name of a plugin: {why}; try `{better}`")))
    };
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.chars().all(legal) {
        return refused("it may contain a-z, 0-9 and `-`");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.ends_with('-') {
        return refused("it must begin with a letter, and not end with `-`");
    }
    if name.len() > 64 {
        return refused("it is longer than 64 characters");
    }
    if KEYWORDS.contains(&name) || TAKEN.contains(&name) {
        return refused("it is reserved by Rust, cargo or replug");
    }
    Ok(())
}

/// A similar name that is allowed.
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

/// `My plugin` for `my-plugin`.
fn title(name: &str) -> String {
    let mut title = name.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

/// The dependency of the plugin in `folder` on `replug-api`, as TOML: the path in the checkout from which this program
/// was built, if that still exists, or else the version. The path is relative if the plugin is in the same checkout,
/// so that it is right in every clone.
fn dependency(folder: &Path) -> String {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match fs::canonicalize(checkout) {
        Ok(checkout) if checkout.join("plugin-api/Cargo.toml").is_file() => {
            let up =
                folder.strip_prefix(&checkout).map(|below| below.iter().map(|_| "..").collect::<PathBuf>());
            let path = up.unwrap_or(checkout).join("plugin-api");
            // A JSON string is also a TOML string.
            format!("{{ path = {} }}", serde_json::Value::from(path.to_string_lossy()))
        }
        _ => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_name_is_rejected_with_a_valid_suggestion() {
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
    fn a_new_plugin_has_a_valid_manifest_and_no_placeholders() {
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
        assert!(refused.contains("exists already"), "{refused}");
    }

    #[test]
    fn the_path_of_the_api_is_relative_in_this_checkout_only() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
        assert_eq!(dependency(&checkout.join("plugins/x")), "{ path = \"../../plugin-api\" }");
        let absolute = format!("{{ path = {:?} }}", checkout.join("plugin-api"));
        assert_eq!(dependency(Path::new("/elsewhere/x")), absolute);
    }

    /// Creates a plugin in `plugins` of a workspace. Returns its Cargo.toml, the Cargo.toml of the workspace, and its
    /// membership.
    fn made_in(workspace: &str) -> (toml::Table, String, Membership) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("Cargo.toml");
        fs::write(&root, workspace).unwrap();
        let folder = dir.path().join("plugins/my-plugin");
        let membership = New { name: "my-plugin".into(), dir: None }.write(&folder).unwrap();
        let cargo = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
        (cargo, fs::read_to_string(root).unwrap(), membership)
    }

    #[test]
    fn a_plugin_in_a_workspace_becomes_a_member() {
        let glob = "[workspace]\nmembers = [\"plugins/*\"]\nresolver = \"3\"\n";
        let (cargo, root, membership) = made_in(glob);
        assert!(matches!(membership, Membership::Member), "{membership:?}");
        assert_eq!(root, glob);
        assert!(!cargo.contains_key("workspace") && !cargo.contains_key("profile"), "{cargo}");

        let (cargo, root, membership) = made_in("[workspace]\nmembers = []\nresolver = \"3\"\n");
        assert!(
            matches!(&membership, Membership::Added { name, .. } if name == "plugins/my-plugin"),
            "{membership:?}"
        );
        assert_eq!(root, "[workspace]\nmembers = [\"plugins/my-plugin\"]\nresolver = \"3\"\n");
        assert!(!cargo.contains_key("workspace") && !cargo.contains_key("profile"), "{cargo}");
    }

    #[test]
    fn a_plugin_that_a_workspace_excludes_is_not_added() {
        let excludes = "[workspace]\nmembers = []\nexclude = [\"plugins\"]\n";
        let (cargo, root, membership) = made_in(excludes);
        assert!(matches!(membership, Membership::Own), "{membership:?}");
        assert_eq!(root, excludes);
        assert!(!cargo.contains_key("workspace") && cargo.contains_key("profile"), "{cargo}");
    }

    #[test]
    fn a_workspace_that_cargo_cannot_read_is_not_changed() {
        let broken = "[workspace]\nmembers = [\"gone\"]\n";
        let (_, root, membership) = made_in(broken);
        assert!(
            matches!(&membership, Membership::Unknown { reason } if reason.contains("gone")),
            "{membership:?}"
        );
        assert_eq!(root, broken);
    }
}
