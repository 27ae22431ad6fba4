//! `/metrics` as Prometheus scrapes it, and calls over HTTP during reloads of the called plugin.

use super::{lab, listen, unix};
use replug::Metrics;
use replug_tests::{Http, Lab, load::Load, misbehave, promtool::Promtool, stateless};
use serde_json::json;
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

#[test]
fn metrics_require_the_token_and_promtool_accepts_them() {
    // This comes before the lab is created, because a download could take longer than the lab's time limit for a test.
    let promtool = Promtool::find();
    let lab = lab("scraped-over-http");
    let (http, tcp) = (unix(&lab), Http::tcp(lab.listening()));
    let call = json!({ "id": lab.id(), "method": "echo", "payload": "x" });
    assert_eq!(http.post("/api/v1/plugin/execute", &call).status, 200);
    for answer in [http.get("/metrics"), tcp.get("/metrics"), tcp.get("/api/v1/metrics")] {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], Metrics::PROMETHEUS_MEDIA_TYPE);
        let labels = format!("plugin=\"{}\",mode=\"in-process\",outcome=\"ok\"", lab.id());
        let line = format!("\nreplug_calls_total{{{labels}}} 1\n");
        assert!(answer.body.contains(&line), "no {line} in\n{}", answer.body);
    }
    assert_eq!(tcp.clone().with("authorization", None).get("/metrics").status, 401);
    assert_eq!(tcp.with("host", Some("evil.example")).get("/metrics").status, 403);
    if let Some(promtool) = &promtool {
        promtool.check_metrics(&http.get("/metrics").body);
    }
}

#[test]
fn no_call_over_http_fails_while_its_plugin_is_replaced() {
    for artifact in [misbehave, stateless] {
        let mut lab = Lab::new("loaded-over-http");
        lab.install(artifact("version=1"));
        listen(&mut lab);
        let listening = lab.listening();
        let address = listening.http().unwrap().strip_prefix("http://").unwrap();
        let token = fs::read_to_string(&listening.token().unwrap().path).unwrap();
        let body = json!({ "id": lab.id(), "method": "echo", "payload": "hello" }).to_string();
        let request = format!(
            "POST /api/v1/plugin/execute HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            token.trim(),
            body.len()
        );
        let address = address.parse().unwrap();
        let load = Load { address, connections: 8, request, expected: "\"result\":\"hello\"".into() };
        let stop = Arc::new(AtomicBool::new(false));
        let asking = {
            let stop = stop.clone();
            thread::spawn(move || load.run(&stop).unwrap())
        };
        for version in 2..12 {
            lab.install(artifact(&format!("version={version}")));
            lab.reload().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let answers = asking.join().unwrap();
        assert_eq!(answers.failed, 0, "{:?}", answers.failure);
        assert!(answers.right > 0);
    }
}
