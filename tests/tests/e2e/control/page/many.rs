//! The list of a host with many plugins.

use super::{browser, pictures, token, url};
use replug_tests::{Lab, http::control};

const PLUGINS: usize = 130;

#[test]
fn the_list_of_many_plugins_can_be_searched_and_extended() {
    let Some(browser) = browser() else { return };
    let mut lab = Lab::new("page-many");
    for number in 0..PLUGINS {
        let manifest = format!("id = \"dev.test.many-{number}\"\nbinary = \"plugin.so\"\n");
        lab.neighbour(&format!("many-{number}"), manifest, "it is never loaded");
    }
    let config = control(&lab);
    lab.start_listening(config, |builder| builder.auto_start(false)).expect("the host starts");
    browser.look((1280, 900), "light");
    browser.go(&format!("{}/#token={}", url(&lab), token(&lab)));
    browser.until(&entries(100));
    browser.until(&format!(
        "document.querySelector('#side > button').textContent === 'Show {0} more of {0}'",
        PLUGINS - 100
    ));
    browser.click("#side > button");
    browser.until(&entries(PLUGINS));
    browser.until("document.querySelector('#side > button').hidden");

    browser.type_into("#side > .find", "MANY-12 available");
    // `many-12` and `many-120` to `many-129`.
    browser.until(&entries(11));
    pictures(&browser, "many");
    browser.type_into("#side > .find", " problem");
    browser.until(&entries(0));
    browser.until("!document.querySelector('.found-none').hidden");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}

/// Whether the list has this many entries.
fn entries(count: usize) -> String {
    format!("document.querySelectorAll('#plugins .plugin').length === {count}")
}
