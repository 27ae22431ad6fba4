//! The host that is killed. Threads call and reload its plugins without pause, and some of the plugins crash. The host
//! serves until its standard input ends.

use crate::{id, install};
use anyhow::Result;
use replug::{
    DynHandle, Events, Host,
    control::{Control, ControlConfig},
};
use replug_tests::misbehave;
use serde_json::json;
use std::{
    io::{self, Read},
    path::Path,
    thread,
};

/// The line that the host prints when all plugins have started or have failed to start.
pub(crate) const UP: &str = "up";

const PROCESS: &str =
    "mode = \"process\"\n[process]\nrestart_pause = \"1ms\"\ndeath_window = \"1ms\"\nmax_deaths = 1000000";

/// Name, misbehaviour and manifest of each plugin.
const PLUGINS: [(&str, &str, &str); 5] = [
    ("calm", "", PROCESS),
    ("forking", "do=start:fork", PROCESS),
    ("crashing", "do=work:abort after=20", PROCESS),
    // This plugin starts only if it gets a cgroup. Without one, the host could not kill a process that leaves its process
    // group.
    ("leaving", "do=start:fork-away", "mode = \"process\"\n[limits]\ncgroup = \"required\""),
    ("inside", "", ""),
];

/// Writes the plugins into a folder.
pub(crate) fn prepare(dir: &Path) -> Result<()> {
    for (name, directives, lines) in PLUGINS {
        install(&dir.join("plugins"), name, &misbehave(&format!("version=1 {directives}")), lines)?;
    }
    Ok(())
}

/// Serves the plugins until the standard input ends.
pub(crate) fn serve(dir: &Path) -> Result<()> {
    let host = Host::builder().plugins(dir.join("plugins")).state_dir(dir.join("state"));
    // The host has a control plane, as under `replug dev`.
    let host = host.attach(Control::new(ControlConfig::new())).build().wait()?;
    for (name, ..) in PLUGINS {
        let Ok(handle) = host.plugin(&id(name)) else { continue };
        let events = host.events();
        thread::spawn(move || call_forever(&handle, events));
    }
    let reloaded = host.clone();
    thread::spawn(move || {
        for (name, ..) in PLUGINS.iter().cycle() {
            // A plugin that is being restarted answers with an error.
            let _ = reloaded.reload(&id(name)).wait();
        }
    });
    println!("{UP}");
    io::copy(&mut io::stdin().take(1), &mut io::sink())?;
    host.shutdown().wait();
    Ok(())
}

fn call_forever(handle: &DynHandle, mut events: Events) {
    loop {
        let answer = handle.invoke_json("work", json!({})).wait();
        // If the plugin is being restarted or does not serve, an event will report the change.
        if answer.is_err() && events.next_blocking().is_none() {
            return;
        }
    }
}
