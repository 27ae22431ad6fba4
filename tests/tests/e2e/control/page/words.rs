//! The texts of the page for every kind of event, and the units of its numbers.

use super::{NASTY, pictures, shown, token, url};
use replug::{Event, EventKind};
use replug_tests::Http;
use serde_json::{Value, json};

/// An event of this kind, with markup in every text that a plugin can choose.
fn nasty(kind: &str) -> Value {
    let text = format!("{NASTY}\u{1b}[31m\u{202e}\u{7}");
    let mut all = json!({
        "at": "2026-01-02T03:04:05.678Z", "plugin": "dev.test.nasty", "generation": 3, "event": kind, "running": 2,
        "stages": { "detect": 1.0, "build": 80.0, "store": 2.0, "preflight": 9.0, "load": 4.0, "migrate": 1.0, "swap": 0.1 },
        "total_ms": 97.1, "done": 37, "total": 53, "stage": "preflight", "outcome": "kept", "from": 2, "how": "live", "thread_id": 7,
        "for_ms": 1500, "restart_in_ms": 250, "deaths": 2, "level": "WARN", "fields": { "<b>": text }, "count": 27,
        "bounds": [{ "of": "memory_bytes", "value": 1_048_576, "by": "rlimit" }], "diagnostics": [],
    });
    for field in [
        "plugins_dir",
        "path",
        "error",
        "cause",
        "reason",
        "method",
        "message",
        "location",
        "thread",
        "signal",
        "stderr_tail",
        "target",
        "http",
        "who",
        "command",
        "doing",
    ] {
        all[field] = json!(text);
    }
    for field in ["in_flight", "applied", "restart_needed", "lacking"] {
        all[field] = json!([text]);
    }
    // The conversion to an `Event` and back gives the form that a host sends. It fails if a field is missing.
    let event: Event = serde_json::from_value(all).unwrap_or_else(|error| panic!("{kind}: {error}"));
    serde_json::to_value(event).unwrap()
}

#[test]
fn every_kind_of_event_has_a_text_and_none_becomes_markup() {
    let Some((lab, browser)) = shown("page-words") else { return };
    browser.go(&format!("{}/#token={}", url(&lab), token(&lab)));
    browser.until("document.querySelector('#link').dataset.state === 'live'");
    let kinds = EventKind::NAMES;
    let events: Vec<_> = kinds.iter().map(|kind| nasty(kind)).collect();
    let shown = browser.run(&format!(
        "const events = {};
         return (async () => {{
           const [{{ Model }}, {{ Timeline }}, {{ KINDS, WORDS, words }}] =
             await Promise.all(['model', 'timeline', 'words'].map((it) => import(`/assets/${{it}}.js`)));
           const [model, timeline] = [new Model(), new Timeline('Everything', {{ most: 100, named: true }})];
           events.filter(({{ event }}) => event !== 'build_started').forEach((event, at) => model.happened(event, `x-${{at}}`));
           model.happened(events.find(({{ event }}) => event === 'build_started'), 'x-last');
           model.happened(events.find(({{ event }}) => event === 'build_progress'), 'x-progress');
           model.happened(events.find(({{ event }}) => event === 'audit'), 'x-again');
           timeline.details.checked = true;
           timeline.draw(model, null);
           document.querySelector('#stage').replaceChildren(timeline.node);
           const progress = {{ event: {{ event: 'build_progress' }}, words: words([...model.builds.values()][0].progress) }};
           const entries = [...model.history, ...model.details, progress];
           const known = Object.fromEntries(Object.keys(WORDS).map((kind) => [kind, true]));
           return {{ asked: KINDS, known, said: Object.fromEntries(entries.map(({{ event, words }}) => [event.event, words])) }};
         }})()",
        json!(events)
    ));
    for kind in kinds {
        let (what, more) = (&shown["said"][kind]["what"], &shown["said"][kind]["more"]);
        assert!(what.as_str().is_some_and(|what| !what.is_empty()), "{kind}: {}", shown["said"]);
        for words in [what, more] {
            let words = words.as_str().expect("words");
            assert!(!words.contains("undefined") && !words.contains("[object"), "{kind}: {words}");
        }
        assert_eq!(shown["known"][kind], true, "the page has no text for `{kind}`: add one to words.js");
        let asked = shown["asked"].as_array().unwrap().contains(&json!(kind));
        assert_eq!(
            asked,
            *kind != "log",
            "{kind}: the page requests all kinds in one stream, except logs, which have their own"
        );
    }
    // There is one entry for each event, except for progress events, which the entry of the running build shows.
    let entries = browser.run("return document.querySelectorAll('.timeline .entry').length");
    assert_eq!(entries, kinds.len());
    let running = browser.run("return document.querySelector('.entry[data-kind=builds]').textContent");
    assert!(running.as_str().is_some_and(|text| text.contains("37/53")), "{running}");
    let often = browser.run(
        "return [...document.querySelectorAll('.entry')].find((it) => it.textContent.includes('requested')).lastChild.lastChild.textContent",
    );
    assert_eq!(often, "× 54", "repeated events are one entry");
    assert_eq!(
        browser
            .run("return document.querySelectorAll('main script, main img, main b, main [onerror]').length"),
        0
    );
    assert_eq!(browser.run("return document.title"), "replug");
    pictures(&browser, "words");
    browser.complaints();
    drop(browser);
}

#[test]
fn the_call_durations_match_the_metrics_in_the_right_unit() {
    let Some((lab, browser)) = shown("page-load") else { return };
    let metrics = Http::tcp(lab.listening());
    browser.go(&format!("{}/#token={}", url(&lab), token(&lab)));
    browser.click_when_there(&format!("a[href='#/{}']", lab.id()));
    for number in 0..200 {
        let called = json!({ "id": lab.id(), "method": "add", "args": [number, 1] });
        assert_eq!(metrics.post("/api/v1/plugin/execute", &called).status, 200);
    }
    let chart = "[...document.querySelectorAll('.chart:not([hidden])')].find((it) => it.textContent.startsWith('mean duration'))";
    browser
        .until(&format!("/^[\\d.]+ (ns|µs|ms|s)$/.test({chart}?.querySelector('.chart-value').textContent)"));
    browser.until("document.querySelector('.facts > :nth-child(4) dd').textContent === '200'");
    let page = browser.run("return import('/assets/metrics.js').then(({ durations }) => durations()).then((all) => Object.fromEntries(all))");
    let (sum, count) = measured(&metrics.get("/metrics").body, &lab.id());
    let (page_sum, page_count) = (page[&lab.id()]["sum"].as_f64().unwrap(), &page[&lab.id()]["count"]);
    assert_eq!((page_count.as_f64(), count), (Some(200.0), 200.0), "{page}");
    assert!((page_sum - sum * 1000.0).abs() < 1e-6 * page_sum, "{page_sum} ms differ from {sum} s");

    let words = browser.run(
        "return import('/assets/text.js').then(({ millis }) =>
           [0.000002, 0.00015, 0.0042, 0.042, 0.5, 4.25, 42, 4200, 42000, 0].map(millis))",
    );
    let expected =
        ["2 ns", "150 ns", "4.2 µs", "42 µs", "500 µs", "4.3 ms", "42 ms", "4200 ms", "42.0 s", "0 µs"];
    assert_eq!(words, json!(expected));
    // There are 10 calls of 2 ms, then none, then 30 calls of 4 ms. Each second has its own mean.
    let charted = browser.run(
        "return import('/assets/model.js').then(({ Model }) => {
           const model = new Model();
           const real = performance.now;
           const [second, info] = [(at, calls, sum, count) => {
             performance.now = () => at * 1000;
             model.listed([{ id: 'a', calls }], new Map([['a', { sum, count }]]));
           }, () => model.plugins.get('a')];
           second(1, 0, 0, 0); second(2, 10, 20, 10); second(2.5, 40, 140, 40); second(3, 10, 20, 10); second(4, 40, 140, 40);
           performance.now = real;
           return [info().calls, info().latency];
         })",
    );
    assert_eq!(charted, json!([[null, 10, 0, 30], [null, 2, 2, 4]]));
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}

/// The total seconds of a plugin's timed calls, and their number.
fn measured(metrics: &str, id: &str) -> (f64, f64) {
    let of = |what: &str| {
        let name = format!("replug_call_duration_sampled_seconds_{what}{{plugin=\"{id}\"");
        let lines = metrics.lines().filter(|line| line.starts_with(&name));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum::<f64>()
    };
    (of("sum"), of("count"))
}
