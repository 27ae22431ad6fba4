//! A plugin whose methods have different signatures and do as little as possible. So the time of a call is the time that
//! its arguments and its result take to cross the boundary.

mod interface;

use interface::{Functions, Named, Quantity, Refused, Signatures};
use replug_api::{Interface, abi::BoundInterface, prelude::*};

struct Plain;

impl Plugin for Plain {
    type Config = ();
    type State = ();

    fn init(_: &Context, (): ()) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Signatures for Plain {
    fn add(&self, a: f64, b: f64) -> f64 {
        add(a, b)
    }

    fn greet(&self, name: &str) -> String {
        greet(name)
    }

    fn length(&self, bytes: &[u8]) -> usize {
        length(bytes)
    }

    fn numbers(&self, list: Vec<Quantity>) -> Vec<Quantity> {
        list
    }

    fn texts(&self, list: Vec<Named>) -> Vec<Named> {
        list
    }

    fn refuse(&self, code: u32) -> Result<u64, Refused> {
        refuse(code)
    }
}

replug_api::export!(Plain: Signatures);

fn add(a: f64, b: f64) -> f64 {
    a + b
}

fn greet(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    text.push_str("Hello, ");
    text.push_str(name);
    text.push('!');
    text
}

fn length(bytes: &[u8]) -> usize {
    bytes.len()
}

fn refuse(code: u32) -> Result<u64, Refused> {
    Err(Refused { code })
}

/// What a program needs to call the methods without a host: the edges, and the bare functions, to compare both.
#[repr(C)]
pub struct Probe {
    bound: BoundInterface,
    functions: Functions,
}

/// The edges that the host calls, and the bare functions, for a program that opens the library without a host.
// SAFETY: no other function of the library has this name.
#[unsafe(no_mangle)]
pub extern "C" fn signatures_probe() -> Probe {
    let functions = Functions { add, greet, length, numbers: |list| list, texts: |list| list, refuse };
    Probe { bound: <dyn Signatures as Interface>::bind(&Plain), functions }
}
