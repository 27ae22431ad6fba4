//! The `replug` command. Everything it does is in the library or in `cli/`.

mod cli;

fn main() -> std::process::ExitCode {
    replug::shim::run_if_asked();
    cli::main()
}
