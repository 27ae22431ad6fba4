//! Tests of the text of events, without colours.

use super::*;
use replug::event::DiagnosticLevel;
use serde_json::json;

fn event(plugin: &str, generation: Option<u64>, kind: EventKind) -> Event {
    let plugin = (!plugin.is_empty()).then(|| plugin.parse().unwrap());
    Event { at: String::new(), plugin, generation: generation.map(Generation), digest: None, kind }
}

fn plain(text: Option<String>) -> String {
    anstream::adapter::strip_str(&text.unwrap_or_default()).to_string()
}

/// A renderer that knows these plugins, none of which serves yet.
fn watching(plugins: &[&str]) -> Renderer {
    let mut renderer = Renderer::new(Loop::Watching);
    for id in plugins {
        assert!(
            renderer.lines(&event(id, None, EventKind::PluginDiscovered { path: "/x".into() })).is_none()
        );
    }
    renderer
}

fn reloaded(generation: u64, total_ms: f64) -> Event {
    let stages = Stages { detect: 1.0, build: 112.4, load: 1.04, swap: 0.021, ..Stages::default() };
    event(
        "dev.replug.calculator",
        Some(generation),
        EventKind::Reloaded { stages, total_ms, gap_ms: None, warnings: Vec::new(), way: None },
    )
}

const CALCULATOR: &str = "dev.replug.calculator";

#[test]
fn a_reload_is_one_line_with_the_times_of_its_stages() {
    let mut renderer = watching(&[CALCULATOR]);
    let line = plain(renderer.lines(&reloaded(2, 131.4)));
    assert_eq!(line, "calculator g2 live in 131 ms (build 112, load 1, swap 0.02)");
}

#[test]
fn a_reload_by_cargo_after_an_edit_states_the_reason() {
    let mut renderer = watching(&[CALCULATOR]);
    let mut line = |detect, by| {
        let live = EventKind::Reloaded {
            stages: Stages { detect, ..Stages::default() },
            total_ms: 10.0,
            gap_ms: None,
            warnings: Vec::new(),
            way: Some(BuildWay { by, reason: "Cargo.toml has changed".into() }),
        };
        plain(renderer.lines(&event(CALCULATOR, Some(1), live)))
    };
    assert!(line(1.0, BuiltBy::Cargo).ends_with("), by cargo: Cargo.toml has changed"));
    assert!(line(1.0, BuiltBy::Rustc).ends_with(')'));
    assert!(line(0.0, BuiltBy::Cargo).ends_with(')'), "no edit was built");
}

#[test]
fn lines_about_plugins_are_aligned() {
    let mut renderer = watching(&[CALCULATOR, "dev.replug.hello-world"]);
    let line = plain(renderer.lines(&reloaded(1, 1874.0)));
    assert_eq!(line, "calculator  g1 live in 1.87 s (build 112, load 1, swap 0.02)");
}

#[test]
fn plugins_with_the_same_last_part_are_printed_with_their_full_id() {
    let mut renderer = watching(&[CALCULATOR, "com.example.calculator"]);
    let line = plain(renderer.lines(&reloaded(1, 10.0)));
    assert!(line.starts_with("dev.replug.calculator  g1 live"), "{line}");
}

fn diagnostic(level: DiagnosticLevel, rendered: &str) -> Diagnostic {
    Diagnostic { level, message: String::new(), file: None, line: None, rendered: rendered.into() }
}

#[test]
fn the_warnings_of_a_good_build_are_shown_above_its_line() {
    let mut renderer = watching(&[CALCULATOR]);
    let warnings = || vec![diagnostic(DiagnosticLevel::Warning, "warning: unused variable: `x`\n\n")];
    let live = EventKind::Reloaded {
        stages: Stages::default(),
        total_ms: 10.0,
        gap_ms: Some(4.0),
        warnings: warnings(),
        way: None,
    };
    let text = plain(renderer.lines(&event(CALCULATOR, Some(1), live)));
    assert_eq!(
        text,
        "\nwarning: unused variable: `x`\ncalculator g1 live in 10 ms (load 0.00, swap 0.00), calls waited 4 ms"
    );
    let unchanged = EventKind::BuildUnchanged { rolled_back: false, warnings: warnings(), way: None };
    let text = plain(renderer.lines(&event(CALCULATOR, None, unchanged)));
    assert_eq!(text, "\nwarning: unused variable: `x`\ncalculator g1 unchanged");
}

#[test]
fn a_failed_build_prints_the_errors_and_the_serving_generation() {
    let mut renderer = watching(&[CALCULATOR]);
    let failed = EventKind::BuildFailed {
        error: "src/lib.rs:3: expected `;`".into(),
        diagnostics: vec![
            diagnostic(DiagnosticLevel::Warning, "warning: unused\n"),
            diagnostic(DiagnosticLevel::Error, "error: expected `;`\n\n"),
        ],
    };
    let first = plain(renderer.lines(&event(CALCULATOR, None, failed.clone())));
    assert_eq!(first, "\nerror: expected `;`\ncalculator: build failed, nothing serves until it is fixed");
    renderer.lines(&reloaded(1, 10.0));
    let later = plain(renderer.lines(&event(CALCULATOR, None, failed)));
    assert_eq!(later, "\nerror: expected `;`\ncalculator: build failed, still serving g1");
}

#[test]
fn a_failed_build_without_diagnostics_prints_its_error() {
    let mut renderer = watching(&[CALCULATOR]);
    let failed = EventKind::BuildFailed { error: "the build script failed".into(), diagnostics: Vec::new() };
    let line = plain(renderer.lines(&event(CALCULATOR, None, failed)));
    assert_eq!(line, "calculator: build failed, nothing serves until it is fixed: the build script failed");
}

#[test]
fn a_failed_reload_is_one_line_with_stage_reason_and_kept_generation() {
    let mut renderer = watching(&[CALCULATOR]);
    let failed = EventKind::ReloadFailed {
        stage: Stage::Preflight,
        error: "it needs `libfoo.so`".into(),
        kept_generation: Some(Generation(3)),
        gap_ms: None,
    };
    let line = plain(renderer.lines(&event(CALCULATOR, None, failed)));
    assert_eq!(line, "calculator: preflight failed, still serving g3: it needs `libfoo.so`");
}

#[test]
fn the_answer_to_a_call_is_the_value_or_the_error() {
    let mut renderer = watching(&[CALCULATOR]);
    let answer = |result, error| {
        event(CALCULATOR, Some(1), EventKind::CallResult { method: "add".into(), result, error })
    };
    let line = plain(renderer.lines(&answer(Some(json!(15.0)), None)));
    assert_eq!(line, "calculator.add -> 15.0");
    let error =
        json!({ "code": "divide_by_zero", "message": "cannot divide by zero", "details": { "a": "1" } });
    let line = plain(renderer.lines(&answer(None, Some(error))));
    assert_eq!(line, r#"calculator.add -> error: cannot divide by zero [divide_by_zero] {"a":"1"}"#);
}

#[test]
fn the_start_prints_the_watched_folder_and_how_to_stop() {
    let mut renderer = watching(&[CALCULATOR, "a.b"]);
    let started = |running| event("", None, EventKind::HostStarted { plugins_dir: "/p".into(), running });
    assert_eq!(plain(renderer.lines(&started(2))), "watching /p (2 plugins, ctrl-c to stop)");
    assert_eq!(plain(renderer.lines(&started(1))), "watching /p (1 of 2 plugins live, ctrl-c to stop)");
}

#[test]
fn a_plugin_log_is_printed_with_its_fields() {
    let mut renderer = watching(&[CALCULATOR]);
    let log = EventKind::Log {
        level: "WARN".into(),
        target: "calculator".into(),
        message: "slow".into(),
        fields: json!({ "took_ms": 12, "op": "power" }),
        spans: Vec::new(),
    };
    assert_eq!(
        plain(renderer.lines(&event(CALCULATOR, Some(1), log))),
        "calculator WARN  slow op=power took_ms=12"
    );
}

#[test]
fn a_config_change_lists_applied_and_pending_keys_and_errors() {
    let mut renderer = watching(&[]);
    let mut changed = |applied: &[&str], restart_needed: &[&str]| {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let kind = EventKind::ConfigChanged { applied: keys(applied), restart_needed: keys(restart_needed) };
        plain(renderer.lines(&event("", None, kind)))
    };
    assert_eq!(changed(&["log.filter", "watch"], &[]), "configuration applied: log.filter, watch");
    assert_eq!(changed(&[], &["state_dir"]), "configuration needs a restart: state_dir");
    let both = changed(&["log.filter"], &["state_dir"]);
    assert_eq!(both, "configuration applied: log.filter; needs a restart: state_dir");
    assert_eq!(changed(&[], &[]), "configuration matches the running host again");
    let kind = EventKind::ConfigRefused { error: "replug.toml:1: `watch` is 3".into() };
    let refused = plain(watching(&[]).lines(&event("", None, kind)));
    assert_eq!(refused, "configuration rejected, keeping the previous one: replug.toml:1: `watch` is 3");
}

#[test]
fn a_routine_event_prints_no_line() {
    let mut renderer = watching(&[CALCULATOR]);
    let kept = EventKind::GenerationRetired { outcome: RetireOutcome::Kept };
    assert!(renderer.lines(&event(CALCULATOR, Some(1), kept)).is_none());
    assert!(renderer.lines(&event(CALCULATOR, None, EventKind::BuildSuperseded)).is_none());
    renderer.begin_shutdown();
    let stopped = EventKind::PluginStopped { reason: "the host has shut down".into() };
    assert!(renderer.lines(&event(CALCULATOR, None, stopped)).is_none());
}

#[test]
fn a_host_crash_prints_its_plugin_location_and_consequence() {
    let mut renderer = watching(&[CALCULATOR]);
    let (method, signal) = (Some("divide".to_owned()), Some("SIGSEGV".to_owned()));
    let (reason, line) = ("it crashed the host in divide at src/lib.rs:12 (SIGSEGV)".to_owned(), None);
    let at = Some("src/lib.rs:12".to_owned());
    let crash = CrashSite { method: method.clone(), line: at, signal };
    let demoted = EventKind::PluginDemoted { crash, reason: reason.clone() };
    assert_eq!(
        plain(renderer.lines(&event(CALCULATOR, None, demoted))),
        "calculator crashed the host in divide at src/lib.rs:12 (SIGSEGV): it runs in a child process now"
    );
    let crash = CrashSite { method, line, signal: None };
    let quarantined = EventKind::PluginQuarantined { crash, reason };
    assert_eq!(
        plain(renderer.lines(&event(CALCULATOR, None, quarantined))),
        "calculator crashed the host in divide (exit): it is quarantined; rebuild it, or `start` it to try again"
    );
}
