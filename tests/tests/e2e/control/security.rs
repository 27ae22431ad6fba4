//! Requests that must be rejected. After each, the host must still answer other requests.

use super::{lab, listen, of, unix};
use replug_tests::{
    Http, Lab,
    http::{Answer, Conversation},
    misbehave, skipped,
};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Output},
};

const LIST: &str = "/api/v1/plugin/list";
const STOP: &str = "/api/v1/plugin/stop";

/// Asserts that the plugin still serves, and that other clients get answers.
#[track_caller]
fn goes_on(lab: &Lab) {
    let body = json!({ "id": lab.id(), "method": "version" });
    assert_eq!(Http::tcp(lab.listening()).post("/api/v1/plugin/execute", &body).data()["result"], 1);
    assert_eq!(unix(lab).get(&of(lab, "get")).data()["status"], "ready");
}

#[track_caller]
fn refused(answer: &Answer, code: u64) {
    let (_, found, message) = answer.error();
    assert_eq!(found, code, "{message}");
    assert!(!answer.headers.keys().any(|name| name.starts_with("access-control")), "{answer:?}");
}

#[test]
fn a_missing_wrong_or_truncated_token_is_rejected_everywhere() {
    let lab = lab("tokens");
    let tcp = Http::tcp(lab.listening());
    let path = &lab.listening().token().unwrap().path;
    let token = fs::read_to_string(path).unwrap().trim().to_owned();
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let body = json!({ "id": lab.id() });
    for path in [LIST, "/events", "/openapi.json", "/api/v1/nowhere"] {
        let answer = tcp.clone().with("authorization", None).get(path);
        refused(&answer, 40100);
        assert!(answer.headers["www-authenticate"].starts_with("Bearer"));
    }
    let wrong = [
        format!("Bearer {}", &token[..token.len() - 1]),
        format!("Bearer {token}0"),
        format!("Bearer {}", "0".repeat(token.len())),
        "Bearer ".into(),
        token.clone(),
        format!("Basic {token}"),
    ];
    for wrong in wrong {
        let tcp = tcp.clone().with("authorization", Some(&wrong));
        refused(&tcp.get(LIST), 40101);
        refused(&tcp.post(STOP, &body), 40101);
    }
    refused(&tcp.clone().with("authorization", None).get(&format!("{LIST}?token={token}")), 40100);
    goes_on(&lab);
}

#[test]
fn requests_with_a_foreign_host_or_origin_are_rejected() {
    let lab = lab("names");
    let body = json!({ "id": lab.id() });
    for http in [Http::tcp(lab.listening()), unix(&lab)] {
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", ""] {
            let forged = http.clone().with("host", Some(host));
            refused(&forged.get(LIST), 40300);
            refused(&forged.get("/health/live"), 40300);
            refused(&forged.post(STOP, &body), 40300);
        }
        for origin in ["https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1:1"]
        {
            let foreign = http.clone().with("origin", Some(origin));
            refused(&foreign.post(STOP, &body), 40301);
            refused(&foreign.get("/events"), 40301);
            refused(&foreign.get(&format!("{}&follow=true", of(&lab, "logs"))), 40301);
        }
        refused(&http.clone().with("host", None).raw(b"GET /health/live HTTP/1.1\r\n\r\n"), 40300);
    }
    let url = lab.listening().http().unwrap().to_owned();
    assert_eq!(
        Http::tcp(lab.listening()).with("origin", Some(&url)).get(LIST).data()["total"],
        1,
        "requests of the host's own page are accepted"
    );
    let tunnel = Http::tcp(lab.listening()).with("host", Some("localhost:9000"));
    let from = |origin| tunnel.clone().with("origin", Some(origin)).get(LIST);
    assert_eq!(
        from("http://localhost:9000").data()["total"],
        1,
        "requests of the host's own page through a tunnel are accepted"
    );
    refused(&from("http://localhost:3000"), 40301);
    refused(&unix(&lab).send("OPTIONS", STOP, ("application/json", "{}")), 40500);
    goes_on(&lab);
}

#[test]
fn each_path_of_the_openapi_document_rejects_invalid_requests() {
    let lab = lab("each-path");
    let tcp = Http::tcp(lab.listening());
    let document = tcp.get("/openapi.json").json();
    let mut events = unix(&lab).stream("/events?kind=audit");
    let described = document["paths"].as_object().unwrap().iter();
    let mut operations: Vec<_> = described.map(|(path, item)| (path.as_str(), item.clone())).collect();
    for (path, method) in
        [("/openapi.json", "get"), ("/api/v1/metrics", "get"), ("/", "get"), ("/assets/app.js", "get")]
    {
        operations.push((path, json!({ method: {} })));
    }
    for (path, item) in operations {
        let (method, operation) = item.as_object().unwrap().iter().next().unwrap();
        let ask = |http: &Http| match method.as_str() {
            "get" => http.get(path),
            _ => http.post(path, &json!({})),
        };
        let is_open = path == "/" || path.starts_with("/assets/") || path.starts_with("/health/");
        let without_token = tcp.clone().with("authorization", None);
        match is_open {
            true => assert_eq!(ask(&without_token).status, 200, "{path}"),
            false => refused(&ask(&without_token), 40100),
        }
        refused(&ask(&tcp.clone().with("host", Some("evil.example"))), 40300);
        refused(&ask(&tcp.clone().with("origin", Some("http://evil.example"))), 40301);
        refused(&tcp.send("DELETE", path, ("application/json", "{}")), 40500);
        if method == "post" {
            let body = json!({ "id": "dev.test.nobody", "method": "x", "config": {} });
            let keys = operation["requestBody"]["content"]["application/json"]["schema"].clone();
            let known = known_keys(&document, &keys);
            let mut fitting: serde_json::Map<_, _> = body.as_object().unwrap().clone();
            fitting.retain(|key, _| known.contains(key));
            refused(&tcp.post(path, &json!(fitting)), 40401);
            let name = path.rsplit('/').next().unwrap();
            let (_, told) = events.wait_for("audit");
            assert!(told["command"].as_str().unwrap().starts_with(name), "{path}: {told}");
            assert_eq!(told["outcome"], "UnknownPlugin (40401)", "{path}: {told}");
            fitting.insert("more".into(), json!(1));
            let answer = tcp.post(path, &json!(fitting));
            refused(&answer, 40000);
            assert!(answer.error().2.contains("unknown field `more`"), "{path}: {answer:?}");
        } else if path != "/" && !path.starts_with("/assets/") {
            let id = operation["parameters"].is_array().then(|| format!("id={}&", lab.id()));
            let answer = tcp.get(&format!("{path}?{}more=1", id.unwrap_or_default()));
            refused(&answer, 40000);
            assert!(answer.error().2.contains("unknown field"), "{path}: {answer:?}");
        }
    }
    goes_on(&lab);
}

/// The keys in a schema.
fn known_keys(document: &Value, schema: &Value) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        return known_keys(document, document.pointer(&name[1..]).expect("the reference is valid"));
    }
    let schema = schema["anyOf"].get(0).unwrap_or(schema);
    schema["properties"].as_object().expect("an object").keys().cloned().collect()
}

#[test]
fn changing_commands_accept_only_post_with_json() {
    let lab = lab("methods");
    let http = Http::tcp(lab.listening());
    for what in ["register", "unregister", "execute", "reload", "rollback", "start", "stop", "config"] {
        let path = of(&lab, what);
        let answer = http.get(&path);
        refused(&answer, 40500);
        assert_eq!(answer.headers["allow"], "POST", "{path}");
        let form = format!("id={}", lab.id());
        refused(&http.send("POST", &path, ("application/x-www-form-urlencoded", &form)), 41500);
        refused(&http.send("POST", &path, ("text/plain", &json!({ "id": lab.id() }).to_string())), 41500);
        refused(&http.send("PUT", &path, ("application/json", "{}")), 40500);
    }
    goes_on(&lab);
}

#[test]
fn a_body_over_the_limit_is_not_read() {
    let lab = lab("large");
    const HUGE: usize = 100 << 20;
    for http in [Http::tcp(lab.listening()), unix(&lab)] {
        let head = http.head("POST", STOP);
        let announced = format!("{head}content-type: application/json\r\ncontent-length: {HUGE}\r\n\r\n");
        refused(&http.raw(announced.as_bytes()), 41300);

        let mut conversation = http.connect();
        let chunked = format!("{head}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
        conversation.write(chunked.as_bytes()).unwrap();
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        let sent = (0..HUGE / 0x10000).take_while(|_| conversation.write(chunk.as_bytes()).is_ok()).count();
        assert!(sent < HUGE / 0x10000, "the host closes the connection before it has read the whole body");
        if let Some(answer) = conversation.answer() {
            refused(&answer, 41300);
        }
    }
    let tcp = Http::tcp(lab.listening()).with("authorization", None);
    let head = tcp.head("POST", STOP);
    refused(&tcp.raw(format!("{head}content-length: {HUGE}\r\n\r\n").as_bytes()), 40100);
    let long = format!("{}x: {}\r\n\r\n", tcp.head("GET", LIST), "x".repeat(1 << 20));
    let mut conversation = tcp.connect();
    let _ = conversation.write(long.as_bytes());
    conversation.closed();
    goes_on(&lab);
}

#[test]
fn a_head_over_the_limit_closes_its_connection() {
    let lab = lab("large-heads");
    let http = Http::tcp(lab.listening());
    let long = http.head("GET", &format!("{LIST}?{}", "x".repeat(70_000)));
    let many: String = (0..120).map(|line| format!("x-{line}: x\r\n")).collect();
    for (head, status) in [(long, 414), (format!("{}{many}", http.head("GET", LIST)), 431)] {
        let mut conversation = http.connect();
        conversation.write(format!("{head}\r\n").as_bytes()).unwrap();
        let answer = conversation.answer().expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (status, ""));
        conversation.closed();
    }
    goes_on(&lab);
}

#[test]
fn an_incomplete_head_or_body_times_out() {
    let lab = lab("slow-body");
    let http = Http::tcp(lab.listening());
    let mut silent = [http.connect(), unix(&lab).connect()];
    silent.iter_mut().for_each(|it| it.write(b"GET /health/live HTTP/1.1\r\nhost: lo").unwrap());
    let head = http.head("POST", STOP);
    let mut conversation = http.connect();
    conversation
        .write(format!("{head}content-type: application/json\r\ncontent-length: 50\r\n\r\n{{").as_bytes())
        .unwrap();
    goes_on(&lab);
    refused(&conversation.answer().expect("an answer"), 40800);
    goes_on(&lab);
    silent.iter_mut().for_each(Conversation::closed);
    goes_on(&lab);
}

#[test]
fn a_thousand_idle_connections_block_no_client() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map(|most| most.min(8192)).or(Some(8192));
    setrlimit(Resource::Nofile, limit).unwrap();
    let lab = lab("idle");
    for http in [Http::tcp(lab.listening()), unix(&lab)] {
        let mut stream = http.stream("/events?kind=audit");
        let mut idle: Vec<_> = (0..1000).map(|_| http.connect()).collect();
        for conversation in &mut idle {
            // Each connection sends half a request. An error means that the host has closed the connection already.
            let _ = conversation.write(b"GET /");
        }
        goes_on(&lab);
        idle[0].closed();
        // The host has closed an idle connection, but not the stream, although the stream is older and its client has
        // sent nothing since its request: a connection with a stream does not count as idle.
        assert_eq!(stream.wait_for("audit").1["command"], "execute version");
        drop(idle);
        goes_on(&lab);
    }
}

#[test]
fn streams_beyond_the_bound_are_rejected_and_the_others_continue() {
    let lab = lab("many-streams");
    let http = unix(&lab);
    let mut streams: Vec<_> = (0..64).map(|_| http.stream("/events")).collect();
    for path in ["/events", &format!("{}&follow=true", of(&lab, "logs"))] {
        let busy = http.get(path);
        refused(&busy, 42900);
        assert!(busy.headers.contains_key("retry-after"), "{busy:?}");
    }
    goes_on(&lab);
    assert_eq!(streams[0].wait_for("audit").1["command"], "execute version");
    drop(streams);
    // The host notices the closed streams when it sends the next event.
    while http.get("/events").status == 429 {
        goes_on(&lab);
    }
}

#[test]
fn names_logs_and_results_with_any_content_are_plain_data() {
    let mut lab = Lab::new("markup");
    let nasty = "<script>alert(1)</script>\"'&\u{1b}[2J\r\n\u{9b}\u{7f}";
    // JSON escapes are valid in a TOML string.
    lab.install_with(
        misbehave("version=1"),
        &format!("name = {}", json!(nasty).to_string().replace('\u{7f}', "\\u007f")),
    );
    listen(&mut lab);
    let http = unix(&lab);
    let plugin = http.get(&of(&lab, "get"));
    assert_eq!(plugin.data()["name"], nasty);
    assert_eq!(plugin.headers["content-type"], "application/json");
    assert_eq!(plugin.headers["x-content-type-options"], "nosniff");

    let steering = "<img src=x onerror=alert(1)>\u{1b}[2J\r\nid: 9\r\ndata: {\"event\":\"host_stopped\"}\r\n\r\n\u{0}\u{202e}";
    let body = json!({ "id": lab.id(), "method": "echo", "args": [steering] });
    let answer = http.post("/api/v1/plugin/execute", &body);
    assert_eq!(answer.data()["result"], steering);
    assert!(!answer.body.contains(|c: char| c.is_ascii_control()), "{}", answer.body);

    let mut stream = http.stream("/events?kind=log");
    lab.call("log", json!(["error", steering])).unwrap();
    assert_eq!(
        stream.next_event().unwrap().1["message"],
        steering,
        "the message does not create a second event"
    );
    let logs = http.get(&of(&lab, "logs"));
    assert_eq!(logs.data()["logs"][0]["message"], steering);
    assert!(!logs.body.contains(|c: char| c.is_ascii_control()), "{}", logs.body);
    let panicked = http
        .post("/api/v1/plugin/execute", &json!({ "id": lab.id(), "method": "panic", "args": [steering] }));
    assert_eq!(panicked.json()["details"]["panic"], steering);
    goes_on(&lab);
}

#[test]
fn an_id_that_is_a_path_is_rejected() {
    let lab = lab("paths");
    for id in ["../../etc/passwd", "..", "a.b/../../x", "%2e%2e%2f", "a.b\u{0}", "-a.b", &"a.".repeat(10_000)]
    {
        for what in ["reload", "stop", "unregister"] {
            refused(&unix(&lab).post(&format!("/api/v1/plugin/{what}"), &json!({ "id": id })), 40000);
        }
        let id: String = id.bytes().take(1000).map(|byte| format!("%{byte:02x}")).collect();
        for what in
            ["plugin/get?id", "plugin/methods?id", "plugin/logs?id", "plugin/generations?id", "events?plugin"]
        {
            refused(&unix(&lab).get(&format!("/api/v1/{what}={id}")), 40000);
        }
    }
    goes_on(&lab);
}

/// Sends a request as the user `nobody`.
fn as_nobody(socket: &Path, path: &str) -> Option<Output> {
    let url = format!("http://localhost{path}");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--unix-socket"]).arg(socket).arg(url).uid(65534).gid(65534).current_dir("/");
    curl.output().ok()
}

#[test]
fn another_user_gets_no_answer_over_the_socket() {
    if !rustix::process::geteuid().is_root() {
        skipped("this test must run as root, to send requests as another user");
        return;
    }
    let lab = lab("another-user");
    let socket = lab.listening().socket().unwrap().to_owned();
    let Some(denied) = as_nobody(&socket, LIST) else {
        skipped("this test needs curl, to send requests as another user");
        return;
    };
    assert!(!denied.status.success() && denied.stdout.is_empty(), "the folder denies access: {denied:?}");
    // The host rejects the user even if the permissions of the folders and the socket allow access.
    for path in [lab.dir(), socket.parent().unwrap(), &socket] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let refused = as_nobody(&socket, LIST).unwrap();
    let text = String::from_utf8_lossy(&refused.stdout);
    assert!(text.contains("\"code\":40302") && text.contains("user 65534"), "{text}");
    goes_on(&lab);
}

#[test]
fn a_port_reachable_by_other_machines_requires_tls() {
    let mut lab = Lab::new("reachable");
    lab.install(misbehave("version=1"));
    let http = replug::control::HttpConfig::at(([0, 0, 0, 0], 0).into());
    let config = replug_tests::http::control(&lab).http(http);
    let error = lab.start_listening(config, |builder| builder).unwrap_err().to_string();
    assert!(error.contains("--tls-cert") && error.contains("127.0.0.1"), "{error}");
}
