//! An async program that reloads plugins on save: run `cargo run -p replug --example basic`, then edit a file below
//! `plugins` and save it.
//!
//! The program runs until it is interrupted, and then stops the plugins, the one that was added last first.

use replug::{EventKind, Handle, Host};
use replug_interfaces::Greeter;
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = Host::builder().plugins("plugins").watch(true).build().await?;
    let greeter: Handle<dyn Greeter> = host.get("dev.replug.hello-world")?;
    println!("{}", greeter.greet("World")?);
    println!("edit plugins/hello-world/src/lib.rs and save it; press ctrl-c to stop");

    let mut events = host.events();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                break;
            }
        };
        let Some(event) = event else { break };
        let plugin = event.plugin.as_ref().map(|id| id.as_str()).unwrap_or_default();
        match &event.kind {
            EventKind::Reloaded { total_ms, .. } => {
                println!("{plugin} is live after {total_ms:.0} ms");
                println!("{}", greeter.greet("World")?);
            }
            EventKind::BuildFailed { diagnostics, .. } => {
                for diagnostic in diagnostics {
                    eprintln!("{}", diagnostic.rendered);
                }
                println!("{plugin} keeps its previous version");
            }
            EventKind::ReloadFailed { error, .. } => println!("{plugin}: {error}"),
            _ => {}
        }
    }
    host.shutdown().await;
    Ok(())
}
