//! The forms for a plugin's own types. The test fills them in as a user does.

use super::{NASTY, browser, pictures, token, url};
use replug_tests::{Browser, Lab, Source, http::control};
use serde_json::{Value, json};

const FORM: &str = "form[data-method=order]";

/// The selector of a field of the form. The names lead from the outer field to the inner one.
fn at(names: &[&str]) -> String {
    let parts: Vec<_> = names.iter().map(|name| format!("[data-name='{name}']")).collect();
    format!("{FORM} {}", parts.join(" "))
}

fn fill(browser: &Browser, names: &[&str], text: &str) {
    browser.type_into(&format!("{} :is(input, textarea):not(.given)", at(names)), text);
}

fn pick(browser: &Browser, names: &[&str], variant: &str) {
    browser.pick(&format!("{} option[value='{variant}']", at(names)));
}

/// Adds a row, and checks that it then has the focus.
fn add(browser: &Browser, names: &[&str]) {
    browser.click(&format!("{} [data-do=add]", at(names)));
    let inside =
        format!("document.querySelector(\"{} li:last-child\").contains(document.activeElement)", at(names));
    assert_eq!(browser.run(&format!("return {inside}")), true, "the new row of {names:?} has the focus");
}

/// Calls the method, and returns the page's message and the result.
fn send(browser: &Browser) -> (String, Value) {
    browser.run(&format!("document.querySelector('{FORM} .result').hidden = true"));
    browser.click(&format!("{FORM} button[type=submit]"));
    let shown = browser.until(&format!(
        "!document.querySelector('{FORM} .result').hidden && document.querySelector('{FORM} .result').innerText"
    ));
    let (said, answer) = shown.as_str().unwrap().split_once('\n').unwrap();
    (said.to_owned(), serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {shown}")))
}

#[test]
fn a_form_accepts_every_type_and_loses_no_value() {
    let Some(browser) = browser() else { return };
    let mut lab = Lab::new("page-forms");
    let mut source = Source::new(1);
    source.lib = include_str!("orders.rs").into();
    lab.write_source(&source);
    let config = control(&lab);
    lab.start_listening(config, |builder| builder).expect("the host starts");
    browser.look((1280, 900), "light");
    browser.go(&format!("{}/#token={}", url(&lab), token(&lab)));
    browser.click_when_there(&format!("a[href='#/{}']", lab.id()));
    browser.until(&format!("document.querySelector('{FORM}')"));
    browser.run(&format!("document.querySelector('{FORM}').parentElement.open = true"));

    fill(&browser, &["order", "to"], NASTY);
    browser.click(&format!("{} input", at(&["order", "gift"])));
    fill(&browser, &["order", "pieces"], "7");
    fill(&browser, &["order", "account"], &u64::MAX.to_string());
    browser.click(&format!("{} .given", at(&["order", "note"])));
    fill(&browser, &["order", "note"], "ring twice");
    fill(&browser, &["order", "address", "street"], "Gasse");
    fill(&browser, &["order", "address", "number"], "12");
    pick(&browser, &["order", "payment"], "Card");
    fill(&browser, &["order", "payment", "number"], "4111");
    fill(&browser, &["order", "payment", "valid", "0"], "12");
    fill(&browser, &["order", "payment", "valid", "1"], "30");
    for (name, value) in [("colour", "-3"), (NASTY, "4")] {
        add(&browser, &["order", "labels"]);
        let row = |part: &str| {
            format!("{} li:last-child [data-name={part}] :is(input, textarea)", at(&["order", "labels"]))
        };
        browser.type_into(&row("key"), name);
        browser.type_into(&row("value"), value);
    }
    add(&browser, &["order", "steps"]);
    fill(&browser, &["order", "steps", "what"], "wrap");
    fill(&browser, &["order", "within"], "1.25");
    fill(&browser, &["order", "size", "0"], "0.5");
    fill(&browser, &["order", "size", "1"], "ß");
    fill(&browser, &["order", "tree", "name"], "root");
    add(&browser, &["order", "tree", "children"]);
    let leaf = json!({ "name": "leaf", "children": [] });
    browser.type_into(&format!("{} li textarea.json", at(&["order", "tree", "children"])), &leaf.to_string());
    browser.pick(&format!("{FORM} [data-name^='<img'] option:last-child"));
    pick(&browser, &["order", "outcome"], "Err");
    fill(&browser, &["order", "outcome", "value"], "no");
    fill(&browser, &["order", "weight"], "-300");
    fill(&browser, &["order", "folder"], "/srv/ü");
    fill(&browser, &["order", "serial"], &u128::MAX.to_string());
    fill(&browser, &["order", "extra"], r#"{"a": [null, 1.5]}"#);
    for price in ["1.5", "9", "2e3"] {
        add(&browser, &["prices"]);
        browser.type_into(&format!("{} li:last-child input", at(&["prices"])), price);
    }
    browser.click(&format!("{} li:nth-child(2) [data-do=remove]", at(&["prices"])));

    let (said, answer) = send(&browser);
    assert!(said.starts_with("g1 answered"), "{said}: {answer}");
    let sent = json!([{
        "to": NASTY,
        "gift": true,
        "pieces": 7,
        "account": u64::MAX,
        "note": "ring twice",
        "address": { "street": "Gasse", "number": 12 },
        "payment": { "Card": { "number": 4111, "valid": [12, 30] } },
        "labels": { "colour": -3, (NASTY): 4 },
        "steps": [{ "what": "wrap" }],
        "within": { "secs": 1, "nanos": 250_000_000 },
        "size": [0.5, "ß"],
        "tree": { "name": "root", "children": [leaf] },
        "<img src=x onerror=document.title=666>": "<img src=x onerror=document.title=666>",
        "fallback": null,
        "outcome": { "Err": "no" },
        "weight": -300,
        "folder": "/srv/ü",
        "serial": u128::MAX.to_string(),
        "copies": 1,
        "since": { "secs_since_epoch": 0, "nanos_since_epoch": 0 },
        "extra": { "a": [null, 1.5] },
    }, [1.5, 2000.0]]);
    assert_eq!(answer, sent);
    pictures(&browser, "form");

    // Another variant has its own fields. If the first variant is selected again, its fields contain the earlier input.
    pick(&browser, &["order", "payment"], "Cash");
    browser.click(&format!("{} .given", at(&["order", "note"])));
    let (_, answer) = send(&browser);
    assert_eq!((&answer[0]["payment"], &answer[0]["note"]), (&json!("Cash"), &Value::Null));
    pick(&browser, &["order", "payment"], "Card");
    assert_eq!(send(&browser).1[0]["payment"]["Card"]["number"], 4111);

    assert_eq!(browser.run("return document.title"), "page-forms · replug");
    assert_eq!(
        browser.run("return document.querySelectorAll('main script, main img, main [onerror]').length"),
        0,
        "a name or a doc comment became markup"
    );
    assert_accessible(&browser);
    assert_errors_are_shown(&browser);
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}

/// Asserts that each input has a label, each button a name, and each group a title.
fn assert_accessible(browser: &Browser) {
    let nameless = browser.run(&format!(
        "const form = document.querySelector('{FORM}');
         const without = [...form.querySelectorAll('input, select, textarea')].filter((it) => it.labels.length !== 1);
         without.push(...[...form.querySelectorAll('button')].filter((it) => !(it.getAttribute('aria-label') ?? it.textContent)));
         without.push(...[...form.querySelectorAll('fieldset')].filter((it) => it.firstElementChild.tagName !== 'LEGEND'));
         return without.map((it) => it.outerHTML)"
    ));
    assert_eq!(nameless, json!([]));
}

/// Asserts that an error is shown next to each invalid field without a request to the host, and that the field gets the
/// focus.
fn assert_errors_are_shown(browser: &Browser) {
    browser.run(&format!("document.querySelector('{FORM} .result').hidden = true"));
    let labels = format!("{} li:last-child", at(&["order", "labels"]));
    for (input, wrong, right, words) in [
        (format!("{} input", at(&["order", "pieces"])), "256", "7", "from 0 to 255"),
        (format!("{} input", at(&["order", "account"])), "18446744073709551616", "1", "18446744073709551615"),
        (format!("{} input", at(&["order", "copies"])), "0", "1", "from 1 to 255"),
        (format!("{} input", at(&["order", "size", "1"])), "ab", "b", "Must be one character"),
        (format!("{} input", at(&["order", "within"])), "soon", "2", "Must be seconds"),
        (format!("{labels} [data-name=key] textarea"), "colour", "size", "exists already"),
        (format!("{} li:last-child input", at(&["prices"])), "1e999", "1", "Must be a number, such"),
    ] {
        browser.type_into(&input, wrong);
        browser.click(&format!("{FORM} button[type=submit]"));
        let said = format!(
            "document.querySelector(\"{input}\").closest('.field').querySelector('.field-error').textContent"
        );
        browser.until(&format!("{said}.includes('{words}')"));
        assert_eq!(
            browser.run(&format!(
                "const input = document.querySelector(\"{input}\");
                 return document.activeElement === input && input.getAttribute('aria-invalid') === 'true' && document.querySelector('{FORM} .result').hidden"
            )),
            true,
            "{input}"
        );
        browser.type_into(&input, right);
    }
    let (said, _) = send(browser);
    assert!(said.starts_with("g1 answered"), "{said}");
    assert_eq!(browser.run(&format!("return document.querySelectorAll('{FORM} [aria-invalid]').length")), 0);
}
