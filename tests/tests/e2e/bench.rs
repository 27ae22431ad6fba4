//! `replug bench` as a user runs it.

use replug::manifest::Mode;
use replug_tests::{
    Lab,
    artifact::aborting,
    command::{Dev, run, talk},
    misbehave,
};
use serde_json::{Value, json};
use std::fs;

fn measured(lab: &Lab, args: &[&str]) -> Value {
    let output = run(lab, &[&["bench", &lab.id()], args, &["--seconds", "1", "--json"]].concat());
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {err}"))
}

/// For each row of the report: the mode, the lane and the kind of call that it measures.
fn ways(report: &Value) -> Vec<Value> {
    let rows = report["rows"].as_array().unwrap();
    rows.iter().map(|row| json!([row["place"], row["lane"], row["call"]])).collect()
}

#[test]
fn bench_measures_both_modes_and_leaves_the_running_host_alone() {
    let mut lab = Lab::in_mode("measured", Mode::Process);
    lab.install(misbehave("version=1"));
    let mut dev = Dev::start_as(&lab, "run", &[]);
    dev.wait_for("host_started");

    let report = measured(&lab, &["repeat", "[\"ab\", 2]", "--plot", "repeat.svg"]);
    assert_eq!(
        ways(&report),
        [
            json!(["in-process", null, "Method::call_raw"]),
            json!(["in-process", null, "Method::call_json"]),
            json!(["in-process", null, "DynHandle::invoke_json"]),
            json!(["process", "shared-memory", "Method::call_raw"]),
            json!(["process", "socket", "Method::call_raw"]),
        ]
    );
    for row in report["rows"].as_array().unwrap() {
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("no {key}: {row}"));
        assert!(number("calls") >= number("batch") && number("batch") >= 1.0, "{row}");
        assert!(number("calls_per_second") > 0.0 && number("p50_ns") > 0.0, "{row}");
        assert!(["p99_ns", "p99_9_ns"].iter().all(|key| row.get(key).is_some()), "{row}");
    }
    assert_eq!((&report["plugin"], &report["method"]), (&json!(lab.id()), &json!("repeat")));
    assert_eq!((&report["arguments"], &report["profile"]), (&json!(["ab", 2]), &Value::Null));
    assert_eq!(report["left_out"].as_array().unwrap().len(), 1);
    assert_eq!(report["left_out"][0]["call"], "Method::typed");
    let reason = report["left_out"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("`fn repeat(&self, text: &str, times: u32) -> Result<String, ProbeError>`"));
    let advice = report["advice"].as_str().unwrap();
    assert!(advice.contains("`mode = \"process\"`") && advice.contains(&lab.id()), "{advice}");
    let plot = fs::read_to_string(lab.dir().join("repeat.svg")).unwrap();
    assert_eq!(plot.matches(">Method::call_raw<").count(), 3, "{plot}");

    let status: Value = serde_json::from_slice(&talk(&lab, &["status", "--json"]).stdout).unwrap();
    let plugin = &status["plugins"][0];
    assert_eq!((&plugin["generation"], &plugin["calls"]), (&json!(1), &json!(0)), "{plugin}");
    assert!(dev.interrupt().success());
}

#[test]
fn bench_measures_a_call_with_types_and_counts_its_allocations() {
    let mut lab = Lab::new("measured-types");
    lab.install(misbehave("version=1"));
    let report = measured(&lab, &["echo", "{\"text\": \"some text\"}"]);
    assert_eq!(report["left_out"], json!([]));
    let allocations = |place: &str, call: &str| {
        let mut rows = report["rows"].as_array().unwrap().iter();
        let row = rows.find(|row| row["place"] == place && row["call"] == call);
        row.and_then(|row| row["allocations_per_call"].as_f64()).unwrap_or_else(|| panic!("{report}"))
    };
    let [inside, child] = ["in-process", "process"].map(|place| allocations(place, "Method::typed"));
    // The host allocates the result. The plugin allocates the argument, the result, and the encoded result.
    assert!(child >= 1.0 && inside >= child + 2.0, "{inside} {child}");
    let [raw, by_name] =
        ["Method::call_raw", "DynHandle::invoke_json"].map(|it| allocations("in-process", it));
    assert!(by_name > raw, "{by_name} {raw}");
}

#[test]
fn bench_reports_a_mode_in_which_the_plugin_cannot_run() {
    let mut lab = Lab::new("measured-outside");
    lab.install(aborting());
    let report = measured(&lab, &["version"]);
    let lanes = ["shared-memory", "socket"]
        .map(|lane| ["Method::typed", "Method::call_raw"].map(|call| json!(["process", lane, call])));
    assert_eq!(ways(&report), lanes.concat());
    assert_eq!(report["left_out"][0]["place"], "in-process");
    let reason = report["left_out"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("panic = \"abort\""), "{reason}");
    assert!(report["advice"].as_str().unwrap().contains("did not start in process"), "{report}");
}

#[test]
fn bench_measures_no_call_that_fails() {
    let mut lab = Lab::new("unmeasured");
    lab.install(misbehave("version=1"));
    let id = lab.id();
    for (plugin, method, arguments, words) in [
        (id.as_str(), "repeat", "[\"x\", 1001]", ["1001 times is too often", "give other arguments"]),
        (&id, "repeat", "[\"x\"]", ["takes 2 arguments (text, times)", "1 given"]),
        (&id, "repaet", "[]", ["no method `repaet`", "did you mean `repeat`?"]),
        (&id, "panic", "[\"so it goes\"]", ["panicked: so it goes", "src/lib.rs:"]),
        ("dev.test.unmeasure", "repeat", "[]", ["no plugin `dev.test.unmeasure`", "did you mean"]),
    ] {
        let output = run(&lab, &["bench", plugin, method, arguments, "--plot", "none.svg"]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(output.stdout.is_empty(), "{method}");
        for word in words {
            assert!(err.contains(word), "`{word}` is not in: {err}");
        }
    }
    assert!(!lab.dir().join("none.svg").exists());
}
