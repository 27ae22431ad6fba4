//! The control plane: every route, over the socket and over TCP, and the requests that must be rejected.

mod audit;
mod commands;
mod docs;
mod elsewhere;
mod metrics;
mod openapi;
mod page;
mod routes;
mod schemathesis;
mod security;
mod spans;
mod streams;

use replug::Host;
use replug_tests::{Http, Lab, artifact::example, http::control, misbehave, workspace};
use std::fs;

/// A lab with a serving plugin, whose host has a control plane.
fn lab(name: &str) -> Lab {
    let mut lab = Lab::new(name);
    lab.install(misbehave("version=1"));
    listen(&mut lab);
    lab
}

/// Starts the lab's host with a control plane.
fn listen(lab: &mut Lab) -> &Host {
    let config = control(lab);
    lab.start_listening(config, |builder| builder).expect("the host starts")
}

/// A client over the socket.
fn unix(lab: &Lab) -> Http {
    Http::unix(lab.listening())
}

/// The path of a route of `/plugin`, with the id of the lab's plugin in its query.
fn of(lab: &Lab, name: &str) -> String {
    format!("/api/v1/plugin/{name}?id={}", lab.id())
}

/// A lab with the example plugin `calculator`, which the documentation uses.
fn with_calculator() -> Lab {
    let lab = Lab::new("calculator");
    let manifest = fs::read_to_string(workspace().join("plugins/calculator/plugin.toml")).unwrap();
    lab.write("plugin.so", example("calculator"));
    lab.write("plugin.toml", format!("binary = \"plugin.so\"\n{manifest}"));
    lab
}
