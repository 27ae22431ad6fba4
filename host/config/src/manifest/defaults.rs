//! Defaults for keys that manifests omit: `[defaults.limits]` and `[defaults.reload]` of a host's configuration.

use super::{
    Discovery, Manifest, ManifestError,
    discover::{self, Served},
    fields::Fields,
    keys::reload,
    process::{self, LaneKind, Mode, ProcessSpec},
    read::{read_over, read_text_over},
    tree::{self, Entry, Node, Value},
};
use std::{path::Path, str::FromStr};

/// The tables of a manifest that may have defaults.
pub(crate) const TABLES: &[&str] = &["limits", "reload"];

/// Defaults for keys that manifests omit. Empty by default.
///
/// A program can parse defaults from a TOML text with the tables `[limits]` and `[reload]`. A host's configuration can
/// set them, too.
///
/// ```
/// # use replug_config as replug;
/// use replug::manifest::Defaults;
///
/// let defaults: Defaults = "[reload]\ndrain_timeout = \"10s\"\n[limits]\nmemory = \"1GiB\"".parse()?;
/// # Ok::<_, replug::manifest::ManifestError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    tables: Vec<Entry>,
    /// The mode of every plugin, whatever its manifest says.
    mode: Option<Mode>,
    /// The kind of lane of every plugin, whatever its manifest says.
    lane: Option<LaneKind>,
}

impl Defaults {
    /// Reads the tables from a tree, and checks that all their values are valid.
    pub(crate) fn of(file: &Path, node: &Node) -> Result<Self, ManifestError> {
        let mut node = node.clone();
        spell_out(&mut node, &["reload"]);
        let top = Fields::open(file, "", &node, TABLES)?;
        reload(&top, file)?;
        process::limits(file, top.node("limits"))?;
        let Value::Table(tables) = node.value else { return Ok(Self::default()) };
        Ok(Self { tables, ..Self::default() })
    }

    /// The same defaults, and every plugin runs in this mode, whatever its manifest says. For a program that compares
    /// modes, such as `replug bench`.
    #[must_use]
    pub fn in_mode(self, mode: Mode) -> Self {
        Self { mode: Some(mode), ..self }
    }

    /// The same defaults, and every plugin in a child process uses this kind of lane, whatever its manifest says. For a
    /// program that compares kinds of lanes, such as `replug bench`.
    #[must_use]
    pub fn over_lane(self, lane: LaneKind) -> Self {
        Self { lane: Some(lane), ..self }
    }

    /// Reads the manifest in `folder`, with these defaults.
    ///
    /// # Errors
    ///
    /// * [`ManifestError::Missing`], [`ManifestError::Both`]: there is not exactly one manifest.
    /// * [`ManifestError::Unreadable`], [`ManifestError::NotAText`], [`ManifestError::NotUtf8`],
    ///   [`ManifestError::Empty`], [`ManifestError::Syntax`]: the manifest is not a TOML or JSON text.
    /// * The other variants: a key in the manifest is unknown or missing, or has an invalid value.
    pub fn read(&self, folder: &Path) -> Result<Manifest, ManifestError> {
        read_over(self, folder)
    }

    /// Reads a manifest from `text` instead of the content of `file`, with the rules of [`Defaults::read`].
    ///
    /// # Errors
    ///
    /// The errors of [`Defaults::read`] about the text of a manifest.
    pub fn read_kept(&self, file: &Path, text: &str) -> Result<Manifest, ManifestError> {
        read_text_over(self, file, text)
    }

    /// Finds the plugins in the direct subfolders of `plugins_dir`, as [`discover`](super::discover) does, with these
    /// defaults for their manifests.
    ///
    /// # Errors
    ///
    /// The errors of [`discover`](super::discover).
    pub fn discover(&self, plugins_dir: &Path) -> Result<Discovery, ManifestError> {
        self.discover_beside(plugins_dir, &Served::default())
    }

    /// Like [`Defaults::discover`], for a host that already serves plugins. Of two plugins with the same id, the plugin
    /// that the host serves is kept, and the other plugin is reported as a problem.
    ///
    /// # Errors
    ///
    /// The errors of [`discover`](super::discover).
    pub fn discover_beside(&self, plugins_dir: &Path, served: &Served) -> Result<Discovery, ManifestError> {
        discover::discover_over(self, plugins_dir, served)
    }

    /// Adds these defaults to a manifest's tree.
    pub(super) fn under(&self, mut tree: Node) -> Node {
        spell_out(&mut tree, &["reload"]);
        complete(&mut tree, &self.tables);
        tree
    }

    /// The manifest, with the mode and the kind of lane that these defaults enforce.
    pub(super) fn enforce(&self, manifest: Manifest) -> Manifest {
        let lane = self.lane.unwrap_or(manifest.process.lane);
        Manifest {
            mode: self.mode.unwrap_or(manifest.mode),
            process: ProcessSpec { lane, ..manifest.process },
            ..manifest
        }
    }

    /// The values with their keys, such as `limits.memory`.
    pub(crate) fn values(&self) -> Vec<(String, serde_json::Value)> {
        let mut values = Vec::new();
        flatten("", &self.tables, &mut values);
        values
    }
}

impl PartialEq for Defaults {
    /// Whether the values are equal. Their order and lines are ignored.
    fn eq(&self, other: &Self) -> bool {
        let sorted = |defaults: &Self| {
            let mut values = defaults.values();
            values.sort_by(|(a, _), (b, _)| a.cmp(b));
            values
        };
        sorted(self) == sorted(other) && (self.mode, self.lane) == (other.mode, other.lane)
    }
}

impl FromStr for Defaults {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, ManifestError> {
        let nowhere = Path::new("defaults");
        Self::of(nowhere, &tree::from_toml(nowhere, text)?)
    }
}

/// If the value of the key `confirm` is a string, replaces it with the equivalent table, which has the key `window`. A
/// table can be merged with another table key by key. `way` is the path of keys from `node` to the table that contains
/// `confirm`.
pub(crate) fn spell_out(node: &mut Node, way: &[&str]) {
    let Value::Table(entries) = &mut node.value else { return };
    let key = way.first().copied().unwrap_or("confirm");
    for entry in entries.iter_mut().filter(|entry| entry.key == key) {
        match (way.split_first(), &entry.node.value) {
            (Some((_, rest)), _) => spell_out(&mut entry.node, rest),
            (None, Value::String(_)) => {
                let window = Entry { key: "window".into(), line: entry.line, node: entry.node.clone() };
                entry.node.value = Value::Table(vec![window]);
            }
            (None, _) => {}
        }
    }
}

/// Adds the missing keys of a table and of its nested tables. Values of a wrong type are ignored here, and rejected
/// when the manifest is read.
fn complete(node: &mut Node, defaults: &[Entry]) {
    let Value::Table(entries) = &mut node.value else { return };
    for default in defaults {
        match (entries.iter_mut().find(|entry| entry.key == default.key), &default.node.value) {
            (None, _) => entries.push(default.clone()),
            (Some(given), Value::Table(more)) => complete(&mut given.node, more),
            (Some(_), _) => {}
        }
    }
}

fn flatten(prefix: &str, entries: &[Entry], into: &mut Vec<(String, serde_json::Value)>) {
    for entry in entries {
        let key = format!("{prefix}{}", entry.key);
        match &entry.node.value {
            Value::Table(inner) => flatten(&format!("{key}."), inner, into),
            // `of` has rejected values that JSON cannot represent.
            _ => into.push((key, entry.node.to_json().unwrap_or_default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, time::Duration};

    #[test]
    fn a_manifest_overrides_the_defaults_key_by_key() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = "id = 'a.b'\n[reload]\ndrain_timeout = '1s'\nconfirm = { min_calls = 3 }\n";
        fs::write(folder.path().join("plugin.toml"), manifest).unwrap();
        let defaults: Defaults = "[reload]\ndrain_timeout = '9s'\ncheckpoint = '7s'\n\
             confirm = { window = '20s', min_calls = 99 }\n[limits]\nopen_files = 64"
            .parse()
            .unwrap();
        let read = defaults.read(folder.path()).unwrap();
        assert_eq!(read.reload.drain_timeout, Duration::from_secs(1));
        assert_eq!(read.reload.checkpoint, Some(Duration::from_secs(7)));
        let confirm = read.reload.confirm.unwrap();
        assert_eq!((confirm.window, confirm.min_calls), (Duration::from_secs(20), 3));
        assert_eq!(read.limits.kernel.open_files, Some(64));
    }

    #[test]
    fn a_given_mode_and_lane_replace_those_of_each_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let in_mode = Defaults::default().in_mode(Mode::Process);
        let defaults = in_mode.clone().over_lane(LaneKind::Socket);
        for manifest in ["id = 'a.b'", "id = 'a.b'\nmode = 'in-process'\nprocess.lane = 'shared-memory'"] {
            fs::write(folder.path().join("plugin.toml"), manifest).unwrap();
            let read = defaults.read(folder.path()).unwrap();
            assert_eq!((read.mode, read.process.lane), (Mode::Process, LaneKind::Socket), "{manifest}");
            let read = in_mode.read(folder.path()).unwrap();
            assert_eq!((read.mode, read.process.lane), (Mode::Process, LaneKind::SharedMemory), "{manifest}");
        }
        assert_ne!(defaults, in_mode);
        assert_ne!(in_mode, Defaults::default());
    }

    #[test]
    fn a_confirm_window_and_other_confirm_keys_merge_with_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let confirm = |defaults: &str, manifest: &str| {
            let manifest = format!("id = 'a.b'\n[reload]\nconfirm = {manifest}\n");
            fs::write(folder.path().join("plugin.toml"), manifest).unwrap();
            let defaults: Defaults = format!("[reload]\nconfirm = {defaults}").parse().unwrap();
            let confirm = defaults.read(folder.path()).unwrap().reload.confirm.unwrap();
            (confirm.window.as_secs(), confirm.min_calls)
        };
        assert_eq!(confirm("{ min_calls = 5 }", "'30s'"), (30, 5));
        assert_eq!(confirm("'30s'", "{ min_calls = 5 }"), (30, 5));
        assert_eq!(confirm("'30s'", "'20s'"), (20, 10));
    }

    #[test]
    fn invalid_defaults_are_rejected_and_equality_ignores_positions() {
        for (text, expected) in [
            ("[reload]\ndrain_timout = '1s'", "did you mean `drain_timeout`?"),
            ("[limits]\nmemory = 'much'", "is not a size"),
            ("[reload]\ncheckpoint = '400000000000years'", "is too long; write at most \"1year\""),
            ("[build]\nprofile = 'dev'", "unknown key `build`"),
        ] {
            let error = text.parse::<Defaults>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let one: Defaults = "[limits]\nprocesses = 10\n[reload]\ncheckpoint = '1s'".parse().unwrap();
        let other: Defaults =
            "\n\nreload = { checkpoint = '1s' }\nlimits = { processes = 10 }".parse().unwrap();
        assert_eq!(one, other);
        assert_ne!(one, Defaults::default());
    }
}
