//! Makes a new package a member of the cargo workspace around it. `cargo metadata` reports whether the package is a
//! member, because only cargo evaluates globs, exclusions and `package.workspace`. If cargo reports that the package is
//! missing in `members`, this module adds it, as `cargo new` does.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};
use toml_edit::{Array, DocumentMut, Item, Table, Value};

/// The relation of a new package to the workspace around it.
#[derive(Debug)]
pub(super) enum Membership {
    /// The package is a workspace of its own.
    Own,
    /// The package was already a member of the workspace.
    Member,
    /// The package was added as `name` to the members in `file`, and is a member now.
    Added { file: PathBuf, name: String },
    /// The package could not be added for this reason. The user has to add `name` to the members in `file`.
    Missing { file: PathBuf, name: String, reason: String },
    /// Cargo reports an error other than a missing member.
    Unknown { reason: String },
}

impl Membership {
    /// Determines the relation with cargo, and adds the package to the workspace if it is missing.
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
                // The previous file is restored, because the workspace was valid with it.
                let _ = fs::write(&file, before);
                Self::Missing { file, name, reason }
            }
        }
    }
}

/// Runs `cargo metadata` for the package. The error is cargo's message.
fn ask(folder: &Path) -> Result<Membership, String> {
    // Cargo runs in this folder, so that it finds its configuration. A relative path would be wrong there.
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
    let output = output.map_err(|error: io::Error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cannot read cargo's metadata: {error}"))?;
    let root = metadata["workspace_root"].as_str().map(Path::new);
    let is_own = root.and_then(|root| root.canonicalize().ok()) == Some(folder);
    Ok(if is_own { Membership::Own } else { Membership::Member })
}

/// The Cargo.toml of the workspace that contains the package without listing it as a member.
fn missed_by(refused: &str) -> Option<PathBuf> {
    let is_missed = refused.contains("believes it's in a workspace when it's not");
    let workspace = refused.lines().find_map(|line| line.strip_prefix("workspace:"));
    workspace.filter(|_| is_missed).map(|path| PathBuf::from(path.trim()))
}

/// The name of the package in the workspace: its path from the workspace's folder.
fn name_in(file: &Path, folder: &Path) -> Option<String> {
    let root = file.parent()?.canonicalize().ok()?;
    let folder = folder.canonicalize().ok()?;
    folder.strip_prefix(root).ok()?.to_str().map(str::to_owned)
}

/// The text of a Cargo.toml, with the member `name` added and otherwise unchanged.
fn add(text: &str, name: &str) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let workspace = document.entry("workspace").or_insert_with(|| Item::Table(Table::new()));
    let workspace = workspace.as_table_like_mut().ok_or("`workspace` is not a table")?;
    let members = workspace.entry("members").or_insert_with(|| Item::Value(Value::Array(Array::new())));
    let members = members.as_array_mut().ok_or("`workspace.members` is not an array")?;
    let mut member = Value::from(name);
    // The member is formatted like the last one: on a line of its own, or after a comma.
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
    fn a_new_member_is_formatted_like_the_existing_members() {
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
    fn the_workspace_is_read_from_cargos_missing_member_error() {
        let refused = "error: current package believes it's in a workspace when it's not:\ncurrent:   /w/p/x/Cargo.toml\n\
                       workspace: /w/Cargo.toml\n\nthis may be fixable by adding `p/x` to the `workspace.members` array";
        assert_eq!(missed_by(refused), Some("/w/Cargo.toml".into()));
        assert_eq!(missed_by("error: failed to parse manifest\nworkspace: no"), None);
    }
}
