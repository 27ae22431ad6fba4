//! The source line at which a plugin has crashed its host.

use replug::manifest::Mode;
use replug_tests::{
    Lab, Source,
    command::{Dev, command, talk},
    source::PROFILE,
};
use serde_json::Value;
use std::{fs, process::Stdio};

const DEEDS: &str = "if a == 1 {
            std::process::abort();
        }
        if a == 2 {
            std::process::exit(3);
        }
        if a == 8 {
            // SAFETY: this is unsound and must crash: no page is mapped at this address.
            unsafe { *std::ptr::without_provenance_mut(a as usize) = b };
        }
        a + b";

/// A plugin with the default debug information.
fn source() -> Source {
    let source = Source::new(1).edited("a + b", DEEDS);
    Source { cargo_toml: source.cargo_toml.replace(PROFILE, ""), ..source }
}

/// The line of `src/lib.rs` that contains this code.
fn line_of(code: &str, lib: &str) -> String {
    let before = lib.lines().take_while(|line| !line.contains(code)).count();
    assert!(before < lib.lines().count());
    format!("src/lib.rs:{}", before + 1)
}

/// Crashes the host with a call of `add`, whose first argument is the action, and waits until the plugin serves in the
/// next host. Returns the event of the crash.
fn crashed_by(dev: &mut Dev, lab: &Lab, action: u64) -> Value {
    talk(lab, &["call", &lab.id(), "add", &format!("[{action}, 1]")]);
    let (mut demoted, mut serves) = (None, false);
    while demoted.is_none() || !serves {
        let event = dev.wait_for_any(&["plugin_demoted", "reloaded"]);
        serves |= event["event"] == "reloaded";
        demoted = demoted.or_else(|| (event["event"] == "plugin_demoted").then_some(event));
    }
    demoted.unwrap()
}

#[test]
fn dev_reports_the_line_of_a_crash_except_for_an_abort() {
    let mut lab = Lab::in_mode("crash-line", Mode::Auto);
    let mut lib = source().lib;
    lab.write_source(&source());
    let stderr = lab.dir().join("stderr");
    let mut dev = command(&lab, &["dev", "--json"]);
    dev.stdin(Stdio::null()).stderr(fs::File::create(&stderr).unwrap());
    let mut dev = Dev::of(dev);
    dev.wait_for("reloaded");
    for (action, code, how) in [
        (8, Some("without_provenance_mut"), ["SIGSEGV", "SIGSEGV"]),
        (2, Some("process::exit"), ["exit", "exit with status 3"]),
        (1, None, ["SIGABRT", "SIGABRT"]),
    ] {
        let line = code.map(|code| line_of(code, &lib));
        let at = line.as_ref().map(|line| format!(" at {line}")).unwrap_or_default();
        let demoted = crashed_by(&mut dev, &lab, action);
        assert_eq!(demoted["plugin"], lab.id(), "{demoted}");
        assert_eq!(demoted["line"], line.map_or(Value::Null, Value::from), "{demoted}");
        assert_eq!(demoted["reason"], format!("it crashed the host in add{at} ({})", how[0]));
        let said = fs::read_to_string(&stderr).unwrap();
        let warning = format!("(Tally.add{at}) crashed the program ({}): starting it again", how[1]);
        assert!(said.contains(&warning), "{said}");
        // Only a new artifact runs in process again, as the next action requires. The edit also changes the line
        // numbers.
        lib = format!("// An edit.\n{lib}");
        lab.write("src/lib.rs", &lib);
        dev.wait_for("reloaded");
    }
    assert!(dev.interrupt().success());
}
