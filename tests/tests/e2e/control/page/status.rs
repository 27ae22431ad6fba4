//! `replug status` in a terminal. The test also takes the screenshot for the README.

use super::browser;
use replug_tests::{
    Browser, Lab, Source,
    artifact::example,
    command::{self, Dev},
    target_dir, workspace,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;

/// Puts an example plugin into the lab, with more lines in its manifest.
fn add(lab: &Lab, name: &str, lines: &str) {
    let manifest = fs::read_to_string(workspace().join(format!("plugins/{name}/plugin.toml"))).unwrap();
    lab.neighbour(name, format!("binary = \"plugin.so\"\n{lines}\n{manifest}"), example(name));
}

fn status(lab: &Lab, args: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = command::command_to_host(lab, &[&["status"], args].concat());
    let command = command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    let output = command.envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_status_describes_each_plugin_and_is_coloured_on_request() {
    // This comes before the lab is created, because an installation could take longer than the lab's time limit for a
    // test.
    let browser = browser();
    let mut lab = Lab::new("hello-world");
    add(&lab, "calculator", "");
    add(&lab, "counter", "");
    add(&lab, "file-ops", "mode = \"process\"");
    lab.write_source(&Source::new(1).edited("a + b", "a + c"));
    lab.write("plugin.toml", "id = \"dev.replug.hello-world\"\n");
    let mut dev = Dev::start_as(&lab, "run", &["--http", "127.0.0.1:0"]);
    let url = dev.wait_for("control_listening")["http"].as_str().unwrap().to_owned();
    dev.wait_for("host_started");
    for args in [
        ["calculator", "divide", "[10, 4]"],
        ["calculator", "divide", "[1, 0]"],
        ["calculator", "sqrt", "[2]"],
        ["counter", "increment", "[3]"],
    ] {
        command::talk(&lab, &["call", &format!("dev.replug.{}", args[0]), args[1], args[2]]);
    }
    let known: Value = serde_json::from_str(&status(&lab, &["--json"], &[])).unwrap();
    let plugins = known["plugins"].as_array().unwrap();
    let file_ops = plugins.iter().find(|it| it["id"] == "dev.replug.file-ops").unwrap();
    let process = i32::try_from(file_ops["process_id"].as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(process).unwrap(), Signal::KILL).unwrap();
    dev.wait_for("plugin_restarted");

    let plain = status(&lab, &[], &[]);
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let row = |id: &str| {
        let line = plain.lines().find(|line| line.starts_with(&format!("dev.replug.{id} ")));
        line.unwrap_or_else(|| panic!("{plain}")).split_whitespace().skip(1).take(3).collect::<Vec<_>>()
    };
    assert_eq!(row("calculator"), ["ready", "in-process", "g1"]);
    assert_eq!(row("file-ops"), ["ready", "process", "g2"]);
    assert_eq!(row("hello-world")[0], "error");
    assert!(
        plain.contains("restarted once after a crash") && plain.contains("cannot find value `c`"),
        "{plain}"
    );
    let coloured = status(&lab, &[], &[("CLICOLOR_FORCE", "1")]);
    assert!(
        coloured.contains("\u{1b}[32mready") && coloured.contains("\u{1b}[1m\u{1b}[31merror"),
        "{coloured:?}"
    );

    if let Some(browser) = &browser {
        picture(browser, &url, &coloured);
    }
    assert!(dev.interrupt().success());
}

/// Takes the screenshot. The page's code converts the colours.
fn picture(browser: &Browser, url: &str, text: &str) {
    browser.look((800, 400), "dark");
    browser.go(url);
    let size = browser.run(&format!(
        "return import('/assets/ansi.js').then(({{ ansi }}) => {{
           const screen = document.createElement('pre');
           screen.className = 'terminal';
           Object.assign(screen.style, {{ width: 'max-content', maxHeight: 'none', borderRadius: '0', borderWidth: '0' }});
           screen.append('$ replug status\\n', ...ansi({}));
           document.body.replaceChildren(screen);
           const {{ width, height }} = screen.getBoundingClientRect();
           return [Math.ceil(width), Math.ceil(height)];
         }})",
        json!(text.trim_end())
    ));
    let side = |at: usize| u32::try_from(size[at].as_u64().unwrap()).unwrap();
    browser.look((side(0), side(1)), "dark");
    browser.screenshot(&target_dir().join("page/status.png"));
}
