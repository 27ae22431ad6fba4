//! Tests of manifests: valid manifests are read correctly, and invalid manifests are rejected with a helpful message.

mod discover;

use super::{
    keys::{BUILD_KEYS, KEYS},
    process::PROCESS_KEYS,
    *,
};
use std::{fs, path::Path, time::Duration};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(name: &str, content: impl AsRef<[u8]>) -> Self {
        let folder = Self::new();
        folder.write(name, content);
        folder
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self) -> Result<Manifest, ManifestError> {
        read(self.0.path())
    }
}

/// The error message for a `plugin.toml` with this content, without the path before the file's name.
fn refusal(content: impl AsRef<[u8]>) -> String {
    let folder = Folder::with("plugin.toml", content);
    let error = folder.read().unwrap_err();
    assert!(error.path().starts_with(fs::canonicalize(folder.0.path()).unwrap()), "{error}");
    let message = error.to_string();
    message[message.find("plugin.toml").unwrap_or(0)..].to_owned()
}

const FULL_TOML: &str = r#"
id = "dev.example.greeter"
name = "Greeter"
version = "1.2.3-beta.1"
author = "A. Uthor"
description = "Greets."
type = "handler"
auto_start = false
mode = "in-process"
binary = "./out/greeter.so"

[build]
script = "scripts/build.sh"
features = ["loud"]
profile = "release"
timeout = "2m"

[config]
greeting = "Hello"
limits = { most = 3, ratio = 0.5 }

[reload]
drain_timeout = "1s 500ms"
confirm = { window = "20s", max_error_rate = 1, min_calls = 0 }
unload = "verified"
"#;

const FULL_JSON: &str = r#"{
  "id": "dev.example.greeter", "name": "Greeter", "version": "1.2.3-beta.1", "author": "A. Uthor",
  "description": "Greets.", "type": "handler", "auto_start": false, "mode": "in-process",
  "binary": "./out/greeter.so",
  "build": { "script": "scripts/build.sh", "features": ["loud"], "profile": "release", "timeout": "2m" },
  "config": { "greeting": "Hello", "limits": { "most": 3, "ratio": 0.5 } },
  "reload": { "drain_timeout": "1s 500ms", "unload": "verified",
    "confirm": { "window": "20s", "max_error_rate": 1, "min_calls": 0 } }
}"#;

#[test]
fn stop_first_defaults_to_the_load_trial() {
    let read = |reload: &str| {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("id = \"dev.example.x\"\n[reload]\n{reload}");
        fs::write(dir.path().join("plugin.toml"), text).unwrap();
        Defaults::default().read(dir.path())
    };
    assert_eq!(read("").unwrap().reload.order, Order::StartFirst);
    let stop_first = read("order = \"stop-first\"").unwrap().reload;
    assert_eq!((stop_first.order, stop_first.preflight), (Order::StopFirst, Trial::Load));
    let tried = read("order = \"stop-first\"\npreflight = \"full\"").unwrap().reload;
    assert_eq!(tried.preflight, Trial::Full);
    let error = read("order = \"stop-first\"\nunload = \"verified\"").unwrap_err().to_string();
    assert!(error.contains("`reload.unload`") && error.contains("calls would wait meanwhile"), "{error}");
    let error = read("order = \"stopfirst\"").unwrap_err().to_string();
    assert!(error.contains("did you mean `stop-first`?"), "{error}");
}

#[test]
fn every_key_is_read_and_toml_and_json_give_equal_manifests() {
    let toml = Folder::with("plugin.toml", FULL_TOML).read().unwrap();
    assert_eq!(toml.id.as_str(), "dev.example.greeter");
    assert_eq!((toml.name.as_str(), toml.version.as_str()), ("Greeter", "1.2.3-beta.1"));
    assert_eq!((toml.author.as_deref(), toml.description.as_deref()), (Some("A. Uthor"), Some("Greets.")));
    assert_eq!((toml.kind, toml.auto_start, toml.mode), (Kind::Handler, false, Mode::InProcess));
    assert_eq!(toml.binary.as_deref(), Some(Path::new("out/greeter.so")));
    assert_eq!(toml.build.script.as_deref(), Some(Path::new("scripts/build.sh")));
    assert_eq!(
        (toml.build.features.as_slice(), toml.build.profile.as_str()),
        (&["loud".into()][..], "release")
    );
    assert_eq!(toml.build.timeout, Duration::from_secs(120));
    assert_eq!(toml.config["limits"]["most"], 3);
    assert_eq!(toml.reload.drain_timeout, Duration::from_millis(1500));
    let confirm = Confirm {
        window: Duration::from_secs(20),
        max_error_rate: 1.0,
        errors: OwnErrors::Ignored,
        min_calls: 0,
    };
    assert_eq!((toml.reload.confirm, toml.reload.unload), (Some(confirm), Unload::Verified));

    let json = Folder::with("plugin.json", FULL_JSON).read().unwrap();
    assert_eq!(Manifest { file: json.file.clone(), root: json.root.clone(), ..toml }, json);
}

#[test]
fn a_manifest_needs_only_an_id_and_other_keys_have_defaults() {
    let manifest = Folder::with("plugin.toml", "id = 'dev.example.greeter'").read().unwrap();
    assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("greeter", "0.0.0"));
    assert_eq!((manifest.kind, manifest.auto_start), (Kind::Provider, true));
    assert_eq!((manifest.build, manifest.reload), (BuildSpec::default(), ReloadSpec::default()));
    assert!(manifest.config.is_empty() && manifest.binary.is_none());
    assert_eq!(manifest.file, manifest.root.join("plugin.toml"));
}

#[test]
fn a_duration_as_confirm_sets_the_window() {
    let manifest = Folder::with("plugin.toml", "id = 'a.b'\nreload = { confirm = '3s' }").read().unwrap();
    let expected = Confirm { window: Duration::from_secs(3), ..Confirm::default() };
    assert_eq!(manifest.reload.confirm, Some(expected));
}

#[test]
fn an_unknown_key_is_rejected_with_its_line_and_a_suggestion() {
    let message = refusal("id = 'a.b'\n\n[reload]\ndrain_timout = '5s'\n");
    assert!(message.starts_with("plugin.toml:4: unknown key `reload.drain_timout`"), "{message}");
    assert!(message.contains("did you mean `drain_timeout`?"), "{message}");
    let message = refusal("id = 'a.b'\nauto-start = true\n");
    assert!(message.contains(":2: unknown key `auto-start`; did you mean `auto_start`?"), "{message}");
    let message = refusal("id = 'a.b'\nxyzzy = true\n");
    assert!(message.contains("unknown key `xyzzy`; known: `id`, `name`"), "{message}");
    let message = refusal("id = 'a.b'\n[reload.confirm]\nwindw = '5s'\n");
    assert!(message.contains(":3: unknown key `reload.confirm.windw`; did you mean `window`?"), "{message}");
}

#[test]
fn an_unknown_key_in_json_is_rejected_with_its_line() {
    let folder = Folder::with("plugin.json", "{\n \"id\": \"a.b\",\n \"build\": {\n  \"pakage\": \"x\" } }");
    let message = folder.read().unwrap_err().to_string();
    assert!(
        message.contains("plugin.json:4: unknown key `build.pakage`; did you mean `package`?"),
        "{message}"
    );
}

#[test]
fn a_wrong_type_is_rejected_with_key_line_and_expected_type() {
    for (content, expected) in [
        ("id = 3", "plugin.toml:1: `id` is an integer, but must be a string"),
        ("id = 'a.b'\nauto_start = 'yes'", ":2: `auto_start` is a string, but must be true or false"),
        ("id = 'a.b'\nbuild = 'cargo'", ":2: `build` is a string, but must be a table"),
        ("id = 'a.b'\nconfig = [1]", ":2: `config` is a list, but must be a table"),
        (
            "id = 'a.b'\n[build]\nfeatures = ['a', 1]",
            ":3: `build.features` is a list with a value of a different",
        ),
        (
            "id = 'a.b'\n[reload]\ndrain_timeout = 5",
            ":3: `reload.drain_timeout` is an integer, but must be a dur",
        ),
        (
            "id = 'a.b'\nlimits.memory = -5",
            "`limits.memory` is a negative integer, but must be a whole number of bytes",
        ),
        (
            "id = 'a.b'\nlimits.file_size = 1.5",
            "`limits.file_size` is a number, but must be a whole number of bytes, or",
        ),
        ("id = 'a.b'\n[reload.confirm]\nmin_calls = -1", "`reload.confirm.min_calls` is a negative integer"),
    ] {
        let message = refusal(content);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn an_illegal_value_is_rejected_with_help() {
    for (content, expected) in [
        ("id = 'Calculator'", "plugin.toml:1: illegal plugin id \"Calculator\": it has only one part"),
        ("id = ''", "it is empty"),
        ("id = 'a.b'\nversion = '1'", ":2: `version`: \"1\" is not a version"),
        ("id = 'a.b'\ntype = 'filtre'", "did you mean `filter`?"),
        ("id = 'a.b'\n[process]\nmax_deaths = 0", "quarantined before it starts"),
        (
            "id = 'a.b'\n[process]\nenv = [\n'HOME',\n'A-B',\n]",
            ":5: `process.env`: \"A-B\" is neither a name nor `NAME=value`",
        ),
        ("id = 'a.b'\n[process]\nenv = ['=x']", "\"=x\" is neither a name"),
        ("id = 'a.b'\n[process]\nenv = ['A=1', 'A']", ":3: `process.env`: `A` is named twice"),
        ("id = 'a.b'\n[process]\nenv = [\"A=\\u0000\"]", "contains a NUL"),
        ("id = 'a.b'\n[process]\nenv = 'HOME'", "`process.env` is a string, but must be a list of strings"),
        ("id = 'a.b'\n[limits]\nmemory = '12 apples'", "is not a size"),
        ("id = 'a.b'\n[limits]\nmemory = 512", ":3: `limits.memory`: 512 is too small: a process needs more"),
        ("id = 'a.b'\n[limits]\nopen_files = 9", "one for each concurrent call; write 16 or more"),
        ("id = 'a.b'\n[limits]\nprocesses = 0", "write 4 or more"),
        ("id = 'a.b'\n[limits]\nmemroy = 1", "did you mean `memory`?"),
        ("id = 'a.b'\n[limits]\ncgroup = 'on'", "known: `off`, `preferred`, `required`"),
        ("id = 'a.b'\n[process]\nrestart_pause = 3", "`process.restart_pause`"),
        ("id = 'a.b'\n[reload]\npreflight = 'ful'", "did you mean `full`?"),
        ("id = 'a.b'\n[process]\nlane = 'sockets'", ":3: `process.lane`: "),
        ("id = 'a.b'\nmode = 'wasm'", "valid modes are \"auto\", \"in-process\" and \"process\""),
        ("id = 'a.b'\nmode = 'inprocess'", "did you mean `in-process`?"),
        ("id = 'a.b'\nbinary = '../x.so'", ":2: `binary`: \"../x.so\" leaves the plugin's folder"),
        ("id = 'a.b'\nbinary = 'a/../../x.so'", "leaves the plugin's folder"),
        ("id = 'a.b'\nbinary = '/lib/x.so'", "\"/lib/x.so\" is absolute"),
        ("id = 'a.b'\nbinary = '.'", "is not a file"),
        ("id = 'a.b'\nbinary = 'x.so'\nbuild = { package = 'x' }", "asks for a cargo build; delete one"),
        ("id = 'a.b'\n[build]\nscript = 'b.sh'", "a script needs `binary`"),
        ("id = 'a.b'\n[build]\nprofile = '--config'", "`build.profile`: \"--config\" is not a name"),
        ("id = 'a.b'\n[build]\nfeatures = ['a', '-Z']", "`build.features`: \"-Z\" is not a name"),
        ("id = 'a.b'\n[reload]\ndrain_timeout = '5 parsecs'", "\"5 parsecs\" is not a duration"),
        ("id = 'a.b'\n[reload]\ndrain_timeout = '0s'", "a duration of zero"),
        ("id = 'a.b'\n[reload]\nunload = 'always'", "known: `never`, `verified`"),
        ("id = 'a.b'\n[reload.confirm]\nmax_error_rate = 50", "50 is not between 0 and 1"),
        ("id = 'a.b'\n[config]\nx = inf", ":3: `config`: an infinite number"),
    ] {
        let message = refusal(content);
        assert!(message.contains(expected), "{content:?}: {message}");
    }
}

#[test]
fn every_duration_is_limited_to_a_year() {
    for key in [
        "build.timeout",
        "reload.drain_timeout",
        "reload.checkpoint",
        "reload.confirm.window",
        "process.call_timeout",
        "process.cancel_grace",
        "process.step_timeout",
        "process.restart_wait",
        "process.restart_pause",
        "process.death_window",
        "limits.cpu_time",
    ] {
        let manifest = |value| format!("id = 'a.b'\n{key} = '{value}'");
        Folder::with("plugin.toml", manifest("1year")).read().unwrap();
        for value in ["1year 1ns", "400000000000years"] {
            let message = refusal(manifest(value));
            assert!(message.contains(&format!(":2: `{key}`: {value:?} is too long")), "{message}");
        }
    }
}

#[test]
fn a_restart_wait_of_zero_is_accepted() {
    let folder = Folder::with("plugin.toml", "id = 'a.b'\nprocess.restart_wait = '0s'");
    assert!(folder.read().unwrap().process.restart_wait.is_zero());
}

#[test]
fn an_empty_or_malformed_manifest_is_rejected() {
    assert!(refusal("").contains("the manifest is empty; it needs at least `id"));
    assert!(refusal(" \n\t\n").contains("is empty"));
    assert!(refusal("name = 'x'").contains("`id` is missing; add a line"));
    assert!(refusal(b"id = 'a.b'\nname = '\xff'").starts_with("plugin.toml:2: not UTF-8"));
    let message = refusal("id = 'a.b'\nname = \n");
    assert!(message.starts_with("plugin.toml:2:8: not valid TOML: "), "{message}");
    assert!(refusal("id = 'a.b'\nid = 'a.c'").starts_with("plugin.toml:2:"));
    assert!(refusal("id = 'a.b'\n[config]\nx = 99999999999999999999").contains("out of range"));
    assert!(refusal(vec![b'#'; (1 << 20) + 1]).contains("at most 1 MiB"));

    let message = Folder::with("plugin.json", "{\"id\": \"a.b\",\n}").read().unwrap_err().to_string();
    assert!(message.contains("plugin.json:2:1: not valid JSON: key must be a string"), "{message}");
    let message = Folder::with("plugin.json", "[1]").read().unwrap_err().to_string();
    assert!(message.contains("is a list, but must be a table"), "{message}");
    let message = Folder::with("plugin.json", r#"{"id":"a.b","id":"a.c"}"#).read().unwrap_err().to_string();
    assert!(message.contains("duplicate key `id`"), "{message}");
}

#[test]
fn a_folder_without_exactly_one_manifest_file_is_rejected() {
    let folder = Folder::new();
    assert!(matches!(folder.read(), Err(ManifestError::Missing { .. })));
    folder.write("plugin.toml", "id = 'a.b'");
    folder.write("plugin.json", "{}");
    assert!(folder.read().unwrap_err().to_string().contains("both a plugin.toml and a plugin.json"));
    fs::create_dir(folder.0.path().join("x")).unwrap();
    fs::create_dir(folder.0.path().join("x/plugin.toml")).unwrap();
    let error = read(&folder.0.path().join("x")).unwrap_err();
    assert!(matches!(error, ManifestError::NotAText { .. }), "{error}");
}

/// The entry page of the documentation of manifests.
const MANUAL: &str = include_str!("../../../../docs/MANIFEST.md");

#[test]
fn manifest_md_lists_every_key() {
    let tables: [(&str, &[&str]); 6] = [
        ("", KEYS),
        ("build.", BUILD_KEYS),
        ("reload.", RELOAD_KEYS),
        ("reload.confirm.", CONFIRM_KEYS),
        ("process.", PROCESS_KEYS),
        ("limits.", LIMITS_KEYS),
    ];
    for (prefix, keys) in tables {
        for key in keys {
            assert!(
                MANUAL.contains(&format!("| `{prefix}{key}` |")),
                "`{prefix}{key}` is missing in docs/MANIFEST.md"
            );
        }
    }
}

#[test]
fn every_example_of_manifest_md_is_a_valid_manifest() {
    let blocks = MANUAL.split("```toml\n").skip(1);
    let examples: Vec<_> = blocks.filter_map(|block| block.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let read = Folder::with("plugin.toml", example).read();
        assert!(read.is_ok(), "{example}: {}", read.unwrap_err());
    }
}

#[test]
fn manifest_md_links_every_page_about_manifests() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest");
    let names: Vec<_> = fs::read_dir(pages).unwrap().map(|page| page.unwrap().file_name()).collect();
    assert!(!names.is_empty());
    for name in names {
        let link = format!("](manifest/{})", name.to_str().unwrap());
        assert!(MANUAL.contains(&link), "{link} is missing in docs/MANIFEST.md");
    }
}

#[test]
fn another_kind_of_lane_needs_another_process() {
    let read = |lines: &str| Folder::with("plugin.toml", format!("id = 'a.b'\n{lines}")).read().unwrap();
    let default = read("");
    assert_eq!(default.process.lane, LaneKind::SharedMemory);
    let mut other = default.clone();
    for lane in [LaneKind::SharedMemory, LaneKind::Socket] {
        other.process.lane = read(&format!("process.lane = '{}'", lane.name())).process.lane;
        assert_eq!(other.process.lane, lane);
        assert_eq!(default.asks_for_another_process(&other), lane == LaneKind::Socket);
    }
}

#[test]
fn the_environment_lists_variables_to_pass_and_variables_to_set() {
    let folder = Folder::with("plugin.toml", "id = 'a.b'\n[process]\nenv = ['HOME', 'MODE=a=b', 'EMPTY=']");
    let manifest = folder.read().unwrap();
    let set = |name: &str, value: &str| EnvVar::Set(name.into(), value.into());
    let expected = [EnvVar::Pass("HOME".into()), set("MODE", "a=b"), set("EMPTY", "")];
    assert_eq!(manifest.process.env, expected);
    let mut other = manifest.clone();
    other.process.env.pop();
    assert!(
        manifest.asks_for_another_process(&other) && !manifest.asks_for_another_process(&manifest.clone())
    );
}
