//! What the page shows for plugins with a problem and for removed plugins.

use super::{browser, call, open, pictures, watched};
use replug::manifest::Mode;
use replug_tests::{Browser, Lab, Source, misbehave};
use serde_json::json;
use std::fs;

const NOTE: &str = "document.querySelector('.problem > p').textContent";

/// Asserts that the page shows the compiler's error and this note about the version that serves.
fn does_not_compile(browser: &Browser, serves: &str) {
    browser.until(&format!("{NOTE} === '{serves}'"));
    let shown = "document.querySelector('.problem').checkVisibility() && document.querySelector('.problem .terminal').textContent";
    let shown = browser.run(&format!("return {shown}"));
    assert!(shown.as_str().is_some_and(|text| text.contains("cannot find value `c`")), "{shown}");
}

#[test]
fn a_compile_error_is_shown_until_the_source_compiles() {
    let Some(browser) = browser() else { return };
    let mut lab = Lab::in_mode("page-broken", Mode::Process);
    lab.write_source(&Source::new(1));
    watched(&mut lab, &browser);
    lab.write("src/lib.rs", Source::lib(2));
    browser.until("document.querySelector('.facts dd').textContent === 'g2'");
    lab.write("src/lib.rs", Source::lib(3).replace("a + b", "a + c"));
    browser.until("document.querySelector('.problem').checkVisibility()");
    does_not_compile(&browser, "g2 keeps serving.");

    lab.kill();
    browser.until("document.querySelector('.facts dd').textContent === 'g3'");
    does_not_compile(&browser, "g3 keeps serving.");
    browser.click("[data-back='1']");
    browser.until("document.querySelector('.facts dd').textContent === 'g4'");
    does_not_compile(&browser, "g4 keeps serving.");

    lab.write("src/lib.rs", Source::lib(3));
    browser.until("document.querySelector('.facts dd').textContent === 'g5' && !document.querySelector('.problem').checkVisibility()");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}

#[test]
fn a_plugin_waiting_for_its_restart_can_be_started_or_stopped() {
    let Some((lab, browser)) = open("page-waits", "[process]\nrestart_pause = \"1h\"") else { return };
    lab.kill();
    browser.until("document.querySelector('[data-act=start]').checkVisibility()");
    browser.until("document.querySelector('.facts dd').textContent === '–'");
    browser.until("document.querySelector('.plugin-head .status').dataset.status === 'error'");
    browser.until("document.querySelector('.plugin-head .detail').textContent.startsWith('restarting in ')");
    for (act, is_shown) in [("start", true), ("stop", true), ("reload", false)] {
        let shown =
            browser.run(&format!("return document.querySelector('[data-act={act}]').checkVisibility()"));
        assert_eq!(shown, is_shown, "{act}");
    }
    pictures(&browser, "waits");
    browser.click("[data-act=start]");
    browser.until("document.querySelector('.facts dd').textContent === 'g2'");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}

#[test]
fn a_removed_plugin_has_no_controls_until_it_is_added_again() {
    let Some((mut lab, browser)) = open("page-gone", "") else { return };
    lab.neighbour("other", "id = \"dev.test.other\"\nbinary = \"plugin.so\"", misbehave("version=1"));
    browser.until("document.querySelector('#summary').textContent === '2 of 2 plugins serve'");
    assert!(call(&browser, "echo", &[("text", "one")]).contains("one"));
    call(&browser, "log", &[("level", "info"), ("message", "still here")]);
    browser.until("document.querySelector('.logs').textContent.includes('still here')");
    browser.run("document.querySelector('[data-act=reload]').focus()");

    fs::remove_dir_all(lab.path("")).unwrap();
    browser.until("document.querySelector('.words').textContent.includes('There is no plugin')");
    let shown = "[...document.querySelectorAll('#stage :is(button, form, .status, .facts, .charts)')].filter((it) => it.checkVisibility()).length";
    assert_eq!(browser.run(&format!("return {shown}")), 0);
    assert_eq!(browser.run("return document.activeElement.tagName"), "H2", "the focus stays on the page");
    assert_eq!(browser.run("return document.querySelector('h2 bdi').textContent"), "Probe");
    assert_eq!(
        browser.run("return document.querySelector('.logs').textContent.includes('still here')"),
        true,
        "the logs of the removed plugin are still shown"
    );
    browser.until("document.querySelector('#summary').textContent === '1 of 1 plugins serve'");
    pictures(&browser, "gone");
    fs::remove_dir_all(lab.plugins_dir().join("other")).unwrap();
    browser.until("document.querySelector('#summary').textContent === 'no plugins'");

    lab.install_with(misbehave("version=2"), "name = \"Probe\"");
    browser.until("document.querySelector('[data-act=reload]').checkVisibility()");
    assert!(call(&browser, "version", &[]).ends_with('2'));
    call(&browser, "log", &[("level", "info"), ("message", "back again")]);
    browser.until("document.querySelector('.logs').textContent.includes('back again')");
    browser.complaints();
    drop(browser);
}

/// Checks sequences of events and plugin lists. The second value of each pair is the event that the page must show as a
/// problem after the sequence.
#[test]
fn an_event_clears_only_the_problem_that_it_resolves() {
    let Some((_lab, browser)) = open("page-problems", "") else { return };
    let build = json!({ "event": "build_started" });
    let broken = json!({ "event": "build_failed", "error": "it does not compile" });
    let refused = json!({ "event": "reload_failed", "stage": "preflight", "error": "it hangs in `init`" });
    let unfit = json!({ "event": "configure_failed", "file": "plugin.toml", "error": "no such key" });
    let configured = json!({ "event": "configured" });
    let restarted = json!({ "event": "reloaded", "generation": 2, "stages": { "build": 0.0, "load": 2.0 } });
    let rebuilt = json!({ "event": "reloaded", "generation": 3, "stages": { "build": 80.0, "load": 2.0 } });
    let stopped = json!({ "event": "plugin_stopped", "reason": "it was stopped" });
    let is = |generation: Option<u32>, status: &str, detail: &str| json!({ "list": { "id": "a", "generation": generation, "status": status, "detail": detail, "calls": 0 } });
    let serves = is(Some(1), "ready", "");
    let hangs = is(Some(1), "ready", "a: preflight failed: it hangs in `init`");
    for (told, wrong) in [
        (vec![&build, &broken, &restarted], Some("build_failed")),
        (vec![&build, &broken, &build, &rebuilt], None),
        (vec![&build, &broken, &stopped], None),
        (vec![&build, &broken, &unfit, &configured], Some("build_failed")),
        (vec![&build, &broken, &serves], Some("build_failed")),
        (vec![&build, &broken, &is(None, "stopped", "")], None),
        (vec![&build, &refused, &restarted], Some("reload_failed")),
        (vec![&build, &refused, &configured, &hangs], Some("reload_failed")),
        // The version was rejected because of its configuration, and a later configuration was accepted.
        (vec![&build, &refused, &configured, &serves], None),
        // No build was running when the reload failed, so it was a restart, a rollback or a reload for a new manifest.
        (vec![&refused, &hangs], Some("reload_failed")),
        (vec![&refused, &is(Some(1), "ready", "in stage load")], Some("reload_failed")),
        (vec![&refused, &serves], None),
        (vec![&refused, &restarted], None),
        (vec![&build, &broken, &refused, &restarted], Some("build_failed")),
    ] {
        let found = browser.run(&format!(
            "return import('/assets/model.js').then(({{ Model }}) => {{
               const model = new Model();
               for (const it of {}) {{
                 if (it.list) model.listed([it.list], new Map(), model.number);
                 else model.happened({{ plugin: 'a', ...it }}, 'run-1');
               }}
               return model.problems.get('a')?.event ?? null;
             }})",
            json!(told)
        ));
        assert_eq!(found.as_str(), wrong, "{}", json!(told));
    }
    let late = browser.run(&format!(
        "return import('/assets/model.js').then(({{ Model }}) => {{
           const [model, asked] = [new Model(), 0];
           model.happened({{ plugin: 'a', ...{refused} }}, 'run-1');
           model.listed([{}.list], new Map(), asked);
           return model.problems.get('a').event;
         }})",
        serves
    ));
    assert_eq!(
        late, "reload_failed",
        "a list that was requested before an event does not clear the problem of the event"
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}
