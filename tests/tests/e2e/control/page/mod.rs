//! The page in a real browser: its content while plugins change, its commands, and texts of plugins, which must never
//! become markup.

mod forms;
mod healing;
mod keyboard;
mod many;
mod problems;
mod status;
mod words;

use replug::{control::HttpConfig, manifest::Mode};
use replug_tests::{Browser, Http, Lab, Source, http::control, misbehave, skipped, target_dir};
use serde_json::json;
use std::fs;

/// Markup that sets the page's title if a browser executes it.
const NASTY: &str = "<img src=x onerror=document.title=666><script>document.title=666</script>";

/// A browser, if one is installed or can be installed.
fn browser() -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        skipped("tests of the page need chromium and chromedriver (as root, REPLUG_INSTALL=1 installs them)");
    }
    browser
}

/// A lab with a plugin from source and one with markup in its texts, a host with a watcher, and a browser that shows
/// the page.
fn shown(name: &str) -> Option<(Lab, Browser)> {
    let browser = browser()?;
    let mut lab = Lab::new(name);
    lab.set_manifest("name = \"Tally\"\nversion = \"1.4.0\"\ndescription = \"Adds up what it is given.\"");
    lab.write_source(&Source::new(1));
    let manifest = format!(
        "id = \"dev.test.nasty\"\nbinary = \"plugin.so\"\nname = '''{NASTY}'''\ndescription = '''{NASTY}'''"
    );
    lab.neighbour("nasty", manifest, misbehave("version=1"));
    let config = control(&lab);
    lab.start_listening(config, |builder| builder.watch(true)).expect("the host starts");
    browser.look((1280, 900), "light");
    Some((lab, browser))
}

/// A lab with a prebuilt plugin in a child process, with `lines` in its manifest, a host with a watcher, and a browser
/// that shows the plugin.
fn open(name: &str, lines: &str) -> Option<(Lab, Browser)> {
    let browser = browser()?;
    let mut lab = Lab::in_mode(name, Mode::Process);
    lab.install_with(misbehave("version=1"), &format!("name = \"Probe\"\n{lines}"));
    watched(&mut lab, &browser);
    Some((lab, browser))
}

/// Starts the lab's host, and shows its plugin.
fn watched(lab: &mut Lab, browser: &Browser) {
    let config = control(lab);
    lab.start_listening(config, |builder| builder.watch(true)).expect("the host starts");
    browser.look((1280, 900), "light");
    browser.go(&format!("{}/#token={}", url(lab), token(lab)));
    browser.click_when_there(&format!("a[href='#/{}']", lab.id()));
    browser.until("document.querySelector('form[data-method]') && document.querySelector('.facts dd').textContent === 'g1'");
}

/// From here on, the page's notes about commands stay until they are dismissed.
fn keep_notes(browser: &Browser) {
    browser.run("const real = setTimeout; window.setTimeout = (act, after) => (after === 6000 ? 0 : real(act, after))");
}

fn url(lab: &Lab) -> String {
    lab.listening().http().unwrap().to_owned()
}

fn token(lab: &Lab) -> String {
    let path = &lab.listening().token().unwrap().path;
    fs::read_to_string(path).unwrap().trim().to_owned()
}

/// Calls a method through its form.
fn call(browser: &Browser, method: &str, arguments: &[(&str, &str)]) -> String {
    let form = format!("form[data-method=\"{method}\"]");
    browser.until(&format!("document.querySelector('{form}')"));
    browser.run(&format!(
        "document.querySelector('{form}').parentElement.open = true;
                          document.querySelector('{form} .result').hidden = true"
    ));
    for (param, argument) in arguments {
        browser.type_into(&format!("{form} [data-param={param}] :is(input, textarea)"), argument);
    }
    browser.click(&format!("{form} button"));
    let shown = browser.until(&format!("!document.querySelector('{form} .result').hidden && document.querySelector('{form} .result').innerText"));
    shown.as_str().expect("text").to_owned()
}

#[test]
fn the_page_shows_events_and_runs_commands() {
    let Some((lab, browser)) = shown("page") else { return };
    browser.go(&url(&lab));
    browser.until("!document.querySelector('#ask').hidden");
    browser.type_into("#token", "not-this-one");
    browser.click("#ask button");
    browser.until("document.querySelector('#ask-error').textContent.includes('does not accept')");
    browser.type_into("#token", &token(&lab));
    browser.click("#ask button");
    browser.until("document.querySelectorAll('#plugins .plugin .status[data-status=ready]').length === 2");
    keep_notes(&browser);
    browser.click(&format!("a[href='#/{}']", lab.id()));
    assert!(call(&browser, "add", &[("a", "20"), ("b", "22")]).ends_with("42"));
    assert!(call(&browser, "version", &[]).ends_with('1'));
    let most = u64::MAX.to_string();
    assert!(call(&browser, "add", &[("a", "0"), ("b", &most)]).ends_with(&most), "the page shows all digits");
    assert!(call(&browser, "version", &[]).starts_with("g1 answered"));

    // A reload.
    lab.write("src/lib.rs", Source::lib(2));
    browser
        .until("[...document.querySelectorAll('.entry-what')].some((it) => it.textContent === 'g2 serves')");
    browser.until("document.querySelector('.facts dd').textContent === 'g2'");
    let stages = browser.run("return document.querySelector('.bar[role=img]').getAttribute('aria-label')");
    for stage in ["detect", "build", "store", "preflight", "load", "migrate", "swap"] {
        assert!(stages.as_str().unwrap().contains(stage), "{stages}");
    }
    assert!(call(&browser, "version", &[]).ends_with('2'));

    // A compile error is shown as in a terminal, until it is repaired.
    lab.write("src/lib.rs", Source::lib(3).replace("a + b", "a + c"));
    browser
        .until("document.querySelector('.problem .terminal')?.textContent.includes('cannot find value `c`')");
    browser.until("document.querySelector('.problem .terminal .c-red') && document.querySelector('.plugin.has-problem')");
    assert!(call(&browser, "version", &[]).ends_with('2'), "the previous version keeps serving");
    pictures(&browser, "problem");
    lab.write("src/lib.rs", Source::lib(3));
    browser.until("document.querySelector('.problem').hidden && document.querySelector('.facts dd').textContent === 'g3'");

    // A rollback.
    browser.until("document.querySelector('[data-back=\"1\"]:not([hidden])')");
    browser.click("[data-back=\"1\"]");
    browser.until("document.querySelector('#notes').textContent.includes('Tally: g4 serves')");
    assert!(call(&browser, "version", &[]).ends_with('1'));
    assert!(call(&browser, "version", &[]).starts_with("g4 answered"));

    browser.click("[data-act=stop]");
    browser.until("document.querySelector('.plugin-head .status').dataset.status === 'stopped'");
    browser.click("[data-act=start]:not([hidden])");
    browser.until("document.querySelector('.facts dd').textContent === 'g5'");
    browser.click("[data-act=reload]:not([hidden])");
    browser.until("document.querySelector('#notes').textContent.includes('g6')");
    pictures(&browser, "plugin");

    browser.click("label[for^=details-]");
    browser.until("[...document.querySelectorAll('.entry')].some((it) => it.textContent.includes('rollback, by 127.0.0.1'))");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}

#[test]
fn the_page_finds_its_host_again_after_a_restart() {
    let Some((mut lab, browser)) = shown("page-restart") else { return };
    let (url, token) = (url(&lab), token(&lab));
    browser.go(&format!("{url}/#token={token}"));
    browser.until("document.querySelector('#link').dataset.state === 'live'");
    assert_eq!(
        browser.run("return location.href"),
        format!("{url}/"),
        "the token is not left in the address"
    );
    browser.until("document.querySelectorAll('#plugins .plugin .status[data-status=ready]').length === 2");
    browser.click(&format!("a[href='#/{}']", lab.id()));
    browser.until("document.querySelector('form[data-method=add]') && document.querySelector('[data-back]')");
    browser.run("document.querySelector('[data-act=reload]').focus()");
    lab.host().shutdown().wait();
    browser.until("!document.querySelector('#banner').hidden && document.querySelector('#link').dataset.state === 'lost'");
    for button in ["[data-act=reload]", "[data-back='1']", "form[data-method=add] [type=submit]"] {
        browser.until(&format!("document.querySelector(\"{button}\").getAttribute('aria-disabled')"));
    }
    // While no host listens, requests fail with these errors.
    for (order, words) in [
        ("send('reload', {})", "; it is unknown whether the request was executed."),
        ("call('dev.test.nasty', 'version', '[]')", "; it is unknown whether the request was executed."),
        ("ask('list')", "."),
    ] {
        let said = browser.run(&format!(
            "const real = window.fetch;
             window.fetch = () => Promise.reject(new TypeError('Failed to fetch'));
             return import('/assets/api.js').then((api) => api.{order}).catch((error) => error.message)
                 .finally(() => {{ window.fetch = real }})"
        ));
        assert_eq!(said, format!("The host does not answer{words}"), "{order}");
    }

    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    let http = HttpConfig::at(address).token_file(lab.dir().join("token"));
    let config = control(&lab).http(http);
    lab.start_listening(config, |builder| builder.watch(true)).expect("the host starts again");
    browser.until("document.querySelector('#banner').hidden && document.querySelector('#link').dataset.state === 'live'");
    browser.until("!document.querySelector('[data-act=reload]').getAttribute('aria-disabled')");
    // The button has kept the focus. If it was hidden for a moment because there was no plugin to reload, it has got
    // the focus back.
    browser.until("document.activeElement.dataset.act === 'reload'");
    browser.run("location.hash = \"#/\"");
    browser.until(
        "[...document.querySelectorAll('.entry-what')].some((it) => it.textContent === 'host stopped')",
    );
    lab.write("src/lib.rs", Source::lib(2));
    browser
        .until("[...document.querySelectorAll('.entry-what')].some((it) => it.textContent === 'g2 serves')");
    pictures(&browser, "overview");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
}

#[test]
fn nothing_from_a_plugin_becomes_markup() {
    let Some((lab, browser)) = shown("page-markup") else { return };
    browser.go(&format!("{}/#token={}", url(&lab), token(&lab)));
    browser.until("document.querySelectorAll('#plugins .plugin .status[data-status=ready]').length === 2");
    browser.click("a[href='#/dev.test.nasty']");
    browser.until("document.querySelector('.plugin-head h2')?.textContent.includes('<script>')");
    assert!(call(&browser, "echo", &[("text", NASTY)]).contains("<img src=x"));
    assert!(call(&browser, "panic", &[("message", NASTY)]).contains("<img src=x"));
    call(&browser, "log", &[("level", "error"), ("message", NASTY)]);
    let logged = format!(
        "[...document.querySelectorAll('.logs .message')].some((it) => it.textContent.includes({}))",
        json!(NASTY)
    );
    browser.until(&logged);
    browser.until("[...document.querySelectorAll('.logs [data-level=ERROR] .message')].some((it) => it.textContent.startsWith('panicked at'))");
    assert_eq!(
        browser.run("return document.querySelectorAll('main script, main img, main [onerror]').length"),
        0
    );
    assert_eq!(browser.run("return document.title"), format!("{NASTY} · replug"));
    // The content security policy rejects markup even if a script of the page sets it.
    let refused = browser.run(
        "try { document.createElement('p').innerHTML = '<b>x</b>' } catch (error) { return error.name }",
    );
    assert_eq!(refused, "TypeError");
    browser.complaints();
    drop(browser);
}

#[test]
fn the_page_shows_the_lane_of_a_child_process_after_a_call() {
    let Some((lab, browser)) = open("page-lane", "") else { return };
    let lane =
        "[...document.querySelectorAll('.facts div')].find((it) => it.firstChild.textContent === 'lane')";
    assert_eq!(browser.run(&format!("return {lane}.checkVisibility()")), false, "no call was made");
    assert!(call(&browser, "version", &[]).starts_with("g1 answered"));
    browser.until(&format!("{lane}.checkVisibility() && {lane}.lastChild.textContent === 'shared-memory'"));
    pictures(&browser, "lane");
    browser.complaints();
    drop((browser, lab));
}

#[test]
fn the_page_needs_no_token_and_loads_nothing_from_elsewhere() {
    let lab = super::lab("page-headers");
    let bare = Http::tcp(lab.listening()).with("authorization", None);
    for (path, media) in [
        ("/", "text/html; charset=utf-8"),
        ("/assets/app.js", "text/javascript; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
    ] {
        let answer = bare.get(path);
        assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, media), "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        let policy = &answer.headers["content-security-policy"];
        for part in
            ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    assert_eq!(bare.get("/assets/../http-token").error().1, 40400);
    assert_eq!(bare.get("/assets/nothing.js").error().1, 40400);
    assert_eq!(bare.clone().with("host", Some("evil.example")).get("/").error().1, 40300);
}

/// Takes screenshots for people: light, dark, and as on two phones. Asserts that the page is not wider than the window.
fn pictures(browser: &Browser, what: &str) {
    let looks =
        [("light", 1280, "light"), ("dark", 1280, "dark"), ("narrow", 390, "light"), ("slim", 320, "dark")];
    for (name, width, scheme) in looks {
        browser.look((width, 900), scheme);
        browser.run("scrollTo(0, 0)");
        let size = browser
            .run("return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]");
        assert_eq!(size[0], width, "{what} is wider than the window");
        browser.look((width, u32::try_from(size[1].as_u64().unwrap()).unwrap()), scheme);
        browser.screenshot(&target_dir().join(format!("page/{what}-{name}.png")));
    }
    browser.look((1280, 900), "light");
}
