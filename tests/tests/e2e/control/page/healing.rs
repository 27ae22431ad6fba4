//! What the page finds its way back from: a token that it lacked, and events that were lost.

use super::{open, token, url};
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
