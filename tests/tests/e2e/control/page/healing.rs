//! What the page finds its way back from.

use super::open;
use serde_json::json;

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
