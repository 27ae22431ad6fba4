//! A program without an async runtime that embeds a host: `cargo run -p replug --example embed`.
//!
//! Every answer that is on its way is waited for with `wait`, which blocks the calling thread.

use replug::{CallError, Handle, Host};
use replug_interfaces::Calculator;
use serde_json::json;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    // The child processes of plugins, and the trials of new versions, run this same program.
    replug::shim::run_if_asked();
    // And it is the parent of the program proper, which it starts again if a plugin crashes it.
    replug::parent::supervise();

    let host = Host::builder().plugins("plugins").build().wait()?;

    // Typed: methods, arguments and errors are those of the trait. The calling thread makes the call itself.
    let calculator: Handle<dyn Calculator> = host.get("dev.replug.calculator")?;
    println!("10 + 5 = {}", calculator.add(10.0, 5.0)?);
    match calculator.divide(1.0, 0.0) {
        Err(CallError::Plugin(error)) => println!("1 / 0 is refused ({}): {error}", error.code),
        other => println!("1 / 0 = {other:?}"),
    }

    // By name, for programs that learn only at run time what there is to call.
    let plugin = host.plugin("dev.replug.calculator")?;
    for interface in plugin.interfaces() {
        let methods: Vec<_> = interface.methods.iter().map(|method| method.name.as_str()).collect();
        println!("{} has {}", interface.name, methods.join(", "));
    }
    println!("6 * 7 = {}", plugin.invoke_json("multiply", json!({ "a": 6, "b": 7 })).wait()?);

    // The same handle reaches the next generation.
    let generation = host.reload("dev.replug.calculator").wait()?;
    println!("{generation} remembers {} calculations", calculator.history()?.len());

    host.shutdown().wait();
    Ok(())
}
