//! A program that embeds a host and has a parent process, for tests of programs of this kind. It executes each line of
//! its input, and prints answers and events as JSON lines. It ends normally at the end of its input.
//!
//! | line | what it does |
//! |---|---|
//! | `call ID METHOD JSON` | makes a call, and executes the next lines without waiting for its end |
//! | `info ID` | prints the state of the plugin |
//! | `exit STATUS` | exits immediately, without shutting the host down |
//! | `start ID`, `stop ID`, `reload ID`, `rollback ID` | calls the method of `Host` with that name |
//! | `discard ID` | calls `Host::stop_and_discard` |

use replug::{Host, HostError, control::answer::Plugin};
use serde_json::{Value, json};
use std::{env, io, process, thread};

fn main() -> Result<(), HostError> {
    replug::shim::run_if_asked();
    replug::parent::supervise();
    print(&json!({ "event": "here", "pid": process::id() }));
    let mut folders = env::args_os().skip(1);
    let mut folder = || folders.next().expect("a plugins folder and a state folder");
    let builder = Host::builder().plugins(folder()).state_dir(folder());
    let mut events = builder.events();
    let printer = thread::spawn(move || {
        while let Some(event) = events.next_blocking() {
            print(&serde_json::to_value(&*event).expect("events are JSON"));
        }
    });
    let host = builder.build().wait()?;
    for line in io::stdin().lines().map_while(Result::ok) {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (command, id) = (word(), word());
        let generation = |done: Result<replug::Generation, HostError>| done.map(|it| json!(it));
        match command.as_str() {
            "call" => {
                let (host, method, arguments) = (host.clone(), word(), word());
                thread::spawn(move || answer(call(&host, &id, (method, &arguments))));
            }
            "exit" => process::exit(id.parse().expect("a status")),
            "info" => answer(host.info(&id).map(|info| json!(Plugin::from(info)))),
            "stop" => answer(host.stop(&id).wait().map(|()| Value::Null)),
            "discard" => answer(host.stop_and_discard(&id).wait().map(|()| Value::Null)),
            "start" => answer(generation(host.start(&id).wait())),
            "reload" => answer(generation(host.reload(&id).wait())),
            "rollback" => answer(generation(host.rollback(&id, None).wait())),
            other => panic!("unknown command: {other}"),
        }
    }
    host.shutdown().wait();
    drop(host);
    printer.join().expect("events are printed");
    Ok(())
}

fn call(host: &Host, id: &str, (method, arguments): (String, &str)) -> Result<Value, String> {
    let handle = host.plugin(id).map_err(|error| error.to_string())?;
    let arguments: Value = serde_json::from_str(arguments).map_err(|error| error.to_string())?;
    handle.invoke_json(method, arguments).wait().map_err(|error| error.to_string())
}

fn answer<E: ToString>(done: Result<Value, E>) {
    print(&match done {
        Ok(result) => json!({ "event": "answer", "result": result }),
        Err(error) => json!({ "event": "answer", "error": error.to_string() }),
    });
}

fn print(line: &Value) {
    println!("{line}");
}
