//! `replug completions`: what a shell has to know to complete the command.

use super::{Cli, error::CliError};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::{self, Write};

/// Print what a shell needs to complete this command
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug completions bash > ~/.local/share/bash-completion/completions/replug
  replug completions zsh > ~/.zfunc/_replug
  replug completions fish > ~/.config/fish/completions/replug.fish")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), CliError> {
        // In memory first: written to a pipe that closes, it would panic.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "replug", &mut script);
        io::stdout().write_all(&script).map_err(CliError::Output)
    }
}
