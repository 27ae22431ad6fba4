//! `shares_std PLUGINS STATE ID`: a program with a panic hook of its own. The test links the program to the standard
//! library that plugins share. The program makes a plugin panic and panics itself, alternately. The hook prints the
//! messages of the panics that reach it.

use replug::{Handle, Host};
use replug_tests::Probe;
use std::{env, panic};

fn main() -> anyhow::Result<()> {
    panic::set_hook(Box::new(|info| {
        let text = info.payload().downcast_ref::<String>().map_or("", String::as_str);
        println!("own hook: {text}");
    }));
    let args: Vec<_> = env::args().skip(1).collect();
    let [plugins, state, id] = &args[..] else { anyhow::bail!("a plugins folder, a state folder and an id") };
    let host = Host::builder().plugins(plugins).state_dir(state).build().wait()?;
    let probe: Handle<dyn Probe> = host.get(id)?;
    for turn in ["first", "second"] {
        println!("plugin: {}", probe.panic(turn).expect_err("it panics"));
        let panicked = panic::catch_unwind(|| panic!("the program, {turn}"));
        println!("program: {}", panicked.is_err());
        host.reload(id).wait()?;
    }
    host.shutdown().wait();
    Ok(())
}
