//! What the page finds its way back from: a token that it lacked, requests that failed, and events that were lost.

use super::{call, open, token, url};
use serde_json::json;

#[test]
fn the_link_that_the_host_prints_is_taken_where_the_page_asks_for_a_token() {
    let Some((lab, browser)) = open("page-link", "") else { return };
    let page = url(&lab);
    browser.run("sessionStorage.clear()");
    browser.go(&page);
    browser.until("document.activeElement.id === 'token'");
    browser.run(&format!("location.href = {}", json!(format!("{page}/#token=not-this-one"))));
    browser.until("document.querySelector('#ask-error').textContent.includes('does not take')");
    browser.run(&format!("location.href = {}", json!(format!("{page}/#token={}", token(&lab)))));
    browser
        .until("document.querySelector('#ask').hidden && document.querySelectorAll('.plugin').length === 1");
    assert_eq!(browser.run("return location.href"), format!("{page}/"));
    assert_eq!(browser.run("return document.activeElement.id"), "stage", "the keyboard is not lost");
    browser.complaints();
    drop(browser);
    lab.finish();
}

#[test]
fn logs_methods_and_versions_come_when_the_host_answers_again() {
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
    says("What it logs now is not shown: no such plugin");
    browser.run("heal()");
    browser
        .until("document.querySelector('form[data-method=echo]') && document.querySelector('[data-back]')");
    browser.until("document.querySelector('.logs').textContent.includes('listen')");
    browser
        .until("![...document.querySelectorAll('#stage .card > .quiet')].some((it) => it.checkVisibility())");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
    lab.finish();
}

#[test]
fn events_that_were_lost_are_an_entry_each_however_often_they_are_drawn() {
    let Some((lab, browser)) = open("page-lost", "") else { return };
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
    lab.finish();
}
