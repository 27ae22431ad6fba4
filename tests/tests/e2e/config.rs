//! The configuration of a host: how file, environment and flags are merged, and edits of the file while the host runs.

use replug::{EventKind, Generation, Handle, HostConfig, manifest::Mode};
use replug_tests::{
    Http, Lab,
    command::{Dev, command, run, talk},
    misbehave,
};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    process::Stdio,
};

/// Writes `replug.toml` next to the plugins folder atomically.
fn configure(lab: &Lab, content: &str) {
    fs::write(lab.dir().join("replug.tmp"), content).unwrap();
    fs::rename(lab.dir().join("replug.tmp"), lab.dir().join("replug.toml")).unwrap();
}

#[test]
fn a_flag_overrides_the_environment_which_overrides_the_file() {
    let lab = Lab::new("layers");
    for name in ["from-file", "from-env", "from-flag"] {
        fs::create_dir(lab.dir().join(name)).unwrap();
    }
    configure(&lab, "plugins = \"from-file\"");
    let plugins_of = |args: &[&str], environment: &[(&str, &str)]| {
        let mut command = command(&lab, &[&["run", "--json"], args].concat());
        let mut dev = Dev::of({
            command.envs(environment.iter().copied()).stdin(Stdio::null());
            command
        });
        let started = dev.wait_for("host_started");
        assert!(dev.interrupt().success());
        started["plugins_dir"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    };
    let environment = [("REPLUG_PLUGINS", "from-env")];
    assert_eq!(plugins_of(&[], &[]), "from-file");
    assert_eq!(plugins_of(&[], &environment), "from-env");
    assert_eq!(plugins_of(&["from-flag"], &environment), "from-flag");
}

#[test]
fn a_command_does_not_start_with_an_invalid_host_configuration() {
    let lab = Lab::new("config-wrong");
    configure(&lab, "\nkeep_artefacts = 3\n");
    for args in [["run"].as_slice(), &["list"], &["build"]] {
        let output = run(&lab, args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        let expected = "replug.toml:2: unknown key `keep_artefacts`; did you mean `keep_artifacts`?";
        assert!(told.contains(expected), "{told}");
    }
    let output = run(&lab, &["list", "--config", "elsewhere.toml"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("elsewhere.toml: no such configuration file"), "{told}");
}

#[test]
fn an_edit_applies_live_and_an_invalid_one_has_no_effect() {
    let mut lab = Lab::in_mode("config-live", Mode::Process);
    lab.install(misbehave("version=1"));
    configure(&lab, "keep_artifacts = 4\n");
    let mut dev = Dev::start_as(&lab, "run", &[]);
    assert_eq!(dev.wait_for("reloaded")["generation"], 1);

    configure(&lab, "keep_artifacts = 5\n[defaults.limits]\nopen_files = 200\n");
    let changed = dev.wait_for("config_changed");
    assert_eq!(changed["applied"], json!(["defaults.limits.open_files", "keep_artifacts"]));
    assert_eq!(changed["restart_needed"], json!([]));
    assert_eq!(dev.wait_for("reloaded")["generation"], 2, "new limits need a new process");

    configure(&lab, "keep_artifacts = 6\n[defaults.limits]\nopen_files = 300\nmemory = \"lots\"\n");
    let refused = dev.wait_for("config_refused")["error"].as_str().unwrap().to_owned();
    assert!(refused.contains("replug.toml:4: `defaults.limits.memory`: \"lots\" is not a size"), "{refused}");
    let status = || String::from_utf8(talk(&lab, &["status"]).stdout).unwrap();
    assert!(
        status().contains(&format!("configuration rejected, keeping the previous one: {refused}")),
        "{}",
        status()
    );

    configure(&lab, "keep_artifacts = 5\n[defaults.limits]\nopen_files = 200\n");
    let changed = dev.wait_for("config_changed");
    assert_eq!(
        (&changed["applied"], &changed["restart_needed"]),
        (&json!([]), &json!([])),
        "the edit is undone"
    );
    assert!(!status().contains("configuration"), "{}", status());

    configure(
        &lab,
        "state_dir = \"x\"\nwatch = true\nkeep_artifacts = 5\n[defaults.limits]\nopen_files = 200\n",
    );
    let changed = dev.wait_for("config_changed");
    assert_eq!(changed["applied"], json!([]), "no part of the rejected edit takes effect");
    assert_eq!(changed["restart_needed"], json!(["watch"]), "a flag overrides the edit of `state_dir`");
    assert!(status().contains("configuration needs a restart: watch"), "{}", status());
    assert!(dev.interrupt().success());
}

#[test]
fn an_edit_of_a_listener_setting_applies_after_a_restart() {
    let mut lab = Lab::new("config-http");
    lab.install(misbehave("version=1"));
    configure(&lab, "[http]\nlisten = \"127.0.0.1:0\"\n");
    let mut dev = Dev::start_as(&lab, "run", &[]);
    let url = dev.wait_for("control_listening")["http"].as_str().unwrap().to_owned();
    dev.wait_for("host_started");
    configure(
        &lab,
        "[http]\nlisten = \"127.0.0.1:1\"\nallow_hosts = [\"box.example\"]\ntoken_file = \"token\"\n",
    );
    let changed = dev.wait_for("config_changed");
    assert_eq!(changed["applied"], json!([]));
    assert_eq!(changed["restart_needed"], json!(["http.allow_hosts", "http.listen", "http.token_file"]));
    let token = fs::read_to_string(lab.state_dir().join("http-token")).unwrap();
    let http = Http::at(&url, token.trim());
    assert_eq!(
        http.get("/api/v1/plugin/list").data()["total"],
        1,
        "the host listens at the previous address"
    );
    assert_eq!(http.with("host", Some("box.example")).get("/health/live").status, 403);
    assert!(dev.interrupt().success());
}

#[test]
fn the_plugin_log_level_follows_a_configuration_edit() {
    let mut lab = Lab::new("config-log");
    lab.install(misbehave("version=1"));
    lab.set_manifest("binary = \"plugin.so\"\n[config]\nword = \"one\"");
    configure(&lab, "log.plugins = \"error\"\n");
    let mut dev = Dev::start(&lab, &["--call", &lab.id(), "log", "[\"warn\", \"something\"]"]);
    let told = dev.wait_for_any(&["call_result", "log"]);
    assert_eq!(told["event"], "call_result", "the host reports a log event below the level: {told}");
    configure(&lab, "log.plugins = \"warn\"\n");
    assert_eq!(dev.wait_for_any(&["config_changed", "log"])["applied"], json!(["log.plugins"]));
    // `--call` repeats the call on the new generation.
    lab.install(misbehave("version=2"));
    let logged = dev.wait_for("log");
    assert_eq!((&logged["message"], &logged["generation"]), (&json!("something"), &json!(2)));
    assert!(dev.interrupt().success());
}

#[test]
fn the_log_flag_bounds_plugin_logs_regardless_of_the_host_filter() {
    for (mode, bound, level) in [
        (Mode::InProcess, "error", "info"),
        (Mode::Process, "error", "warn"),
        (Mode::InProcess, "off", "error"),
    ] {
        let mut lab = Lab::in_mode(&format!("log-{bound}"), mode);
        lab.install(misbehave("version=1"));
        let arguments = format!("[\"{level}\", \"something\"]");
        let mut command =
            command(&lab, &["dev", "--json", "--log", bound, "--call", &lab.id(), "log", &arguments]);
        command.env("REPLUG_LOG_FILTER", "replug=info,replug::http=debug");
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let mut dev = Dev::of(command);
        let told = dev.wait_for_any(&["call_result", "log"]);
        assert_eq!(told["event"], "call_result", "{mode:?}: {told}");
        kill_process(dev.pid(), Signal::INT).unwrap();
        let told = dev.wait_for_any(&["host_stopped", "log"]);
        assert_eq!(told["event"], "host_stopped", "{mode:?}: {told}");
        assert!(dev.ended().success());
    }
}

#[test]
fn a_limit_applied_by_a_program_is_enforced_from_the_next_version() {
    let mut lab = Lab::in_mode("config-limit", Mode::InProcess);
    lab.install(misbehave("version=1"));
    lab.start();
    let tight = HostConfig { retained_bytes_limit: 1, ..lab.host().config() };
    assert_eq!(lab.host().apply(&tight).applied, ["retained_bytes_limit"]);
    let error = lab.refused(misbehave("version=2"));
    assert!(error.contains("preflight failed"), "{error}");
    assert_eq!(lab.probe().version().unwrap(), 1);
}

#[test]
fn an_edit_of_process_limits_does_not_affect_an_in_process_plugin() {
    let mut lab = Lab::in_mode("config-inside", Mode::Auto);
    lab.install(misbehave("version=1"));
    let id = "dev.test.config-outside";
    let manifest = format!("id = \"{id}\"\nmode = \"process\"\nbinary = \"plugin.so\"");
    lab.neighbour("outside", manifest, misbehave("version=1"));
    lab.start();
    for files in [200, 201] {
        let defaults = format!("[limits]\nopen_files = {files}").parse().unwrap();
        lab.host().apply(&HostConfig { defaults, ..lab.host().config() });
        lab.wait_for(|event| {
            let of_process = event.plugin.as_ref().is_some_and(|it| it.as_str() == id);
            (of_process && matches!(event.kind, EventKind::LimitsApplied(_))).then_some(())
        });
        // The plugin's worker executes commands in order, so `configure` returns after the edit has been applied.
        lab.host().configure(&lab.id(), serde_json::Map::new()).wait().unwrap();
    }
    assert_eq!(Handle::generation(&lab.probe()), Some(Generation(1)));
}

#[test]
fn a_program_can_apply_its_own_configuration() {
    let mut lab = Lab::in_mode("config-applied", Mode::Process);
    lab.install(misbehave("version=1"));
    lab.start();
    let config = lab.host().config();
    assert_eq!(lab.host().apply(&config), replug::Applied::default());

    let defaults = "[reload]\ndrain_timeout = '9s'\n[limits]\nopen_files = 200".parse().unwrap();
    let roomy = HostConfig { defaults, watch: true, ..config };
    let done = lab.host().apply(&roomy);
    let expected = ["defaults.limits.open_files", "defaults.reload.drain_timeout"];
    assert_eq!(
        (done.applied.as_slice(), done.restart_needed.as_slice()),
        (&expected.map(Into::into)[..], &["watch".into()][..])
    );
    lab.wait_for(|event| {
        matches!(event.kind, EventKind::Reloaded { .. })
            .then_some(event.generation)
            .filter(|it| *it > Some(Generation(1)))
    });
    assert_eq!(lab.probe().version().unwrap(), 1, "the new generation runs the same artifact");
    assert!(Handle::generation(&lab.probe()) > Some(Generation(1)));
}

#[test]
fn logs_in_json_have_a_span_for_a_reload_and_for_each_of_its_stages() {
    let mut lab = Lab::new("log-json");
    lab.install(misbehave("version=1"));
    let log = lab.dir().join("log");
    let mut command = command(&lab, &["run", "--json", "--log-format", "json"]);
    command.env("REPLUG_LOG_FILTER", "replug=info").stderr(File::create(&log).unwrap());
    let mut dev = Dev::of(command);
    dev.wait_for("reloaded");
    assert!(dev.interrupt().success());
    let text = fs::read_to_string(&log).unwrap();
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let closed = |name: &str| {
        let found =
            lines.iter().find(|line| line["span"]["name"] == name && line["fields"]["message"] == "close");
        found.unwrap_or_else(|| panic!("no `{name}` in {text}"))
    };
    let reload = &closed("reload")["span"];
    assert_eq!(reload["plugin"], lab.id());
    assert_eq!((&reload["generation"], &reload["outcome"]), (&json!(1), &json!("serving")));
    for stage in ["build", "store", "preflight", "trial", "load", "migrate", "start", "swap"] {
        let line = closed(stage);
        assert_eq!(line["spans"][0]["name"], "reload", "{line}");
        assert!(line["fields"]["time.busy"].is_string(), "{line}");
    }
}
