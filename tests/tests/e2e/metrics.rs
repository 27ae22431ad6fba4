//! The metrics of a host, and how Prometheus reads them.

use replug::{
    Metrics, PluginMetrics,
    event::{RetireOutcome, Stage},
    manifest::Mode,
    metrics::{Failures, ReloadOutcome},
};
use replug_tests::{Hold, Lab, misbehave, promtool::Promtool, stateless, workspace};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, thread};

fn of_lab(lab: &Lab) -> PluginMetrics {
    let mut plugins = lab.host().metrics().plugins;
    assert_eq!(plugins.len(), 1);
    plugins.remove(0)
}

/// The value of a sample on the metrics page.
fn sample(page: &str, sample: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no `{sample}` in\n{page}")).parse().expect("a number")
}

#[test]
fn calls_by_name_are_all_counted_and_timed_in_either_mode() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = Lab::in_mode("metered", mode);
        lab.install(misbehave("version=1"));
        lab.start();
        for _ in 0..3 {
            lab.call("echo", json!(["x"])).unwrap();
        }
        lab.call("panic", json!(["so"])).unwrap_err();
        lab.call("repeat", json!(["x", 1001])).unwrap_err();
        let calls = of_lab(&lab).calls;
        assert_eq!(calls.len(), 1, "{calls:?}");
        let calls = &calls[0];
        let failed = Failures { error: 1, panicked: 1, ..Failures::default() };
        assert_eq!((calls.mode, calls.calls, calls.failures), (mode, 5, failed));
        assert_eq!((calls.returned.count(), calls.failed.count()), (3, 2));
        assert!(calls.returned.sum_seconds() > 0.0);

        let page = lab.host().metrics().to_prometheus();
        let name = if mode == Mode::Process { "process" } else { "in-process" };
        let labels = |outcome| format!("plugin=\"{}\",mode=\"{name}\",outcome=\"{outcome}\"", lab.id());
        assert_eq!(sample(&page, &format!("replug_calls_total{{{}}}", labels("ok"))), 3.0);
        for (outcome, count) in
            [("error", 1.0), ("panicked", 1.0), ("crashed", 0.0), ("timeout", 0.0), ("lost", 0.0)]
        {
            assert_eq!(
                sample(&page, &format!("replug_calls_total{{{}}}", labels(outcome))),
                count,
                "{outcome}"
            );
        }
        for bucket in ["_bucket{LABELS,le=\"+Inf\"}", "_count{LABELS}"] {
            let bucket = bucket.replace("LABELS", &labels("ok"));
            assert_eq!(sample(&page, &format!("replug_call_duration_sampled_seconds{bucket}")), 3.0);
        }
        assert_eq!(lab.host().metrics().plugins[0].process.is_some(), mode == Mode::Process);
    }
}

#[test]
fn typed_calls_are_sampled_in_process_and_all_timed_in_a_child_process() {
    for (mode, timed) in [(Mode::InProcess, 2..=3), (Mode::Process, 1_029..=1_030)] {
        let mut lab = Lab::in_mode("sampled", mode);
        lab.install(misbehave("version=1"));
        lab.start();
        let probe = lab.probe();
        for _ in 0..1_030 {
            probe.version().unwrap();
        }
        let calls = of_lab(&lab).calls;
        let calls = calls.iter().find(|it| it.mode == mode).unwrap();
        // In process, these calls are timed: the second, the 1,026th, and also the first if the thread has made no call
        // before.
        assert_eq!(calls.calls, 1_030);
        assert!(timed.contains(&calls.returned.count()), "{mode:?}: {}", calls.returned.count());
        assert!(calls.returned.sum_seconds() > 0.0);
    }
}

#[test]
fn a_timed_typed_call_that_fails_counts_as_failed() {
    let lab = Lab::running("sampled-failure");
    lab.probe().version().unwrap();
    lab.probe().panic("so").unwrap_err();
    let calls = of_lab(&lab).calls;
    assert_eq!((calls[0].calls, calls[0].failures.panicked, calls[0].failed.count()), (2, 1, 1));
}

#[test]
fn reloads_are_counted_by_outcome_and_generations_by_phase() {
    let mut lab = Lab::new("reloads-metered");
    lab.install(stateless("version=1"));
    lab.start();
    lab.refused("no library");
    lab.install(stateless("version=2"));
    let (hold, probe) = (Hold::new(lab.dir()), lab.probe());
    thread::scope(|scope| {
        let call = scope.spawn(|| probe.hold(hold.path()));
        let inside = hold.entered();
        assert_eq!(of_lab(&lab).in_flight, 1);
        lab.reload().unwrap();
        let metrics = of_lab(&lab);
        assert_eq!((metrics.serving, metrics.draining), (true, 1));
        assert_eq!(metrics.tally.reloads[&ReloadOutcome::Reloaded], 2);
        assert_eq!(metrics.tally.reloads[&ReloadOutcome::Refused(Stage::Preflight)], 1);
        assert_eq!(metrics.tally.stages[&Stage::Swap].count(), 2);
        assert_eq!(metrics.tally.reload_time.count(), 2);
        drop(inside);
        call.join().unwrap().unwrap();
    });
    assert_eq!(lab.retired().1, RetireOutcome::Kept);
    let metrics = of_lab(&lab);
    assert_eq!((metrics.draining, metrics.tally.retired[&RetireOutcome::Kept]), (0, 1));
}

#[test]
fn a_crash_and_its_restart_are_counted_by_signal() {
    let mut lab = Lab::in_mode("crash-metered", Mode::Process);
    lab.install_with(misbehave("version=1"), "[process]\nrestart_pause = \"1ms\"");
    lab.start();
    lab.probe().misbehave("write-to-null").unwrap_err();
    let calls = of_lab(&lab).calls;
    let failed = calls.iter().find(|it| it.mode == Mode::Process).unwrap().failures;
    assert_eq!(failed, Failures { crashed: 1, ..Failures::default() });
    lab.restarted();
    let tally = of_lab(&lab).tally;
    assert_eq!(tally.crashes.into_iter().collect::<Vec<_>>(), [("SIGSEGV".to_owned(), 1)]);
    assert_eq!(tally.restarts.into_iter().collect::<Vec<_>>(), [("SIGSEGV".to_owned(), 1)]);
}

/// The names of all metric families on a page.
fn families(page: &str) -> BTreeSet<String> {
    let heads = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    heads.filter_map(|head| head.split(' ').next().map(str::to_owned)).collect()
}

/// The metric families that a text mentions.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("replug_"));
    names
        .map(|name| {
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            histogram.unwrap_or(name).to_owned()
        })
        .collect()
}

fn monitoring(file: &str) -> String {
    fs::read_to_string(workspace().join("docs/monitoring").join(file)).expect("the file")
}

#[test]
fn promtool_accepts_the_metrics_and_the_documented_rules() {
    // This comes before the lab is created, because a download could take longer than the lab's time limit for a test.
    let promtool = Promtool::find();
    let mut lab = Lab::in_mode("scraped", Mode::Process);
    lab.install(misbehave("version=1"));
    lab.neighbour(
        "beside",
        "id = \"dev.test.beside\"\nmode = \"in-process\"\nbinary = \"plugin.so\"",
        misbehave("version=1"),
    );
    lab.start();
    for id in [lab.id(), "dev.test.beside".into()] {
        let plugin = lab.host().plugin(&id).unwrap();
        plugin.invoke_json("echo", json!(["x"])).wait().unwrap();
        plugin.invoke_json("panic", json!(["x"])).wait().unwrap_err();
    }
    lab.reload().unwrap();
    lab.retired();
    let page = lab.host().metrics().to_prometheus();
    drop(lab);

    let families = families(&page);
    let documented = named(&monitoring("README.md"));
    assert_eq!(
        families, documented,
        "the metrics on the page differ from those in docs/monitoring/README.md"
    );
    for file in ["alerts.yml", "grafana.json"] {
        let unknown: Vec<_> = named(&monitoring(file)).difference(&families).cloned().collect();
        assert!(unknown.is_empty(), "{file} names unknown metrics: {unknown:?}");
    }
    let dashboard: Value = serde_json::from_str(&monitoring("grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.iter().all(|panel| !panel["targets"].as_array().unwrap().is_empty()));

    let Some(promtool) = promtool else { return };
    promtool.check_metrics(&page);
    promtool.check(&["rules"], &workspace().join("docs/monitoring/alerts.yml"));
    promtool.check(&["config", "--syntax-only"], &workspace().join("docs/monitoring/prometheus.yml"));
    let media = Metrics::PROMETHEUS_MEDIA_TYPE;
    assert!(media.contains("version=0.0.4"), "promtool checks another version of the format: {media}");
}
