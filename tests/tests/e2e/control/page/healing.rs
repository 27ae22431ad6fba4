//! The page recovers from a missing token, failed requests, lost events, and a rejected configuration.

use super::{browser, call, open, pictures, token, url};
use replug_tests::{Lab, command::Dev, misbehave};
use serde_json::json;
use std::fs;

#[test]
fn the_token_prompt_accepts_the_link_that_the_host_prints() {
    let Some((lab, browser)) = open("page-link", "") else { return };
    let page = url(&lab);
    browser.run("sessionStorage.clear()");
    browser.go(&page);
    browser.until("document.activeElement.id === 'token'");
    browser.run(&format!("location.href = {}", json!(format!("{page}/#token=not-this-one"))));
    browser.until("document.querySelector('#ask-error').textContent.includes('does not accept')");
    browser.run(&format!("location.href = {}", json!(format!("{page}/#token={}", token(&lab)))));
    browser
        .until("document.querySelector('#ask').hidden && document.querySelectorAll('.plugin').length === 1");
    assert_eq!(browser.run("return location.href"), format!("{page}/"));
    assert_eq!(browser.run("return document.activeElement.id"), "stage", "the focus stays on the page");
    browser.complaints();
    drop(browser);
}

#[test]
fn logs_methods_and_versions_load_when_the_host_answers_again() {
    let Some((lab, browser)) = open("page-heals", "") else { return };
    call(&browser, "log", &[("level", "info"), ("message", "listen")]);
    browser.click("h1 a");
    browser.until("!document.querySelector('#stage h2')");
    browser.run(
        "const real = window.fetch;
         window.fetch = (path, options) => {
           if (/plugin.(methods|generations)/.test(path)) return Promise.reject(new TypeError('Failed to fetch'));
           if (!/plugin.logs/.test(path)) return real(path, options);
           return Promise.resolve(Response.json({ code: 40401, message: 'no such plugin' }, { status: 404 }));
         };
         window.heal = () => { window.fetch = real }",
    );
    browser.click(&format!("a[href='#/{}']", lab.id()));
    let says = |words: &str| {
        browser.until(&format!(
            "[...document.querySelectorAll('#stage .quiet')].some((it) => it.checkVisibility() && it.textContent.includes('{words}'))"
        ));
    };
    says("The host does not answer.");
    says("New log entries are not shown: no such plugin");
    browser.run("heal()");
    browser
        .until("document.querySelector('form[data-method=echo]') && document.querySelector('[data-back]')");
    browser.until("document.querySelector('.logs').textContent.includes('listen')");
    browser
        .until("![...document.querySelectorAll('#stage .card > .quiet')].some((it) => it.checkVisibility())");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}

#[test]
fn each_loss_of_events_is_one_entry_after_any_number_of_redraws() {
    let Some((_lab, browser)) = open("page-lost", "") else { return };
    let drawn = browser.run(
        "return Promise.all(['model', 'timeline', 'dom'].map((it) => import(`/assets/${it}.js`))).then(([{ Model }, { Timeline }, { el, list }]) => {
           const [model, timeline] = [new Model(), new Timeline('Everything', { most: 100, named: true })];
           const place = el('ol');
           for (let time = 0; time < 3; time += 1) {
             if (time < 2) model.happened({ event: 'events_lost', count: 5 }, null);
             timeline.draw(model, null);
             list(place, ['one', 'one', 'two'], { key: (name) => name, make: (name) => el('li', {}, name) });
           }
           return [timeline.entries.childElementCount, place.textContent];
         })",
    );
    assert_eq!(drawn, json!([2, "oneonetwo"]));
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}

#[test]
fn the_page_shows_pending_and_rejected_configuration_of_the_host() {
    let Some(browser) = browser() else { return };
    let mut lab = Lab::new("page-unmet");
    lab.install(misbehave("version=1"));
    let configure = |text: &str| fs::write(lab.dir().join("replug.toml"), text).unwrap();
    configure("keep_artifacts = 4\n");
    let mut dev = Dev::start_as(&lab, "run", &["--http", "127.0.0.1:0"]);
    let page = dev.wait_for("control_listening")["http"].as_str().unwrap().to_owned();
    dev.wait_for("host_started");
    browser.look((1280, 900), "light");
    let token = fs::read_to_string(lab.state_dir().join("http-token")).unwrap();
    browser.go(&format!("{page}/#token={}", token.trim()));
    browser.until("document.querySelectorAll('.plugin').length === 1");
    let said = "document.querySelector('#unmet')";
    assert_eq!(browser.run(&format!("return {said}.checkVisibility()")), false);

    configure("watch = true\n");
    browser.until(&format!(
        "{said}.checkVisibility() && {said}.textContent === 'configuration needs a restart: watch'"
    ));
    configure("watch = true\nkeep_artefacts = 3\n");
    browser.until(&format!("{said}.textContent.includes('replug.toml:2: unknown key `keep_artefacts`')"));
    let words = browser.run(&format!("return {said}.textContent"));
    let (refused, waits) = words.as_str().unwrap().split_once('\n').expect("a line for each");
    assert!(refused.starts_with("configuration rejected, keeping the previous one: "), "{refused}");
    assert_eq!(waits, "configuration needs a restart: watch");
    pictures(&browser, "unmet");

    configure("keep_artifacts = 4\n");
    browser.until(&format!("!{said}.checkVisibility()"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
    assert!(dev.interrupt().success());
}
