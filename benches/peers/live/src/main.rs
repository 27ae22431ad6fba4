//! Reloads the library `greeter` with hot-lib-reloader, and prints what its function `greet` returns: at the start, and
//! after each reload. The arguments are the folder of the library and the debounce in milliseconds, 500 or 10.

use std::{env, path::PathBuf, process::ExitCode};

/// The folder of the library.
fn folder() -> PathBuf {
    env::args().nth(1).unwrap_or_default().into()
}

#[hot_lib_reloader::hot_module(dylib = "greeter", lib_dir = super::folder())]
mod by_default {
    #[hot_functions]
    extern "Rust" {
        pub fn greet(name: &str) -> String;
    }

    #[lib_change_subscription]
    pub fn subscribe() -> hot_lib_reloader::LibReloadObserver {}
}

#[hot_lib_reloader::hot_module(dylib = "greeter", lib_dir = super::folder(), file_watch_debounce = 10)]
mod soon {
    #[hot_functions]
    extern "Rust" {
        pub fn greet(name: &str) -> String;
    }

    #[lib_change_subscription]
    pub fn subscribe() -> hot_lib_reloader::LibReloadObserver {}
}

fn main() -> ExitCode {
    let (observer, greet): (_, fn(&str) -> String) = match env::args().nth(2).as_deref() {
        Some("500") => (by_default::subscribe(), by_default::greet),
        Some("10") => (soon::subscribe(), soon::greet),
        _ => {
            eprintln!("usage: peer-live FOLDER 500|10");
            return ExitCode::FAILURE;
        }
    };
    loop {
        println!("{}", greet("you"));
        observer.wait_for_reload();
    }
}
