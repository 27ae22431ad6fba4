//! A program without an async runtime that embeds a host: `cargo run -p replug --example embed`.
//!
//! `wait` blocks the calling thread until the result of a request is available.

use replug::{CallError, Death, Handle, Host};
use replug_interfaces::Calculator;
use serde_json::json;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    // The host executes this program again for child processes of plugins and for trials. In such a process, this call
    // does not return.
    replug::shim::run_if_asked();
    // Starts the rest of the program in a child process, and starts it again if a plugin crashes it.
    replug::parent::supervise();

    let host = Host::builder().plugins("plugins").build().wait()?;

    // Typed: the handle has the methods of the trait, with their arguments and errors. The calling thread runs the
    // method.
    let calculator: Handle<dyn Calculator> = host.get("dev.replug.calculator")?;
    println!("10 + 5 = {}", calculator.add(10.0, 5.0)?);
    match calculator.divide(1.0, 0.0) {
        Err(CallError::Plugin(error)) => println!("1 / 0 is rejected ({}): {error}", error.code),
        // With `mode = "process"`, a crash of the plugin ends only its own process.
        Err(CallError::Crashed { death: Death::Signal(signal), .. }) => println!("killed by {signal}"),
        other => println!("1 / 0 = {other:?}"),
    }

    // By name: for programs that determine the methods to call at run time.
    let plugin = host.plugin("dev.replug.calculator")?;
    for interface in plugin.interfaces() {
        let methods: Vec<_> = interface.methods.iter().map(|method| method.name.as_str()).collect();
        println!("{} has {}", interface.name, methods.join(", "));
    }
    println!("6 * 7 = {}", plugin.invoke_json("multiply", json!({ "a": 6, "b": 7 })).wait()?);

    // The same handle calls the next generation.
    let generation = host.reload("dev.replug.calculator").wait()?;
    println!("{generation} remembers {} calculations", calculator.history()?.len());

    host.shutdown().wait();
    Ok(())
}
