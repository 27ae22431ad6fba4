//! A Chromium without a window, driven over WebDriver: what a person sees of the page, and can do with it.

use crate::{Http, http::Answer};
use serde_json::{Value, json};
use std::{
    env, fs,
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};
use tempfile::TempDir;

const DRIVER: &str = "chromedriver";
/// With the value 1, it lets tests install the programs that they miss; so does `CI=true`.
const INSTALL: &str = "REPLUG_INSTALL";
/// How long one thing may take to appear, in milliseconds: as long as a test may take that waits for compilers.
const PATIENCE_MS: u64 = 900_000;

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
        if !is_there() && !install() {
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

    /// Waits until an expression is true of the page, and returns what it is.
    ///
    /// # Panics
    ///
    /// If it throws.
    #[track_caller]
    pub fn until(&self, condition: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             let over = false;
             const watch = new MutationObserver(look);
             function look() {{
               if (over) return;
               let found;
               try {{ found = ({condition}); }} catch (error) {{ found = {{ threw: String(error) }}; }}
               if (!found) return;
               over = true;
               watch.disconnect();
               done(found);
             }}
             watch.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
             look();"
        );
        let found = self.post("/execute/async", &json!({ "script": script, "args": [] }));
        assert!(found["threw"].is_null(), "{condition}: {found}");
        found
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

    /// Clicks as a mouse would, on what a selector finds.
    #[track_caller]
    pub fn click(&self, selector: &str) {
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

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        let separator = if self.session.is_empty() { "" } else { "/" };
        value(&self.http.post(&format!("/session{separator}{}{path}", self.session), body))
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

/// Installs Debian's, where that was asked for and may be done.
fn install() -> bool {
    let asked = env::var_os(INSTALL).is_some_and(|value| value == "1")
        || env::var_os("CI").is_some_and(|value| value == "true");
    if !asked || !rustix::process::geteuid().is_root() {
        return false;
    }
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
