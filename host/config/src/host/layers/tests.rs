//! Tests of layers: each layer overrides the previous layers, and errors name their source.

use super::*;
use crate::host::{LogFormat, WatchPoll};
use std::{fs, time::Duration};

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(content: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), content).unwrap();
        Self(dir)
    }

    fn layers(&self, environment: &[(&str, &str)]) -> Layers {
        let pairs = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Layers::of(pairs.collect()).file(self.0.path().join(FILE_NAME))
    }

    fn refusal(&self, environment: &[(&str, &str)]) -> String {
        let message = self.layers(environment).read().unwrap_err().to_string();
        // If the error is in the file, the part before the file's name is removed, because this part differs in each
        // test run.
        message[message.find(FILE_NAME).unwrap_or(0)..].to_owned()
    }
}

const FULL: &str = r#"
plugins = "my-plugins"
state_dir = "/var/lib/replug"
watch = true
watch_poll = "2s"
keep_artifacts = 3
retained_bytes_limit = "512MiB"

[http]
listen = "0.0.0.0:8443"
token_file = "token"
allow_hosts = ["plugins.example"]
tls_cert = "cert.pem"
tls_key = "/etc/key.pem"

[defaults.limits]
memory = "1GiB"

[defaults.reload]
drain_timeout = "9s"
confirm = { window = "20s" }

[log]
filter = "warn,replug=debug"
plugins = "error"
format = "json"
"#;

#[test]
fn all_keys_of_a_file_are_read_and_paths_are_relative_to_the_file() {
    let folder = Folder::with(FULL);
    let config = folder.layers(&[]).read().unwrap();
    let at = |name: &str| Some(folder.0.path().join(name));
    assert_eq!((config.plugins, config.state_dir), (at("my-plugins"), Some("/var/lib/replug".into())));
    assert_eq!((config.watch, config.keep_artifacts, config.retained_bytes_limit), (true, 3, 512 << 20));
    assert_eq!(config.watch_poll, WatchPoll::Every(Duration::from_secs(2)));
    assert_eq!(config.http.listen, Some("0.0.0.0:8443".parse().unwrap()));
    assert_eq!(
        (config.http.token_file, config.http.allow_hosts),
        (at("token"), vec!["plugins.example".into()])
    );
    let tls = config.http.tls.unwrap();
    assert_eq!((Some(tls.cert), tls.key), (at("cert.pem"), "/etc/key.pem".into()));
    let defaults: Vec<_> = config.defaults.values().into_iter().map(|(key, _)| key).collect();
    assert_eq!(defaults, ["limits.memory", "reload.confirm.window", "reload.drain_timeout"]);
    assert_eq!(config.log.filter.as_deref(), Some("warn,replug=debug"));
    assert_eq!(config.log.plugins.unwrap().to_string(), "error");
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn precedence_is_flag_then_environment_then_file_then_default() {
    let folder =
        Folder::with("keep_artifacts = 2\nplugins = 'file'\n[defaults.reload]\ndrain_timeout = '1s'");
    let environment = [
        ("REPLUG_KEEP_ARTIFACTS", "3"),
        ("REPLUG_RETAINED_BYTES_LIMIT", "1MiB"),
        ("REPLUG_DEFAULTS_RELOAD_CHECKPOINT", "2s"),
        ("REPLUG_WATCH", "true"),
    ];
    let layers =
        folder.layers(&environment).fallback("plugins", "usual").fallback("state_dir", "usual-state");
    let config = layers.read().unwrap();
    assert_eq!((config.keep_artifacts, config.retained_bytes_limit, config.watch), (3, 1 << 20, true));
    assert_eq!(config.plugins, Some(folder.0.path().join("file")));
    assert_eq!(config.state_dir, Some("usual-state".into()));
    let expected = "[reload]\ndrain_timeout = '1s'\ncheckpoint = '2s'".parse().unwrap();
    assert_eq!(config.defaults, expected);
    let config = layers.flag("keep_artifacts", "--keep", 4).flag("plugins", "DIR", "named").read().unwrap();
    assert_eq!((config.keep_artifacts, config.plugins), (4, Some("named".into())));
}

#[test]
fn rust_log_overrides_the_file_and_replug_log_filter_overrides_rust_log() {
    let folder = Folder::with("log.filter = 'info'");
    let filter =
        |environment: &[(&str, &str)]| folder.layers(environment).read().unwrap().log.filter.unwrap();
    assert_eq!(filter(&[]), "info");
    assert_eq!(filter(&[("RUST_LOG", "debug")]), "debug");
    assert_eq!(filter(&[("RUST_LOG", "debug"), ("REPLUG_LOG_FILTER", "trace")]), "trace");
    // RUST_LOG may be a filter for another program.
    let layers = folder.layers(&[("RUST_LOG", "a=b=c=/")]);
    assert_eq!(layers.read().unwrap().log.filter.unwrap(), "info");
    assert!(layers.warnings()[0].contains("RUST_LOG is \"a=b=c=/\", which is not a filter"));
}

#[test]
fn an_invalid_file_is_rejected_with_file_line_and_key() {
    for (content, expected) in [
        ("keep_artefacts = 3", "replug.toml:1: unknown key `keep_artefacts`; did you mean `keep_artifacts`?"),
        ("\nkeep_artifacts = '3'", ":2: `keep_artifacts` is a string, but must be a whole number"),
        ("keep_artifacts = inf", ":1: `keep_artifacts` is a number, but must be a whole number"),
        ("retained_bytes_limit = '1 gig'", ":1: `retained_bytes_limit`: \"1 gig\" is not a size; write"),
        (
            "[http]\nlisten = '127.0.0.1'",
            ":2: `http.listen`: \"127.0.0.1\" is not an address; write one with its port",
        ),
        ("[http]\nlisten = '0.0.0.0:80'", ":2: `http.listen`: 0.0.0.0:80 can be reached from other machines"),
        ("[http]\ntls_key = 'key.pem'", ":2: `http.tls_key`: has no certificate; set `tls_cert`"),
        ("[http]\ntoken-file = ''", "did you mean `token_file`?"),
        ("http = 80", ":1: `http` is an integer, but must be a table"),
        (
            "\n[defaults.reload]\ndrain_timeout = 5",
            ":3: `defaults.reload.drain_timeout` is an integer, but must be a d",
        ),
        (
            "[defaults.limits]\n\nmemroy = 5",
            ":3: unknown key `defaults.limits.memroy`; did you mean `memory`?",
        ),
        ("[defaults]\nbuild = {}", ":2: unknown key `defaults.build`"),
        ("[log]\nfilter = 'replug=loud'", ":2: `log.filter`: \"replug=loud\" is not a filter: "),
        ("[log]\nformat = 'jsno'", ":2: `log.format`: \"jsno\" is unknown; did you mean `json`?"),
        (
            "[otel]\nendpoint = 'here'",
            ":2: `otel.endpoint`: \"here\" is not a plain HTTP address of a collector",
        ),
        ("plugins = ''", ":1: `plugins`: \"\" is not a path"),
        ("plugins = \n", "replug.toml:1:11: not valid TOML: "),
    ] {
        let message = Folder::with(content).refusal(&[]);
        assert!(message.contains(expected), "{content:?}: {message}");
        assert!(message.starts_with("replug.toml:"), "{message}");
    }
}

#[cfg(not(feature = "otel"))]
#[test]
fn a_collector_is_rejected_without_opentelemetry_support() {
    let message = Folder::with("[otel]\nendpoint = 'http://127.0.0.1:4318'").refusal(&[]);
    assert!(
        message.contains(":2: `otel.endpoint`: this replug was built without OpenTelemetry"),
        "{message}"
    );
}

#[test]
fn an_invalid_variable_or_flag_is_rejected_with_its_name() {
    let folder = Folder::with("keep_artifacts = 2\n\n[log]\nformat = 'text'");
    for (name, value, expected) in [
        (
            "REPLUG_KEEP_ARTIFACTS",
            "many",
            "REPLUG_KEEP_ARTIFACTS: `keep_artifacts` is a string, but must be a whole",
        ),
        (
            "REPLUG_LOG_FORMAT",
            "yaml",
            "REPLUG_LOG_FORMAT: `log.format`: \"yaml\" is unknown; known: `text`, `json`",
        ),
        ("REPLUG_DEFAULTS_RELOAD_DRAIN_TIMEOUT", "0s", "`defaults.reload.drain_timeout`: a duration of zero"),
        ("REPLUG_WATCH_POLL", "10ms", "REPLUG_WATCH_POLL: `watch_poll`: an interval below 50ms"),
        ("REPLUG_WATCH_POLL", "often", "REPLUG_WATCH_POLL: `watch_poll`: \"often\" is not an interval"),
        (
            "REPLUG_LOG_FILTER",
            "replug=loud",
            "REPLUG_LOG_FILTER: `log.filter`: \"replug=loud\" is not a filter",
        ),
    ] {
        let message = folder.refusal(&[(name, value)]);
        assert!(message.starts_with(name) && message.contains(expected), "{message}");
    }
    let layers = folder.layers(&[]).flag("log.format", "--log-format", "yaml");
    let message = layers.read().unwrap_err().to_string();
    assert!(message.starts_with("--log-format: `log.format`: \"yaml\" is unknown"), "{message}");
}

#[test]
fn the_text_of_a_variable_is_one_toml_value_or_a_string() {
    assert_eq!(as_value("3"), 3);
    assert_eq!(as_value("true"), true);
    assert_eq!(as_value("\"3\""), "3");
    assert_eq!(as_value("5s"), "5s");
    assert_eq!(as_value("/var/lib"), "/var/lib");
    assert_eq!(as_value("1\nother = 2"), "1\nother = 2");
}

#[test]
fn a_misspelt_variable_causes_a_warning_and_others_are_ignored() {
    let folder = Folder::with("");
    let environment = [("REPLUG_LOG_FLITER", "info"), ("REPLUG_PORT", "tcp://"), ("REPLUG_TARGET_DIR", "/x")];
    let layers = folder.layers(&environment);
    assert_eq!(layers.read().unwrap(), HostConfig::default());
    let expected = "unknown environment variable REPLUG_LOG_FLITER; did you mean REPLUG_LOG_FILTER?";
    assert_eq!(layers.warnings(), [expected]);
}

#[test]
fn a_file_set_by_the_caller_must_exist_but_the_default_file_need_not() {
    let message = Layers::of(Vec::new()).file("/nowhere/replug.toml").read().unwrap_err().to_string();
    assert!(message.contains("/nowhere/replug.toml: no such configuration file; create it"), "{message}");
    assert_eq!(Layers::of(Vec::new()).read().unwrap(), HostConfig::default());
}

#[test]
fn apply_sets_live_keys_and_lists_keys_that_require_a_restart() {
    let mut config = HostConfig::default();
    let other = Folder::with(FULL).layers(&[]).read().unwrap();
    let (applied, restart_needed) = config.apply(&other);
    assert_eq!(
        applied,
        [
            "defaults.limits.memory",
            "defaults.reload.confirm.window",
            "defaults.reload.drain_timeout",
            "keep_artifacts",
            "log.filter",
            "log.plugins",
            "retained_bytes_limit"
        ]
    );
    assert_eq!(
        restart_needed,
        [
            "http.allow_hosts",
            "http.listen",
            "http.tls_cert",
            "http.tls_key",
            "http.token_file",
            "log.format",
            "plugins",
            "state_dir",
            "watch",
            "watch_poll"
        ]
    );
    assert_eq!((config.keep_artifacts, config.log.format), (3, LogFormat::Text));
    assert!(config.apply(&other).0.is_empty());
}

#[test]
fn a_port_alone_means_loopback_in_the_file_a_flag_and_a_variable() {
    let listen = |layers: Layers| layers.read().unwrap().http.listen.unwrap().to_string();
    for text in ["7777", "localhost:7777", "127.0.0.1:7777"] {
        let folder = Folder::with(&format!("http.listen = '{text}'"));
        assert_eq!(listen(folder.layers(&[])), "127.0.0.1:7777");
    }
    let folder = Folder::with("");
    assert_eq!(listen(folder.layers(&[]).flag("http.listen", "--http", "7778")), "127.0.0.1:7778");
    assert_eq!(listen(folder.layers(&[("REPLUG_HTTP_LISTEN", "7779")])), "127.0.0.1:7779");
}

#[test]
fn a_relative_and_an_absolute_path_of_one_folder_are_equal() {
    let mut relative = HostConfig { plugins: Some("plugins".into()), ..HostConfig::default() };
    let here = env::current_dir().unwrap().join("plugins");
    assert_eq!(relative.apply(&HostConfig { plugins: Some(here), ..HostConfig::default() }).1, [""; 0]);
    let elsewhere = HostConfig { plugins: Some("/elsewhere".into()), ..HostConfig::default() };
    assert_eq!(relative.apply(&elsewhere).1, ["plugins"]);
}

#[test]
fn a_manifest_without_a_key_uses_the_configured_default() {
    let config = Folder::with(FULL).layers(&[]).read().unwrap();
    let plugin = tempfile::tempdir().unwrap();
    fs::write(plugin.path().join("plugin.toml"), "id = 'a.b'").unwrap();
    let manifest = config.defaults.read(plugin.path()).unwrap();
    assert_eq!(manifest.reload.drain_timeout, Duration::from_secs(9));
    assert_eq!(manifest.limits.kernel.memory_bytes, Some(1 << 30));
}

#[test]
fn the_plugin_level_overrides_the_filter_which_overrides_the_default() {
    let level = |environment: &[(&str, &str)]| {
        let environment = environment.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
        Layers::of(environment).plugins_by_filter(LevelFilter::INFO).read().unwrap().log.plugins
    };
    let filter = |text| level(&[("REPLUG_LOG_FILTER", text)]);
    let both = [("REPLUG_LOG_PLUGINS", "debug"), ("REPLUG_LOG_FILTER", "plugin=error")];
    assert_eq!(level(&both), Some(LevelFilter::DEBUG));
    assert_eq!(filter("warn,plugin=error"), Some(LevelFilter::ERROR));
    assert_eq!(filter("trace"), Some(LevelFilter::TRACE));
    assert_eq!(filter("replug=debug"), Some(LevelFilter::INFO));
    assert_eq!(level(&[]), Some(LevelFilter::INFO));
    assert_eq!(
        Layers::of(Vec::new()).read().unwrap().log.plugins,
        None,
        "the program's subscriber determines the level"
    );
}

#[test]
fn layers_merge_a_confirm_window_with_other_confirm_keys() {
    let confirm = |file: &str, environment| {
        let config =
            Folder::with(&format!("[defaults.reload]\nconfirm = {file}")).layers(&[environment]).read();
        config.unwrap().defaults.values()
    };
    let expected =
        [("reload.confirm.min_calls".into(), 5.into()), ("reload.confirm.window".into(), "30s".into())];
    let sorted = |mut values: Vec<(String, serde_json::Value)>| {
        values.sort_by(|(a, _), (b, _)| a.cmp(b));
        values
    };
    let over_text = confirm("\"30s\"", ("REPLUG_DEFAULTS_RELOAD_CONFIRM_MIN_CALLS", "5"));
    assert_eq!(sorted(over_text), expected);
    assert_eq!(sorted(confirm("{ min_calls = 5 }", ("REPLUG_DEFAULTS_RELOAD_CONFIRM", "30s"))), expected);
}

#[test]
fn a_variable_for_a_list_is_comma_separated_or_a_toml_list() {
    let hosts = |text| {
        let folder = Folder::with("");
        folder.layers(&[("REPLUG_HTTP_ALLOW_HOSTS", text)]).read().unwrap().http.allow_hosts
    };
    assert_eq!(hosts("box.example"), ["box.example"]);
    assert_eq!(hosts("box.example, 10.0.0.1"), ["box.example", "10.0.0.1"]);
    assert_eq!(hosts("[\"box.example\"]"), ["box.example"]);
}

#[test]
fn an_invalid_host_name_is_rejected() {
    for name in ["box:8080", "", "http://box/", "ftp://box"] {
        let error = Folder::with(&format!("[http]\nallow_hosts = [\"box\", \"https://box:444\", {name:?}]"))
            .refusal(&[]);
        let expected = format!("replug.toml:2: `http.allow_hosts`: {name:?} is not a valid `Host` name");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn an_invalid_value_in_the_file_is_rejected_even_if_overridden() {
    let error = Folder::with("keep_artifacts = \"x\"").refusal(&[("REPLUG_KEEP_ARTIFACTS", "3")]);
    assert!(error.starts_with("replug.toml:1: `keep_artifacts`"), "{error}");
    let file = Folder::with("[http]\ntls_cert = \"cert.pem\"");
    let tls = file.layers(&[("REPLUG_HTTP_TLS_KEY", "key.pem")]).read().unwrap().http.tls;
    assert!(tls.is_some(), "one layer may set the key that another layer lacks");
}

#[test]
fn the_nearest_file_up_to_the_root_of_the_workspace_is_read() {
    let folder = Folder::with("keep_artifacts = 2\nstate_dir = \"kept\"");
    let root = folder.0.path().canonicalize().unwrap();
    let (core, inner) = (root.join("crates/core"), root.join("crates/core/src"));
    fs::create_dir_all(&inner).unwrap();
    let layers =
        |at: &Path| Layers { file: File::usual_in(&Workspace::folders_around(at)), ..Layers::of(Vec::new()) };
    let kept = |at: &Path| layers(at).read().unwrap().state_dir;
    fs::write(root.join("Cargo.toml"), "[workspace]").unwrap();
    for at in [&root, &core, &inner] {
        assert_eq!(kept(at), Some(root.join("kept")), "{}", at.display());
    }
    fs::write(core.join(FILE_NAME), "state_dir = \"own\"").unwrap();
    assert_eq!((kept(&root), kept(&inner)), (Some(root.join("kept")), Some(core.join("own"))));
    // A file above the workspace belongs to another project, and is not read.
    fs::rename(root.join("Cargo.toml"), core.join("Cargo.toml")).unwrap();
    fs::remove_file(core.join(FILE_NAME)).unwrap();
    assert_eq!(kept(&inner), None);
    let read = layers(&inner);
    fs::write(core.join(FILE_NAME), "keep_artifacts = 4").unwrap();
    assert_eq!(read.read().unwrap().keep_artifacts, 4, "the file was created after `layers`");
}
