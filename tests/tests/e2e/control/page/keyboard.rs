//! The page without a mouse: where the keyboard is after each step, and that nothing takes it away.

use super::open;
use replug_tests::{
    Browser,
    browser::{ENTER, TAB},
};

const ACTIVE: &str = "document.activeElement";

fn address(browser: &Browser) -> String {
    browser.run("return location.hash").as_str().unwrap().to_owned()
}

#[test]
fn the_skip_link_leads_past_the_list_and_leaves_what_is_shown() {
    let Some((lab, browser)) = open("page-skip", "") else { return };
    let here = format!("#/{}", lab.id());
    // From the beginning of the page.
    browser.run("location.reload()");
    browser.until("document.querySelector('form[data-method]')");
    browser.press(&[TAB]);
    assert_eq!(browser.run(&format!("return {ACTIVE}.id")), "skip");
    browser.press(&[ENTER]);
    browser.until(&format!("{ACTIVE}.id === 'stage'"));
    assert_eq!(address(&browser), here);
    browser.press(&[TAB]);
    browser.until(&format!("{ACTIVE}.id !== 'stage' && document.querySelector('#stage').contains({ACTIVE})"));
    // Nor does any other address that is none of the page's close what is shown.
    browser.run(
        "return new Promise((done) => {
           addEventListener('hashchange', () => queueMicrotask(done), { once: true });
           location.hash = '#elsewhere';
         })",
    );
    assert_eq!(browser.run("return document.querySelector('h2 bdi').textContent"), "Probe");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
    lab.finish();
}
