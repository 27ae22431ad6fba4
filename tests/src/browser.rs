//! Controls a headless Chromium over WebDriver. Tests see and use the page through it, as a person does.

use crate::{Http, http::Answer, needs, own_process::once_in_run};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
};
use tempfile::TempDir;

const DRIVER: &str = "chromedriver";
/// How long a condition on the page may take to become true, in milliseconds. That is enough for a compilation, and
/// less than the time after which the watchdog ends the test, so the test itself reports the condition.
const PATIENCE_MS: u64 = 300_000;
/// How long a script waits for changes of the page before it checks the condition again, in milliseconds. Some
/// conditions, such as the focus, can become true without a change of the page.
const GLANCE_MS: u64 = 5_000;

/// How often a click on a moving element is attempted.
const TRIES: usize = 100;

/// The key Tab, for [`Browser::press`].
pub const TAB: char = '\u{e004}';
/// The key Enter, for [`Browser::press`].
pub const ENTER: char = '\u{e007}';

/// A browser with one page.
pub struct Browser {
    driver: Child,
    /// The driver's output, which stays open: the driver ends if it cannot write its output.
    _output: Lines<BufReader<ChildStdout>>,
    http: Http,
    session: String,
    /// The profile of the browser, which is removed when this is dropped.
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser; `None` if no browser is installed and none can be installed.
    ///
    /// # Panics
    ///
    /// If a browser exists and does not start.
    pub fn start() -> Option<Self> {
        // The browser is installed once for all tests: two installations at the same time would fail.
        static FOUND: OnceLock<bool> = OnceLock::new();
        let find = || (is_there() || (install() && is_there())).to_string();
        if !FOUND.get_or_init(|| once_in_run("browser", find) == "true") {
            return None;
        }
        let mut driver = Command::new(DRIVER);
        let driver = driver.args(["--port=0", "--log-level=SEVERE"]).stdin(Stdio::null());
        let mut driver = driver.stdout(Stdio::piped()).spawn().expect("chromedriver starts");
        let mut output = BufReader::new(driver.stdout.take().expect("its output is a pipe")).lines();
        let port = output
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                line.split_once("successfully on port ")?.1.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver prints its port");
        let profile = tempfile::tempdir().expect("a temporary folder");
        let http = Http::at(&format!("http://127.0.0.1:{port}"), "");
        let arguments = [
            "--headless=new",
            "--hide-scrollbars",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            // On a busy machine, the browser must neither suspend the page nor end its processes.
            "--disable-background-timer-throttling",
            "--disable-backgrounding-occluded-windows",
            "--disable-renderer-backgrounding",
            "--disable-gpu-watchdog",
            "--disable-component-update",
            "--disable-sync",
            "--force-color-profile=srgb",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
            "timeouts": { "script": PATIENCE_MS },
        });
        let mut browser = Self { driver, _output: output, http, session: String::new(), _profile: profile };
        let session = browser.post("", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        Some(browser)
    }

    /// Opens a URL, and waits until the page is loaded.
    pub fn go(&self, url: &str) {
        // A URL that differs only in its fragment would not load the page again.
        self.post("/url", &json!({ "url": "about:blank" }));
        self.post("/url", &json!({ "url": url }));
    }

    /// Reloads the page, and waits until it is loaded.
    pub fn reload(&self) {
        self.post("/refresh", &json!({}));
    }

    /// Waits until a JavaScript expression is truthy on the page, and returns its value.
    ///
    /// # Panics
    ///
    /// If the expression throws, or does not become truthy in time.
    #[track_caller]
    pub fn until(&self, condition: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             let over = false;
             const watch = new MutationObserver(look);
             function end(found) {{
               over = true;
               watch.disconnect();
               done(found);
             }}
             function look() {{
               if (over) return;
               let found;
               try {{ found = ({condition}); }} catch (error) {{ found = {{ threw: String(error) }}; }}
               if (found) end(found);
             }}
             watch.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
             look();
             setTimeout(() => {{ look(); if (!over) end(null); }}, {GLANCE_MS});"
        );
        for _ in 0..PATIENCE_MS / GLANCE_MS {
            let found = self.post("/execute/async", &json!({ "script": script, "args": [] }));
            assert!(found["threw"].is_null(), "{condition}: {found}");
            if !found.is_null() {
                return found;
            }
        }
        panic!("the condition {condition} does not become true; the page shows:\n{}", self.text());
    }

    /// Runs a script on the page, and returns its result.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an element matches the selector, and clicks it.
    #[track_caller]
    pub fn click_when_there(&self, selector: &str) {
        self.until(&format!("document.querySelector({})", json!(selector)));
        self.click(selector);
    }

    /// Clicks the element that matches the selector, as a mouse does. If the element moves away, no other element gets
    /// the click, and the click is repeated.
    ///
    /// # Panics
    ///
    /// If the element cannot be clicked.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let guard = format!(
            "const target = document.querySelector({selector});
             const kinds = ['pointerdown', 'mousedown', 'pointerup', 'mouseup', 'click'];
             let hit = false;
             function look(event) {{
               if (!target) return;
               // A click on a label causes a second click on its input.
               if (hit) return;
               if (target.contains(event.target)) return void (hit = event.type === 'click');
               event.preventDefault();
               event.stopImmediatePropagation();
             }}
             kinds.forEach((kind) => addEventListener(kind, look, {{ capture: true }}));
             window.endOfClick = () => {{
               kinds.forEach((kind) => removeEventListener(kind, look, {{ capture: true }}));
               return hit;
             }}",
            selector = json!(selector)
        );
        for _ in 0..TRIES {
            let element = self.find(selector);
            self.run(&guard);
            // An error means that the element was redrawn in the meantime, or that another element covers it.
            let _ = self.ask(&format!("/element/{element}/click"), &json!({}));
            if self.run("return endOfClick()") == true {
                return;
            }
        }
        panic!("{selector} cannot be clicked; the page shows:\n{}", self.text());
    }

    /// Selects an option. `click` cannot do this, because the browser shows the options in a separate window.
    #[track_caller]
    pub fn pick(&self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// Types a text into the element that matches the selector. The text replaces the current one.
    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/clear"), &json!({}));
        self.post(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys in sequence, in the element that has the focus.
    pub fn press(&self, keys: &[char]) {
        let strokes: Vec<_> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|stroke| json!({ "type": stroke, "value": key })))
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.post("/actions", &json!({ "actions": [keyboard] }));
    }

    fn find(&self, selector: &str) -> String {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|found| found.values().next()?.as_str());
        id.expect("the id of an element").to_owned()
    }

    /// Sets the size of the page, and whether its colour scheme is `light` or `dark`.
    pub fn look(&self, (width, height): (u32, u32), scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    fn devtools(&self, command: &str, params: &Value) {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": params }));
    }

    /// Writes a screenshot as a PNG.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn screenshot(&self, file: &Path) {
        let answer = self.http.get(&format!("/session/{}/screenshot", self.session));
        let picture = value(&answer);
        fs::create_dir_all(file.parent().expect("a folder")).expect("the folder");
        fs::write(file, base64(picture.as_str().expect("a picture"))).expect("the picture");
    }

    /// The warnings and errors in the console, except those about requests that the host rejected or did not answer.
    /// The browser itself writes those, and the page reports such failures, too.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().expect("entries").iter();
        let own = entries.filter(|entry| {
            entry["source"] != "network" && matches!(entry["level"].as_str(), Some("WARNING" | "SEVERE"))
        });
        own.map(ToString::to_string).collect()
    }

    /// The text of the page, and the messages in its console.
    fn text(&self) -> String {
        let script = "return `${location}: ${document.visibilityState}\\n${document.body.innerText}`";
        let [seen, console] = [
            ("/execute/sync", json!({ "script": script, "args": [] })),
            ("/se/log", json!({ "type": "browser" })),
        ]
        .map(|(path, body)| self.ask(path, &body).json()["value"].take());
        format!("{}\n{console}", seen.as_str().map_or_else(|| seen.to_string(), str::to_owned))
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        value(&self.ask(path, body))
    }

    fn ask(&self, path: &str, body: &Value) -> Answer {
        let separator = if self.session.is_empty() { "" } else { "/" };
        self.http.post(&format!("/session{separator}{}{path}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && matches!(self.driver.try_wait(), Ok(None)) {
            // At the end of the session, the driver ends the browser. An error means that the driver has ended already.
            let mut conversation = self.http.connect();
            let head = self.http.head("DELETE", &format!("/session/{}", self.session));
            let _ = conversation.write(format!("{head}connection: close\r\n\r\n").as_bytes());
            let _ = conversation.answer();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[track_caller]
fn value(answer: &Answer) -> Value {
    let mut json = answer.json();
    assert_eq!(answer.status, 200, "{}: {}", json["value"]["error"], json["value"]["message"]);
    json["value"].take()
}

fn is_there() -> bool {
    let there = |program: &str| {
        let asked =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    there(DRIVER) && there("chromium")
}

/// Installs Debian's Chromium, if that is allowed.
fn install() -> bool {
    needs::may_install() && needs::apt_install(&["chromium", "chromium-driver"])
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<_> = text.bytes().filter_map(digit).collect();
    let group = |digits: &[u8]| {
        let bits = digits.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - digits.len()));
        bits.to_be_bytes()[1..digits.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}
