//! The `tracing` spans of requests.

use super::{lab, unix};
use replug_tests::{
    Http, Lab,
    command::{Dev, command, talk},
    misbehave, recorder,
};
use serde_json::{Value, json};
use std::fs::{self, File};

#[test]
fn each_request_has_a_span_with_its_route_client_and_status() {
    let mut lab = Lab::new("spans");
    lab.install(misbehave("version=1"));
    let log = lab.dir().join("log");
    let mut command = command(&lab, &["run", "--json", "--http", "0", "--log-format", "json"]);
    command.env("REPLUG_LOG_FILTER", "replug::http=debug").stderr(File::create(&log).unwrap());
    let mut dev = Dev::of(command);
    let url = dev.wait_for("control_listening")["http"].as_str().unwrap().to_owned();
    dev.wait_for("host_started");
    let token = fs::read_to_string(lab.state_dir().join("http-token")).unwrap();
    let http = Http::at(&url, token.trim());
    let id = lab.id();
    for args in [&["status"][..], &["call", &id, "version"], &["reload", &id]] {
        assert!(talk(&lab, args).status.success(), "{args:?}");
    }
    let asked_for = http.get(&format!("/api/v1/plugin/get?id={id}")).headers["x-request-id"].clone();
    let lost = http.get(&format!("/{id}"));
    let refused = http.with("authorization", None).send("BREW", "/metrics", ("text/plain", "tea"));
    assert_eq!((lost.status, refused.status), (404, 401));
    assert!(dev.interrupt().success());

    let text = fs::read_to_string(&log).unwrap();
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |method: &str, route: &str| {
        let closed = lines.iter().find(|line| {
            let span = &line["span"];
            line["fields"]["message"] == "close" && span["method"] == method && span["route"] == route
        });
        let line = closed.unwrap_or_else(|| panic!("no {method} of {route} in {text}"));
        assert_eq!((&line["target"], &line["span"]["name"]), (&json!("replug::http"), &json!("request")));
        assert!(line["fields"]["time.busy"].is_string(), "{line}");
        (line["level"].clone(), line["span"].clone())
    };
    for (method, name, level, about) in [
        ("GET", "list", "DEBUG", None),
        ("POST", "execute", "DEBUG", Some(&id)),
        ("POST", "reload", "INFO", Some(&id)),
    ] {
        let (told_at, span) = told(method, &format!("/api/v1/plugin/{name}"));
        assert_eq!((&told_at, &span["status"]), (&json!(level), &json!(200)), "{span}");
        assert_eq!(span["plugin"].as_str(), about.map(String::as_str), "{span}");
        assert!(span["who"].as_str().unwrap().starts_with("uid "), "{span}");
    }
    let (_, span) = told("GET", "/api/v1/plugin/get");
    assert_eq!(span["request_id"], asked_for);
    assert!(span["who"].as_str().unwrap().starts_with("127.0.0.1:"), "{span}");
    assert_eq!(told("GET", "none").1["status"], 404, "the span of an unknown path has the route `none`");
    let (_, span) = told("other", "/metrics");
    assert_eq!(
        (&span["status"], &span["who"]),
        (&json!(401), &Value::Null),
        "the span of a rejected request names no client"
    );
}

#[test]
fn a_plugin_log_in_an_http_call_is_in_the_span_of_the_request() {
    let lab = lab("said-in-a-span");
    let call = json!({ "id": lab.id(), "method": "log", "args": ["warn", "asked to"] });
    unix(&lab).post("/api/v1/plugin/execute", &call).data();
    lab.call("log", json!(["warn", "by itself"])).unwrap();
    let said: Vec<_> = recorder::of(&lab.id()).into_iter().map(|it| (it.message, it.span)).collect();
    assert_eq!(said, [("asked to".to_owned(), Some("request")), ("by itself".to_owned(), None)]);
}
