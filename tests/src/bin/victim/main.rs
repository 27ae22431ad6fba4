//! `victim PLUGINS STATE [ID=DEED]...`: a program with plugins in it that do their worst, each on a thread of its own.
//!
//! It does not shut its host down: what it leaves is what a program leaves that ends in the middle of something.

use replug::{Handle, Host};
use replug_tests::Probe;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::{env, thread};

fn main() -> anyhow::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let mut args = env::args().skip(1);
    let [plugins, state] = std::array::from_fn(|_| args.next().unwrap_or_default());
    let host = Host::builder().plugins(plugins).state_dir(state).build().wait()?;
    let callers = args.map(|order| {
        let (id, deed) = order.split_once('=').unwrap_or((&order, ""));
        let probe: Handle<dyn Probe> = host.get(id)?;
        let deed = deed.to_owned();
        Ok(thread::spawn(move || probe.misbehave(&deed)))
    });
    let callers: Vec<_> = callers.collect::<anyhow::Result<_>>()?;
    for caller in callers {
        // How a call ends that is survived is for other tests.
        let _ = caller.join();
    }
    std::mem::forget(host);
    Ok(())
}
