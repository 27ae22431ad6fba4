//! The host that is killed: plugins of all sorts, called, crashing and reloaded without pause, until the standard input
//! ends.

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

/// The line that says that all plugins have come up, or have said why not.
pub(crate) const UP: &str = "up";

const PROCESS: &str =
    "mode = \"process\"\n[process]\nrestart_pause = \"1ms\"\ndeath_window = \"1ms\"\nmax_deaths = 1000000";

/// Each with what it does wrong, and its manifest.
const PLUGINS: [(&str, &str, &str); 5] = [
    ("calm", "", PROCESS),
    ("forking", "do=start:fork", PROCESS),
    ("crashing", "do=work:abort after=20", PROCESS),
    // Where there can be no cgroup, what leaves its group cannot be held, and this one does not come up.
    ("leaving", "do=start:fork-away", "mode = \"process\"\n[limits]\ncgroup = \"required\""),
    ("inside", "", ""),
];

/// Writes the plugins into a folder.
pub(crate) fn prepare(dir: &Path) -> Result<()> {
    for (name, orders, lines) in PLUGINS {
        install(&dir.join("plugins"), name, &misbehave(&format!("version=1 {orders}")), lines)?;
    }
    Ok(())
}

/// Serves them until the standard input ends.
pub(crate) fn serve(dir: &Path) -> Result<()> {
    let host = Host::builder().plugins(dir.join("plugins")).state_dir(dir.join("state"));
    // As under `replug dev`, which is killed as often as any.
    let host = host.attach(Control::new(ControlConfig::new())).build().wait()?;
    for (name, ..) in PLUGINS {
        let Ok(handle) = host.plugin(&id(name)) else { continue };
        let events = host.events();
        thread::spawn(move || call_for_ever(&handle, events));
    }
    let reloaded = host.clone();
    thread::spawn(move || {
        for (name, ..) in PLUGINS.iter().cycle() {
            // One that is just being started again answers with an error.
            let _ = reloaded.reload(&id(name)).wait();
        }
    });
    println!("{UP}");
    io::copy(&mut io::stdin().take(1), &mut io::sink())?;
    host.shutdown().wait();
    Ok(())
}

fn call_for_ever(handle: &DynHandle, mut events: Events) {
    loop {
        let answer = handle.invoke_json("work", json!({})).wait();
        // If it is being started again, or is none of those that serve, that changes with an event.
        if answer.is_err() && events.next_blocking().is_none() {
            return;
        }
    }
}
