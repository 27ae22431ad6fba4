//! `victim PLUGINS STATE [ID=ACTION]... [-- PLUGINS STATE [ID=ACTION]...]`: starts a host for each group of arguments,
//! and makes the plugins misbehave, each on a thread of its own (`caller-0`, `caller-1`, ...). With `ID=ACTION,stop`, the
//! plugin is stopped afterwards.
//!
//! The program does not shut its hosts down, so it leaves the same files as a program that ends abruptly. With
//! `REPLUG_TEST_OFFERED` in its environment, it calls `run_if_asked`.

use replug::{Handle, Host};
use replug_tests::Probe;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::{env, thread};

fn main() -> anyhow::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    if env::var_os("REPLUG_TEST_OFFERED").is_some() {
        replug::shim::run_if_asked();
    }
    let args: Vec<_> = env::args().skip(1).collect();
    let mut directives = Vec::new();
    for group in args.split(|arg| arg == "--") {
        let [plugins, state, rest @ ..] = group else { anyhow::bail!("a plugins folder and a state folder") };
        // The host is never dropped, which would shut it down.
        let host = &*Box::leak(Box::new(Host::builder().plugins(plugins).state_dir(state).build().wait()?));
        for directive in rest {
            let (id, action) = directive.split_once('=').unwrap_or((directive, ""));
            let probe: Handle<dyn Probe> = host.get(id)?;
            directives.push((host, id.to_owned(), probe, action.to_owned()));
        }
    }
    let callers = directives.into_iter().enumerate().map(|(number, (host, id, probe, action))| {
        let work = move || {
            let called = probe.misbehave(action.trim_end_matches(",stop"));
            if action.ends_with(",stop") {
                let _ = host.stop(&id).wait();
            }
            called
        };
        thread::Builder::new().name(format!("caller-{number}")).spawn(work)
    });
    let callers: Vec<_> = callers.collect::<Result<_, _>>()?;
    for caller in callers {
        // If the program survives a call, the result of the call does not matter here.
        let _ = caller.join();
    }
    Ok(())
}
