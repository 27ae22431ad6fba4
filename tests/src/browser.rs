//! A Chromium without a window, driven over WebDriver: what a person sees of the page, and can do with it.

use crate::{Http, http::Answer, needs};
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
/// How long one thing may take to appear, in milliseconds: a compiler has to come to its end, and the test to say what did
/// not appear before it is ended as one that hangs.
const PATIENCE_MS: u64 = 300_000;
/// How long a page is watched at a time: not all that may be waited for is a change of the page, such as where its focus is.
const GLANCE_MS: u64 = 5_000;

/// How often something that moves is clicked on.
const TRIES: usize = 100;

/// The key Tab, for [`Browser::press`].
pub const TAB: char = '\u{e004}';
/// The key Enter, for [`Browser::press`].
pub const ENTER: char = '\u{e007}';

/// A browser with one page.
pub struct Browser {
    driver: Child,
    /// Where it could not write, it would end.
    _output: Lines<BufReader<ChildStdout>>,
    http: Http,
    session: String,
    /// Its profile, which is gone when it is.
    _profile: TempDir,
}

impl Browser {
    /// Starts one; none where there is none, and none may be installed.
    ///
    /// # Panics
    ///
    /// If there is one, and it does not start.
    pub fn start() -> Option<Self> {
        // Once for all tests: two that install at the same time would be in each other's way.
        static FOUND: OnceLock<bool> = OnceLock::new();
        if !FOUND.get_or_init(|| is_there() || (install() && is_there())) {
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
            .expect("chromedriver says its port");
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
            // A machine that is busy is no reason to draw less, or to end what draws.
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

    /// Goes to a URL, and waits until what it names is loaded.
    pub fn go(&self, url: &str) {
        // Only another part of the same page is no other page.
        self.post("/url", &json!({ "url": "about:blank" }));
        self.post("/url", &json!({ "url": url }));
    }

    /// Loads the page again, and waits until it is loaded.
    pub fn reload(&self) {
        self.post("/refresh", &json!({}));
    }

    /// Waits until an expression is true of the page, and returns what it is.
    ///
    /// # Panics
    ///
    /// If it throws, or does not become true in time.
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
        panic!("it does not come to be that {condition}; the page shows:\n{}", self.text());
    }

    /// Runs a piece of script on the page, and returns what it returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Clicks as soon as there is something to click on.
    #[track_caller]
    pub fn click_when_there(&self, selector: &str) {
        self.until(&format!("document.querySelector({})", json!(selector)));
        self.click(selector);
    }

    /// Clicks as a mouse would, on what a selector finds. Where that moves away under the mouse, nothing else is clicked on,
    /// and it is followed.
    ///
    /// # Panics
    ///
    /// If it takes no click.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let guard = format!(
            "const target = document.querySelector({selector});
             const kinds = ['pointerdown', 'mousedown', 'pointerup', 'mouseup', 'click'];
             let hit = false;
             function look(event) {{
               if (!target) return;
               // Of a label, a second click goes to its input.
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
            // An error means that it was drawn again meanwhile, or that something lies over it.
            let _ = self.ask(&format!("/element/{element}/click"), &json!({}));
            if self.run("return endOfClick()") == true {
                return;
            }
        }
        panic!("{selector} takes no click; the page shows:\n{}", self.text());
    }

    /// Picks an option, which a mouse does in a window that is the browser's own.
    #[track_caller]
    pub fn pick(&self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// Types, in place of what stands there.
    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/clear"), &json!({}));
        self.post(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys on the keyboard, one after the other, wherever it is on the page.
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

    /// How large the page is, and whether its reader likes it `light` or `dark`.
    pub fn look(&self, (width, height): (u32, u32), scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    fn devtools(&self, command: &str, params: &Value) {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": params }));
    }

    /// Writes what is seen as a PNG.
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

    /// What the console shows, but for requests that the host refused or did not answer: those are shown by the browser
    /// itself, and the page says them too.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().expect("entries").iter();
        let own = entries.filter(|entry| {
            entry["source"] != "network" && matches!(entry["level"].as_str(), Some("WARNING" | "SEVERE"))
        });
        own.map(ToString::to_string).collect()
    }

    /// What can be read on the page, and what its console shows.
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
            // The driver ends the browser with the session. An error means that it is gone already.
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

/// Installs Debian's, where that may be done.
fn install() -> bool {
    if !needs::may_install() || !rustix::process::geteuid().is_root() {
        return false;
    }
    let _alone = needs::alone_with_apt();
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        let apt = apt.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        apt.status().is_ok_and(|status| status.success())
    };
    apt(&["update"]) && apt(&["install", "-y", "--no-install-recommends", "chromium", "chromium-driver"])
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
