//! What must be refused, and that the host answers all the same.

use super::{lab, listen, of, unix};
use replug_tests::{Http, Lab, http::Answer, misbehave};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Output},
};

const LIST: &str = "/api/v1/plugin/list";
const STOP: &str = "/api/v1/plugin/stop";

/// Whatever was tried: the plugin serves, and others are answered.
#[track_caller]
fn goes_on(lab: &Lab) {
    let body = json!({ "id": lab.id(), "method": "version" });
    assert_eq!(Http::tcp(lab.host()).post("/api/v1/plugin/execute", &body).data()["result"], 1);
    assert_eq!(unix(lab).get(&of(lab, "get")).data()["status"], "ready");
}

#[track_caller]
fn refused(answer: &Answer, code: u64) {
    let (_, found, message) = answer.error();
    assert_eq!(found, code, "{message}");
    assert!(!answer.headers.keys().any(|name| name.starts_with("access-control")), "{answer:?}");
}

#[test]
fn a_token_that_is_missing_wrong_or_cut_off_opens_nothing() {
    let lab = lab("tokens");
    let tcp = Http::tcp(lab.host());
    let path = &lab.host().control().unwrap().token().unwrap().path;
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
    lab.finish();
}

#[test]
fn a_request_to_another_name_or_from_another_site_s_page_is_refused() {
    let lab = lab("names");
    let body = json!({ "id": lab.id() });
    for http in [Http::tcp(lab.host()), unix(&lab)] {
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
    let url = lab.host().control().unwrap().http().unwrap().to_owned();
    assert_eq!(
        Http::tcp(lab.host()).with("origin", Some(&url)).get(LIST).data()["total"],
        1,
        "its own page may"
    );
    refused(&unix(&lab).send("OPTIONS", STOP, ("application/json", "{}")), 40500);
    goes_on(&lab);
    lab.finish();
}

#[test]
fn what_changes_something_is_no_get_and_nothing_but_json() {
    let lab = lab("methods");
    let http = Http::tcp(lab.host());
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
    lab.finish();
}

#[test]
fn a_body_that_is_too_large_is_not_read() {
    let lab = lab("large");
    const HUGE: usize = 100 << 20;
    for http in [Http::tcp(lab.host()), unix(&lab)] {
        let head = http.head("POST", STOP);
        let announced = format!("{head}content-type: application/json\r\ncontent-length: {HUGE}\r\n\r\n");
        refused(&http.raw(announced.as_bytes()), 41300);

        let mut conversation = http.connect();
        let chunked = format!("{head}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
        conversation.write(chunked.as_bytes()).unwrap();
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        let sent = (0..HUGE / 0x10000).take_while(|_| conversation.write(chunk.as_bytes()).is_ok()).count();
        assert!(sent < HUGE / 0x10000, "the host hangs up long before the end");
        if let Some(answer) = conversation.answer() {
            refused(&answer, 41300);
        }
    }
    let tcp = Http::tcp(lab.host()).with("authorization", None);
    let head = tcp.head("POST", STOP);
    refused(&tcp.raw(format!("{head}content-length: {HUGE}\r\n\r\n").as_bytes()), 40100);
    let long = format!("{}x: {}\r\n\r\n", tcp.head("GET", LIST), "x".repeat(1 << 20));
    let mut conversation = tcp.connect();
    let _ = conversation.write(long.as_bytes());
    conversation.closed();
    goes_on(&lab);
    lab.finish();
}

#[test]
fn a_body_that_does_not_arrive_is_given_up() {
    let lab = lab("slow-body");
    let http = Http::tcp(lab.host());
    let head = http.head("POST", STOP);
    let mut conversation = http.connect();
    conversation
        .write(format!("{head}content-type: application/json\r\ncontent-length: 50\r\n\r\n{{").as_bytes())
        .unwrap();
    goes_on(&lab);
    refused(&conversation.answer().expect("an answer"), 40800);
    goes_on(&lab);
    lab.finish();
}

#[test]
fn a_thousand_idle_connections_keep_no_one_out() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map(|most| most.min(8192)).or(Some(8192));
    setrlimit(Resource::Nofile, limit).unwrap();
    let lab = lab("idle");
    let tcp = Http::tcp(lab.host());
    let mut stream = tcp.stream("/events?kind=audit");
    let mut idle: Vec<_> = (0..1000).map(|_| tcp.connect()).collect();
    for conversation in &mut idle {
        // Some have said half of something; those that had to go already are told so.
        let _ = conversation.write(b"GET /");
    }
    goes_on(&lab);
    idle[0].closed();
    // The stream was there first, and is not idle.
    assert_eq!(stream.wait_for("audit").1["command"], "execute version");
    drop(idle);
    goes_on(&lab);
    lab.finish();
}

#[test]
fn names_logs_and_results_are_data_whatever_they_hold() {
    let mut lab = Lab::new("markup");
    let nasty = "<script>alert(1)</script>\"'&";
    lab.install_with(misbehave("version=1"), &format!("name = '''{nasty}'''"));
    listen(&mut lab);
    let http = unix(&lab);
    let plugin = http.get(&of(&lab, "get"));
    assert_eq!(plugin.data()["name"], nasty);
    assert_eq!(plugin.headers["content-type"], "application/json");
    assert_eq!(plugin.headers["x-content-type-options"], "nosniff");

    let steering = "a\u{1b}[2J\r\nid: 9\r\ndata: {\"event\":\"host_stopped\"}\r\n\r\n\u{0}\u{202e}";
    let body = json!({ "id": lab.id(), "method": "echo", "args": [steering] });
    let answer = http.post("/api/v1/plugin/execute", &body);
    assert_eq!(answer.data()["result"], steering);
    assert!(!answer.body.contains(|c: char| c.is_ascii_control()), "{}", answer.body);

    let mut stream = http.stream("/events?kind=log");
    lab.call("log", json!(["error", steering])).unwrap();
    assert_eq!(stream.next_event().unwrap().1["message"], steering, "it is one event, and no other");
    lab.finish();
}

#[test]
fn a_path_in_an_id_is_no_id() {
    let lab = lab("paths");
    for id in ["../../etc/passwd", "..", "a.b/../../x", "%2e%2e%2f", "a.b\u{0}", "-a.b", &"a.".repeat(10_000)]
    {
        for what in ["reload", "stop", "unregister"] {
            refused(&unix(&lab).post(&format!("/api/v1/plugin/{what}"), &json!({ "id": id })), 40000);
        }
    }
    goes_on(&lab);
    lab.finish();
}

/// Asks as the user `nobody`.
fn as_nobody(socket: &Path, path: &str) -> Option<Output> {
    let url = format!("http://localhost{path}");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--unix-socket"]).arg(socket).arg(url).uid(65534).gid(65534).current_dir("/");
    curl.output().ok()
}

#[test]
fn another_user_gets_nothing_over_the_socket() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: to ask as another user, this test has to be run by root");
        return;
    }
    let lab = lab("another-user");
    let socket = lab.host().control().unwrap().socket().to_owned();
    let Some(kept_out) = as_nobody(&socket, LIST) else {
        eprintln!("SKIPPED: to ask as another user, this test needs curl");
        return lab.finish();
    };
    assert!(!kept_out.status.success() && kept_out.stdout.is_empty(), "the folder is closed: {kept_out:?}");
    // Even where someone has opened the way to it.
    for path in [lab.dir(), socket.parent().unwrap(), &socket] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let refused = as_nobody(&socket, LIST).unwrap();
    let text = String::from_utf8_lossy(&refused.stdout);
    assert!(text.contains("\"code\":40302") && text.contains("user 65534"), "{text}");
    goes_on(&lab);
    lab.finish();
}

#[test]
fn a_port_that_other_machines_reach_wants_tls() {
    let mut lab = Lab::new("reachable");
    lab.install(misbehave("version=1"));
    let http = replug::control::HttpConfig::at(([0, 0, 0, 0], 0).into());
    let config = replug_tests::http::control(&lab).http(http);
    let error = lab.start_as(|builder| builder.control(config)).unwrap_err().to_string();
    assert!(error.contains("--tls-cert") && error.contains("127.0.0.1"), "{error}");
    lab.assert_clean();
}
