//! The command `replug`. It parses the arguments, calls the libraries, and prints the results. Each subcommand has a
//! file.
//!
//! Exit status: 0 success, 1 failure, 2 invalid arguments.
//!
//! | files | purpose |
//! |---|---|
//! | `dev.rs`, `run.rs`, `serve.rs` | a host in this process, and its events on the standard output |
//! | `client.rs`, `host_plugins.rs`, and the subcommands that use them | requests to a running host, over its socket |
//! | `args.rs`, `here.rs`, `named.rs` | shared arguments, and their defaults |
//! | `new.rs`, `build.rs`, `list.rs`, `bench.rs`, `inspect.rs`, `doctor.rs` | commands that need no host |
//! | `render.rs`, `table.rs`, `terminal.rs`, `building.rs` | output for people |
//! | `shell.rs` | text that the user can type into a shell |
//! | `output.rs` | separates the command's own output from that of plugins and libraries in this process |
//! | `trace.rs`, `otel.rs` | the host's own logs and spans |

#![forbid(unsafe_code)]

mod args;
mod bench;
mod build;
mod building;
mod call;
mod client;
mod completions;
mod dev;
mod doctor;
mod error;
mod events;
mod here;
mod host_plugins;
mod http;
mod inspect;
mod life;
mod list;
mod logs;
mod man;
mod named;
mod new;
mod one;
mod otel;
mod output;
mod render;
mod run;
mod serve;
mod shell;
mod signals;
mod signature;
mod status;
mod table;
mod terminal;
mod trace;

use clap::{Parser, Subcommand};
use error::CliError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::ExitCode;

/// The arguments of `replug`.
#[derive(Debug, Parser)]
#[command(name = "replug", version, about, long_about = None, max_term_width = 100, arg_required_else_help = true)]
#[command(about = "Runs plugins, and reloads their code while the program runs")]
#[command(
    after_help = "Begin with:\n  replug new my-plugin     a plugin that builds, with its test\n  replug dev               build, run, and reload on every save\n  replug status            show the status of a running host's plugins"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Dev),
    Run(run::Run),
    New(new::New),
    Build(build::Build),
    List(list::List),
    Call(call::Call),
    Bench(bench::Bench),
    Status(status::Status),
    Reload(life::Reload),
    Rollback(life::Rollback),
    Start(life::Start),
    Stop(life::Stop),
    Logs(logs::Logs),
    Events(events::Events),
    Inspect(inspect::Inspect),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(man::Man),
}

fn main() -> ExitCode {
    replug::shim::run_if_asked();
    // Any command may start child processes, such as cargo.
    replug_runtime::parent::restore_sigchld();
    // clap prints help and usage errors itself, and then exits with 0 or 2.
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Dev(dev) => {
            raise_open_files();
            replug::parent::supervise_until_interrupted();
            in_runtime(dev.run())
        }
        Command::Run(run) => {
            raise_open_files();
            replug::parent::supervise_until_interrupted();
            in_runtime(run.run())
        }
        Command::New(new) => new.run(),
        Command::Build(build) => in_runtime(build.run()),
        Command::List(list) => in_runtime(list.run()),
        Command::Call(call) => in_runtime(call.run()),
        Command::Bench(bench) => in_runtime(bench.run()),
        Command::Status(status) => in_runtime(status.run()),
        Command::Reload(reload) => in_runtime(reload.run()),
        Command::Rollback(rollback) => in_runtime(rollback.run()),
        Command::Start(start) => in_runtime(start.run()),
        Command::Stop(stop) => in_runtime(stop.run()),
        Command::Logs(logs) => in_runtime(logs.run()),
        Command::Events(events) => in_runtime(events.run()),
        Command::Inspect(inspect) => in_runtime(inspect.run()),
        Command::Doctor(doctor) => doctor.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::print_error(&error);
            error.exit_code()
        }
    }
}

/// Raises the soft limit of open files. A host keeps up to ten files open for each plugin, and the usual soft limit of 1024
/// is too low for many plugins. Child processes inherit the limit, so it is not raised to an arbitrary hard limit: some
/// programs close every descriptor below the limit when they start. If it cannot be raised, a plugin that needs more
/// files reports the error.
fn raise_open_files() {
    const ENOUGH: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.map_or(ENOUGH, |most| most.min(ENOUGH));
    if limit.current.is_some_and(|current| current < enough) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(enough), ..limit });
    }
}

/// Runs an async command. One thread is enough, because a host has a runtime of its own.
fn in_runtime(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(CliError::Threads)?.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_sentence_of_a_help_text_is_broken_into_lines() {
        // clap wraps lines at the width of the terminal.
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter(|line| !line.is_empty() && !line.starts_with("  ")) {
                assert!(line.ends_with(['.', ':']), "{}: {line}", command.get_name());
            }
        }
    }

    #[test]
    fn a_call_may_precede_or_follow_the_folder() {
        for line in [
            ["replug", "dev", "plugins", "--call", "a.b", "add", "[1,2]"].as_slice(),
            &["replug", "dev", "--call", "a.b", "add", "[1,2]", "--json", "plugins"],
        ] {
            let Command::Dev(dev) = Cli::try_parse_from(line).unwrap().command else { panic!("not dev") };
            let call = dev.call().unwrap().unwrap();
            assert_eq!((call.plugin, call.method), ("a.b".parse().unwrap(), "add".to_owned()));
            assert_eq!(call.arguments, serde_json::json!([1, 2]));
        }
    }

    #[test]
    fn a_call_needs_a_method_but_no_arguments() {
        let cli = Cli::try_parse_from(["replug", "dev", "--call", "a.b", "history"]).unwrap();
        let Command::Dev(dev) = cli.command else { panic!("not dev") };
        assert!(dev.call().unwrap().unwrap().arguments.is_null());
        assert_eq!(Cli::try_parse_from(["replug", "dev", "--call", "a.b"]).unwrap_err().exit_code(), 2);
    }
}
