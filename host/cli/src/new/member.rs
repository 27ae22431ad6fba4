//! What a new package is to the cargo workspace around it. Cargo itself says so, which knows globs, exclusions and
//! `package.workspace`; where it misses the package among the members, it is added, as `cargo new` does.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};
use toml_edit::{Array, DocumentMut, Item, Table, Value};

/// What a new package is.
#[derive(Debug)]
pub(super) enum Membership {
    /// A workspace of its own.
    Own,
    /// A member of this workspace, as that says already.
    Member,
    /// A member since it was added to this Cargo.toml under this name.
    Added { file: PathBuf, name: String },
    /// To be added by hand.
    Missing { file: PathBuf, name: String, reason: String },
    /// Cargo says something else.
    Unknown { reason: String },
}

impl Membership {
    /// Asks cargo, and adds the package to the workspace that misses it.
    pub(super) fn of(folder: &Path) -> Self {
        let refused = match ask(folder) {
            Ok(found) => return found,
            Err(refused) => refused,
        };
        let Some(file) = missed_by(&refused) else { return Self::Unknown { reason: refused } };
        let Some(name) = name_in(&file, folder) else { return Self::Unknown { reason: refused } };
        let before = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => return Self::Missing { file, name, reason: error.to_string() },
        };
        let added =
            add(&before, &name).and_then(|text| fs::write(&file, text).map_err(|error| error.to_string()));
        match added.and_then(|()| ask(folder)) {
            Ok(_) => Self::Added { file, name },
            Err(reason) => {
                // As it was, it was at least a workspace.
                let _ = fs::write(&file, before);
                Self::Missing { file, name, reason }
            }
        }
    }
}

/// Has cargo read the package. The error is what it says.
fn ask(folder: &Path) -> Result<Membership, String> {
    // Below it, cargo looks for its configuration: a relative path would be another from there.
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut cargo = Command::new("cargo");
    cargo.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
        "--color",
        "never",
        "--manifest-path",
    ]);
    let output = cargo.arg(folder.join("Cargo.toml")).current_dir(&folder).output();
    let output = output.map_err(|error: io::Error| format!("cargo cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo's metadata cannot be read: {error}"))?;
    let root = metadata["workspace_root"].as_str().map(Path::new);
    let is_own = root.and_then(|root| root.canonicalize().ok()) == Some(folder);
    Ok(if is_own { Membership::Own } else { Membership::Member })
}

/// The Cargo.toml of the workspace in which the package lies, and is no member.
fn missed_by(refused: &str) -> Option<PathBuf> {
    let is_missed = refused.contains("believes it's in a workspace when it's not");
    let workspace = refused.lines().find_map(|line| line.strip_prefix("workspace:"));
    workspace.filter(|_| is_missed).map(|path| PathBuf::from(path.trim()))
}

/// The package as a workspace names it: by its path from the workspace's folder.
fn name_in(file: &Path, folder: &Path) -> Option<String> {
    let root = file.parent()?.canonicalize().ok()?;
    let folder = folder.canonicalize().ok()?;
    folder.strip_prefix(root).ok()?.to_str().map(str::to_owned)
}

/// The text of a Cargo.toml with one more member, and else as it was.
fn add(text: &str, name: &str) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let workspace = document.entry("workspace").or_insert_with(|| Item::Table(Table::new()));
    let workspace = workspace.as_table_like_mut().ok_or("`workspace` is no table")?;
    let members = workspace.entry("members").or_insert_with(|| Item::Value(Value::Array(Array::new())));
    let members = members.as_array_mut().ok_or("`workspace.members` is no array")?;
    let mut member = Value::from(name);
    // As the last one stands: on a line of its own, or behind a comma.
    let like = members.iter().last().and_then(|last| last.decor().prefix()?.as_str()).map(str::to_owned);
    match like {
        Some(prefix) if members.len() > 1 || prefix.contains('\n') => member.decor_mut().set_prefix(prefix),
        Some(_) => member.decor_mut().set_prefix(" "),
        None => {}
    }
    members.push_formatted(member);
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_added_in_the_form_of_those_before_it() {
        for (before, after) in [
            ("[workspace]\nmembers = [\"a\"]\n", "[workspace]\nmembers = [\"a\", \"p/x\"]\n"),
            (
                "[workspace]\nmembers = [\"a\", \"b\"] # all\n",
                "[workspace]\nmembers = [\"a\", \"b\", \"p/x\"] # all\n",
            ),
            (
                "[workspace]\nmembers = [\n    \"a\",\n    \"b\",\n]\nresolver = \"3\"\n",
                "[workspace]\nmembers = [\n    \"a\",\n    \"b\",\n    \"p/x\",\n]\nresolver = \"3\"\n",
            ),
            ("[workspace]\nmembers = []\n", "[workspace]\nmembers = [\"p/x\"]\n"),
            (
                "[package]\nname = \"app\"\n\n[workspace]\n",
                "[package]\nname = \"app\"\n\n[workspace]\nmembers = [\"p/x\"]\n",
            ),
            ("workspace = { members = [\"a\"] }\n", "workspace = { members = [\"a\", \"p/x\"] }\n"),
        ] {
            assert_eq!(add(before, "p/x").as_deref(), Ok(after));
        }
        assert!(add("[workspace]\nmembers = \"a\"\n", "p/x").is_err());
        assert!(add("[workspace\n", "p/x").is_err());
    }

    #[test]
    fn what_cargo_says_of_a_package_that_a_workspace_misses_is_understood() {
        let refused = "error: current package believes it's in a workspace when it's not:\ncurrent:   /w/p/x/Cargo.toml\n\
                       workspace: /w/Cargo.toml\n\nthis may be fixable by adding `p/x` to the `workspace.members` array";
        assert_eq!(missed_by(refused), Some("/w/Cargo.toml".into()));
        assert_eq!(missed_by("error: failed to parse manifest\nworkspace: no"), None);
    }
}
