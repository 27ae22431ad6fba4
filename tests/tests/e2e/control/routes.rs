//! The answers and the errors of every route.

use super::{lab, listen, of, unix};
use replug::{
    EventKind,
    control::{Control, ControlConfig},
    manifest::Mode,
};
use replug_tests::{Hold, Http, Lab, http::control, misbehave};
use serde_json::{Value, json};
use std::{thread, time::Duration};

const EXECUTE: &str = "/api/v1/plugin/execute";

fn post(lab: &Lab, what: &str, more: Value) -> replug_tests::http::Answer {
    let mut body = json!({ "id": lab.id() });
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    unix(lab).post(&format!("/api/v1/plugin/{what}"), &body)
}

fn call(lab: &Lab, method: &str, args: Value) -> replug_tests::http::Answer {
    post(lab, "execute", json!({ "method": method, "args": args }))
}

#[test]
fn list_returns_all_fields_of_a_plugin() {
    let neighbour = "id = \"dev.test.at-rest\"\nbinary = \"plugin.so\"\nauto_start = false\n";
    let mut lab = Lab::new("listed");
    lab.install(misbehave("version=1"));
    lab.neighbour("at-rest", neighbour, misbehave("version=1"));
    listen(&mut lab);
    assert_eq!(call(&lab, "version", json!([])).data()["result"], 1);
    let list = unix(&lab).get("/api/v1/plugin/list").data();
    assert_eq!((&list["total"], &list["page_no"], &list["page_size"]), (&2.into(), &1.into(), &100.into()));
    let plugin = &list["registered"][0];
    let expected = json!({
        "id": lab.id(), "type": "provider", "mode": "auto", "runs_in": "in-process", "status": "ready", "detail": "",
        "generation": 1, "process_id": null, "is_exited": false, "calls": 1, "errors": 0, "in_flight": 0,
        "failed": { "error": 0, "panicked": 0, "crashed": 0, "timeout": 0, "lost": 0 },
        "restarts": 0, "interfaces": ["Probe", "Everything"],
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&plugin[key], value, "{key}: {plugin}");
    }
    assert_eq!(plugin["digest"].as_str().unwrap().len(), 64);
    for key in ["name", "version", "description", "uptime", "memory", "cpu", "path"] {
        assert!(plugin.get(key).is_some(), "{key}: {plugin}");
    }
    let rest = &list["unregistered"][0];
    assert_eq!((&rest["id"], &rest["status"]), (&"dev.test.at-rest".into(), &"available".into()));
    assert_eq!(&unix(&lab).get(&of(&lab, "get")).data()["id"], &plugin["id"]);

    let page = unix(&lab).get("/api/v1/plugin/list?page_size=1&page_no=2").data();
    assert_eq!((&page["registered"], &page["unregistered"][0]["id"]), (&json!([]), &rest["id"]));
    let some = unix(&lab).get("/api/v1/plugin/list?status=available").data();
    assert_eq!((&some["total"], &some["registered"]), (&1.into(), &json!([])));
}

#[test]
fn an_invalid_query_or_body_is_rejected_with_the_reason() {
    let lab = lab("wrong-input");
    let id = lab.id();
    for (path, words) in [
        ("list?page_no=0", "`page_no` is 0, but must be 1 or more"),
        ("list?page_size=101", "`page_size` is 101, but must be 1 to 100"),
        ("list?page_size=-1", "page_size"),
        ("list?status=odd", "unknown variant `odd`"),
        ("list?x=1", "unknown field `x`"),
        ("get", "missing field `id`"),
        ("get?id=a.b&id=c.d", "duplicate field `id`"),
        ("get?id=nodots", "only one part"),
        ("get?id=..%2F..%2Fetc", "illegal plugin id"),
        ("get?id=%ff", ""),
        (&format!("logs?id={id}&lines=501"), "`lines` is 501"),
    ] {
        let (status, _, message) = unix(&lab).get(&format!("/api/v1/plugin/{path}")).error();
        assert_eq!(status, 400, "{path}: {message}");
        assert!(message.contains(words), "{path}: {message}");
    }
    for (body, words) in [
        (json!({ "id": id }), "missing field `method`"),
        (json!({ "id": id, "method": "echo", "arg": [] }), "unknown field `arg`"),
        (json!({ "id": id, "method": "echo", "args": 1 }), "an object by name or an array by position"),
        (json!({ "id": id, "method": "echo", "args": [], "payload": "x" }), "either `args` or `payload`"),
        (json!([]), "must be an object"),
        (json!([id, "version", null, null]), "must be an object"),
        (json!("x"), "must be an object"),
    ] {
        let (status, _, message) = unix(&lab).post(EXECUTE, &body).error();
        assert_eq!(status, 400, "{body}: {message}");
        assert!(message.contains(words), "{body}: {message}");
    }
    let broken = unix(&lab).send("POST", EXECUTE, ("application/json", "{\"id\":")).error();
    assert_eq!((broken.0, broken.1), (400, 40000), "{}", broken.2);
    let (status, _, message) = unix(&lab).send("POST", EXECUTE, ("text/plain", "{}")).error();
    assert_eq!(status, 415, "{message}");
    assert_eq!(unix(&lab).get("/nowhere").error().0, 404);
    assert_eq!(unix(&lab).get("/api/v1/plugin/../plugin/list").error().0, 404);
}

#[test]
fn a_call_returns_its_result_or_an_error_with_its_origin() {
    let lab = lab("called-by-http");
    assert_eq!(call(&lab, "echo", json!(["hi"])).data()["result"], "hi");
    assert_eq!(call(&lab, "echo", json!({ "text": "by name" })).data()["result"], "by name");
    let payload = post(&lab, "execute", json!({ "method": "echo", "payload": "World" })).data();
    assert_eq!((&payload["result"], &payload["generation"]), (&"World".into(), &1.into()));

    let own = call(&lab, "repeat", json!(["x", 1001]));
    assert_eq!(own.error(), (422, 42200, "1001 times is too often".into()));
    assert_eq!(own.json()["details"]["code"], "too_often");
    let (status, code, message) = call(&lab, "panic", json!(["so it goes"])).error();
    assert_eq!((status, code), (422, 42201));
    assert!(message.contains("so it goes") && message.contains("src/lib.rs:"), "{message}");
    let (status, code, message) = call(&lab, "echo", json!([1])).error();
    assert_eq!((status, code), (400, 40001), "{message}");
    assert!(message.contains("text"), "{message}");
    let (status, code, message) = call(&lab, "ecko", json!([])).error();
    assert_eq!((status, code), (404, 40402));
    assert!(message.contains("did you mean `echo`?"), "{message}");
    let body = json!({ "id": "dev.test.called-by-htp", "method": "echo" });
    let (status, code, message) = unix(&lab).post(EXECUTE, &body).error();
    assert_eq!((status, code), (404, 40401));
    assert!(message.contains("did you mean `dev.test.called-by-http`?"), "{message}");
}

#[test]
fn a_slow_call_times_out_and_calls_beyond_the_bound_are_rejected() {
    let mut lab = Lab::new("too-long");
    lab.install(misbehave("version=1"));
    let config = control(&lab).calls(1).call_deadline(Duration::from_millis(200));
    lab.start_listening(config, |builder| builder).unwrap();
    let hold = Hold::new(lab.dir());
    let (status, code, message) = call(&lab, "hold", json!([hold.path()])).error();
    assert_eq!((status, code), (504, 50400), "{message}");
    let held = hold.entered();
    let busy = call(&lab, "version", json!([]));
    assert_eq!(busy.error().0, 429, "the call continues and still counts");
    assert_eq!(busy.headers["retry-after"], "1");
    assert_eq!(unix(&lab).get("/health/live").data()["live"], true, "requests other than calls are answered");
    drop(held);
    loop {
        let answer = call(&lab, "version", json!([]));
        if answer.status == 200 {
            break;
        }
        // On a busy machine, this call may exceed the short deadline, too.
        assert!([429, 504].contains(&answer.error().0), "{answer:?}");
    }
}

#[test]
fn commands_control_the_lifecycle_of_a_plugin() {
    let mut lab = lab("life-by-http");
    let status = |lab: &Lab| unix(lab).get(&of(lab, "get")).data()["status"].as_str().unwrap().to_owned();

    lab.install(misbehave("version=2"));
    assert_eq!(post(&lab, "reload", json!({})).data()["generation"], 2);
    assert_eq!(call(&lab, "version", json!([])).data()["result"], 2);
    let versions = unix(&lab).get(&of(&lab, "generations")).data();
    let serving: Vec<_> = versions["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["generation"], &it["is_serving"]))
        .collect();
    assert_eq!(serving, [(&json!(1), &json!(false)), (&json!(2), &json!(true))]);
    let first = versions["generations"][0]["digest"].as_str().unwrap().to_owned();

    assert_eq!(post(&lab, "rollback", json!({})).data()["generation"], 3);
    assert_eq!(call(&lab, "version", json!([])).data()["result"], 1);
    assert_eq!(post(&lab, "rollback", json!({})).error().0, 409, "there is no version before the first");
    assert_eq!(post(&lab, "rollback", json!({ "to": "g2" })).data()["generation"], 4);
    assert_eq!(post(&lab, "rollback", json!({ "to": first[..12] })).data()["status"], "ready");
    assert_eq!(call(&lab, "version", json!([])).data()["result"], 1);
    let (status_code, code, message) = post(&lab, "rollback", json!({ "to": "0".repeat(64) })).error();
    assert_eq!((status_code, code), (404, 40403), "{message}");

    assert_eq!(post(&lab, "stop", json!({})).data()["status"], "stopped");
    let stopped = unix(&lab).get(&of(&lab, "get")).data();
    assert_eq!((&stopped["is_exited"], &stopped["generation"]), (&true.into(), &Value::Null));
    assert_eq!(call(&lab, "version", json!([])).error().0, 409);
    assert_eq!(unix(&lab).get(&of(&lab, "methods")).error().0, 409);
    assert_eq!(post(&lab, "register", json!({})).error().0, 409, "a stopped plugin is still registered");
    assert_eq!(post(&lab, "stop", json!({})).data()["status"], "stopped", "a second stop is no error");
    assert_eq!(post(&lab, "start", json!({})).data()["status"], "ready");
    assert_eq!(post(&lab, "start", json!({})).data()["status"], "ready", "a second start is no error");

    assert_eq!(post(&lab, "unregister", json!({})).data()["status"], "available");
    let list = unix(&lab).get("/api/v1/plugin/list").data();
    assert_eq!((&list["registered"], &list["unregistered"][0]["id"]), (&json!([]), &json!(lab.id())));
    assert_eq!(post(&lab, "unregister", json!({})).error().0, 409);
    assert_eq!(post(&lab, "register", json!({ "rebuild": true })).data()["status"], "ready");
    assert_eq!(status(&lab), "ready");

    lab.install(misbehave("version=3 fail=init"));
    let refused = post(&lab, "reload", json!({}));
    assert_eq!(refused.error().1, 42202);
    assert_eq!(refused.json()["details"]["stage"], "load");
    assert_eq!(refused.json()["details"]["error"]["code"], "told_to_fail");
    assert_eq!(call(&lab, "version", json!([])).data()["result"], 2, "the previous version keeps serving");
}

#[test]
fn a_config_command_applies_live_by_restart_or_at_the_next_start() {
    let lab = lab("config-by-http");
    let word = |lab: &Lab| call(lab, "word", json!([])).data()["result"].as_str().unwrap().to_owned();
    let set = |lab: &Lab, config: Value| post(lab, "config", json!({ "config": config }));

    assert_eq!(set(&lab, json!({ "word": "given" })).data()["how"], "live");
    assert_eq!(word(&lab), "given");
    let refused = set(&lab, json!({ "wrod": "x" }));
    assert_eq!(refused.error().0, 422);
    assert!(refused.error().2.contains("unknown field `wrod`"), "{refused:?}");
    assert_eq!(word(&lab), "given", "a rejected configuration changes nothing");
    lab.reload().unwrap();
    assert_eq!(word(&lab), "given", "a reload keeps the configured value");
    let restarted = set(&lab, json!({ "word": "again", "restart": true })).data();
    assert_eq!((&restarted["how"], word(&lab).as_str()), (&"restarted".into(), "again"));
    assert!(restarted["generation"].as_u64() > Some(2), "{restarted}");

    lab.host().stop(&lab.id()).wait().unwrap();
    let unfit = set(&lab, json!({ "wrod": "x" })).data();
    assert_eq!(unfit["how"], "at_start");
    assert!(unfit["holds"].as_str().unwrap().starts_with("not checked yet: "), "{unfit}");
    assert_eq!(post(&lab, "start", json!({})).error().0, 422, "the configuration is checked at the start");
    let fit = set(&lab, json!({ "word": "later" })).data();
    assert_eq!(fit["how"], "at_start");
    lab.host().start(&lab.id()).wait().unwrap();
    assert_eq!(word(&lab), "later");
}

#[test]
fn an_edit_of_the_manifest_overrides_a_configured_value() {
    let mut lab = Lab::new("config-edited");
    lab.install_with(misbehave("version=1"), "[config]\nword = \"written\"");
    let config = control(&lab);
    lab.start_listening(config, |builder| builder.watch(true)).unwrap();
    let word = |lab: &Lab| call(lab, "word", json!([])).data()["result"].as_str().unwrap().to_owned();
    let configured = |lab: &mut Lab| {
        lab.wait_for(|event| matches!(event.kind, EventKind::Configured { .. }).then_some(()));
    };
    post(&lab, "config", json!({ "config": { "word": "given" } })).data();
    configured(&mut lab);
    assert_eq!(word(&lab), "given");
    lab.set_manifest("binary = \"plugin.so\"\n[config]\nword = \"edited\"");
    configured(&mut lab);
    assert_eq!(word(&lab), "edited");
}

#[test]
fn methods_are_described_with_their_types_and_docs() {
    let lab = lab("described");
    let methods = unix(&lab).get(&of(&lab, "methods")).data();
    let interface = &methods["interfaces"][0];
    assert_eq!(interface["name"], "Probe");
    let repeat = interface["methods"].as_array().unwrap().iter().find(|it| it["name"] == "repeat").unwrap();
    assert_eq!(repeat["signature"], "fn repeat(&self, text: &str, times: u32) -> Result<String, ProbeError>");
    assert_eq!(repeat["docs"], "The text, repeated.");
    assert_eq!(repeat["params"][1], json!({ "name": "times", "rust": "u32", "type": { "number": "u32" } }));
    assert!(interface["types"]["ProbeError"]["shape"].is_object(), "{interface}");
}

#[test]
fn a_plugin_in_a_process_is_listed_with_its_pid_and_restarts() {
    let mut lab = Lab::in_mode("by-http", Mode::Process);
    lab.install(misbehave("version=1"));
    listen(&mut lab);
    let get = |lab: &Lab| unix(lab).get(&of(lab, "get")).data();
    assert!(get(&lab)["process_id"].as_u64().is_some());
    let crashed = call(&lab, "misbehave", json!(["abort"]));
    assert_eq!((crashed.error().0, crashed.error().1), (503, 50301));
    assert_eq!(crashed.headers["retry-after"], "1");
    lab.restarted();
    assert_eq!(get(&lab)["restarts"], 1);
    assert_eq!(call(&lab, "version", json!([])).data()["result"], 1);
}

#[test]
fn a_restarting_plugin_answers_503_with_retry_after() {
    let mut lab = Lab::in_mode("restarting-by-http", Mode::Process);
    let soon = "[process]\nrestart_wait = \"1ms\"\nrestart_pause = \"30s\"";
    lab.install_with(misbehave("version=1"), soon);
    listen(&mut lab);
    assert_eq!(call(&lab, "misbehave", json!(["abort"])).error().1, 50301);
    lab.crashed();
    let restarting = call(&lab, "version", json!([]));
    assert_eq!((restarting.error().0, restarting.error().1), (503, 50300), "{restarting:?}");
    let after: u64 = restarting.headers["retry-after"].parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
}

#[test]
fn each_changing_command_is_audited_with_its_client() {
    let lab = lab("audited");
    let mut events = unix(&lab).stream("/events?kind=audit");
    post(&lab, "stop", json!({})).data();
    let (_, stop) = events.wait_for("audit");
    assert_eq!(
        (&stop["command"], &stop["outcome"], &stop["plugin"]),
        (&"stop".into(), &"ok".into(), &json!(lab.id()))
    );
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(stop["who"], format!("uid {uid}, pid {}", std::process::id()));
    call(&lab, "version", json!([])).error();
    let (_, call) = events.wait_for("audit");
    assert_eq!(
        (&call["command"], &call["outcome"]),
        (&"execute version".into(), &"WrongState (40900)".into())
    );
    Http::tcp(lab.listening()).post("/api/v1/plugin/start", &json!({ "id": lab.id() })).data();
    let (_, start) = events.wait_for("audit");
    assert!(start["who"].as_str().unwrap().starts_with("127.0.0.1:"), "{start}");
}

#[test]
fn a_ready_host_reports_its_running_plugins_and_removes_its_socket() {
    let mut lab = lab("healthy");
    let tcp = Http::tcp(lab.listening()).with("authorization", None);
    assert_eq!(tcp.get("/health/live").data(), json!({ "live": true }));
    assert_eq!(tcp.get("/health/ready").data(), json!({ "ready": true, "running": 1, "failed": 0 }));
    assert_eq!(tcp.get("/api/v1/health/ready").data()["running"], 1);
    let socket = lab.listening().socket().unwrap().to_owned();
    lab.shut_down();
    assert!(!socket.exists(), "the host removes its socket");
}

#[test]
fn a_stopping_host_is_live_but_not_ready_and_finishes_its_calls() {
    let mut lab = Lab::new("going-down");
    lab.install_with(misbehave("version=1"), "[reload]\ndrain_timeout = \"10m\"");
    listen(&mut lab);
    let (hold, http) = (Hold::new(lab.dir()), unix(&lab));
    thread::scope(|scope| {
        let calling = scope.spawn(|| call(&lab, "hold", json!([hold.path()])));
        let held = hold.entered();
        let stopped = lab.host().shutdown();
        let not_ready = loop {
            let answer = http.get("/health/ready");
            if answer.status != 200 {
                break answer;
            }
        };
        assert_eq!((not_ready.error().1, not_ready.headers["retry-after"].as_str()), (50300, "1"));
        assert_eq!(http.get("/health/live").data(), json!({ "live": true }));
        drop(held);
        assert_eq!(calling.join().unwrap().status, 200);
        stopped.wait();
    });
}

#[test]
fn a_second_host_for_the_same_folder_is_rejected() {
    let lab = lab("twice");
    let config = ControlConfig::new().socket(lab.dir().join("run/host.sock"));
    let second = replug::Host::builder().plugins(lab.plugins_dir()).state_dir(lab.state_dir());
    let second = second.attach(Control::new(config));
    let error = second.build().wait().unwrap_err().to_string();
    assert!(error.contains("a host already serves") && error.contains("replug status"), "{error}");
    assert_eq!(call(&lab, "version", json!([])).data()["result"], 1, "the first host keeps running");
}

#[test]
fn calls_succeed_while_versions_are_swapped() {
    let mut lab = lab("swapped-under-http");
    let http = Http::tcp(lab.listening());
    let id = lab.id();
    thread::scope(|scope| {
        let (done, rx) = std::sync::mpsc::channel::<()>();
        let calling = scope.spawn(move || {
            let mut calls = 0;
            while rx.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) || calls == 0 {
                let answer = http.post(EXECUTE, &json!({ "id": id, "method": "version" }));
                assert!(answer.data()["result"].is_u64());
                calls += 1;
            }
            calls
        });
        for version in 2..7 {
            lab.install(misbehave(&format!("version={version}")));
            lab.reload().unwrap();
        }
        drop(done);
        assert!(calling.join().unwrap() > 0);
    });
}
