//! The page without a mouse: each step puts the focus in the right place and never loses it.

use super::{NASTY, keep_notes, open};
use replug_tests::{
    Browser, Lab,
    browser::{ENTER, TAB},
    misbehave,
};

const ACTIVE: &str = "document.activeElement";

fn focus(browser: &Browser, selector: &str) {
    browser.until(&format!("document.querySelector(\"{selector}\")?.checkVisibility()"));
    browser.run(&format!("document.querySelector(\"{selector}\").focus()"));
}

fn address(browser: &Browser) -> String {
    browser.run("return location.hash").as_str().unwrap().to_owned()
}

/// From here on, commands to the host wait until `release()` is called, and are counted in `commands`.
fn hold_commands(browser: &Browser) {
    browser.run(
        "const real = window.fetch;
         window.commands = 0;
         window.fetch = (path, options) => {
           if (options?.method !== 'POST') return real(path, options);
           window.commands += 1;
           return new Promise((go) => { window.release = go }).then(() => real(path, options));
         }",
    );
}

#[test]
fn the_skip_link_skips_the_list_and_keeps_the_shown_plugin() {
    let Some((lab, browser)) = open("page-skip", "") else { return };
    let here = format!("#/{}", lab.id());
    // The focus starts at the beginning of the page.
    browser.reload();
    browser.until("document.querySelector('form[data-method]')");
    browser.press(&[TAB]);
    assert_eq!(browser.run(&format!("return {ACTIVE}.id")), "skip");
    browser.press(&[ENTER]);
    browser.until(&format!("{ACTIVE}.id === 'stage'"));
    assert_eq!(address(&browser), here);
    browser.press(&[TAB]);
    browser.until(&format!("{ACTIVE}.id !== 'stage' && document.querySelector('#stage').contains({ACTIVE})"));
    // An unknown fragment of the address does not change the shown plugin either.
    browser.run(
        "return new Promise((done) => {
           addEventListener('hashchange', () => queueMicrotask(done), { once: true });
           location.hash = '#elsewhere';
         })",
    );
    assert_eq!(browser.run("return document.querySelector('h2 bdi').textContent"), "Probe");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}

#[test]
fn the_focus_is_kept_after_each_command() {
    let Some((mut lab, browser)) = open("page-keyboard", "") else { return };
    keep_notes(&browser);
    let at_act =
        |act: &str| browser.until(&format!("{ACTIVE}.dataset.act === '{act}' && {ACTIVE}.checkVisibility()"));
    assert_eq!(browser.run(&format!("return {ACTIVE}.tagName")), "H2", "a selected plugin gets the focus");
    assert_eq!(browser.run("return document.title"), "Probe · replug");

    focus(&browser, "[data-act=stop]");
    browser.press(&[ENTER]);
    at_act("start");
    browser.press(&[ENTER]);
    at_act("reload");

    // While the command waits, a second press of the button does nothing, and the button keeps the focus.
    hold_commands(&browser);
    browser.press(&[ENTER, ENTER]);
    browser.until(&format!(
        "{ACTIVE}.dataset.act === 'reload' && {ACTIVE}.getAttribute('aria-disabled') === 'true'"
    ));
    assert_eq!(browser.run("return commands"), 1);
    browser.run("release()");
    browser.until(&format!("!{ACTIVE}.hasAttribute('aria-disabled')"));
    at_act("reload");
    browser.until("document.querySelector('.facts dd').textContent === 'g3'");

    let form = "form[data-method=echo]";
    browser.run(&format!("document.querySelector('{form}').parentElement.open = true"));
    browser.type_into(&format!("{form} textarea"), NASTY);
    browser.press(&[ENTER, ENTER]);
    focus(&browser, &format!("{form} [type=submit]"));
    browser.press(&[ENTER]);
    assert_eq!(browser.run("return commands"), 2, "repeated presses cause one call");
    browser.run("release()");
    browser.until(&format!("document.querySelector('{form} .result').textContent.includes('<img')"));
    browser.until(&format!("!{ACTIVE}.hasAttribute('aria-disabled')"));
    assert_eq!(browser.run(&format!("return {ACTIVE}.type")), "submit");

    another_version(&mut lab, &browser);
    on_a_phone(&lab, &browser);
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}

/// Rolls back to a version. A note that this version serves then replaces the button and gets the focus.
fn another_version(lab: &mut Lab, browser: &Browser) {
    lab.install(misbehave("version=2"));
    focus(browser, "[data-back='1']:not([hidden])");
    browser.press(&[ENTER]);
    browser.run("release()");
    browser.until(&format!("{ACTIVE}.className === 'serves' && {ACTIVE}.checkVisibility()"));
    // When a note is dismissed, the focus stays on the page.
    focus(browser, ".note button");
    browser.press(&[ENTER]);
    browser.until(&format!("{ACTIVE}.id === 'stage'"));
}

/// On a small screen, the page shows the list or a plugin, but not both.
fn on_a_phone(lab: &Lab, browser: &Browser) {
    browser.look((390, 900), "light");
    focus(browser, ".back");
    browser.press(&[ENTER]);
    browser.until(&format!("{ACTIVE}.getAttribute('href') === '#/{}'", lab.id()));
    assert_eq!(browser.run("return document.title"), "replug");
    browser.press(&[ENTER]);
    browser.until(&format!("{ACTIVE}.tagName === 'H2' && {ACTIVE}.textContent.startsWith('Probe')"));
    assert_eq!(address(browser), format!("#/{}", lab.id()));
}
