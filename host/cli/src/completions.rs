//! `replug completions`: prints a script for a shell's completion of this command.

use super::{Cli, error::CliError};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::{self, Write};

/// Print a completion script for a shell
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
        // clap panics if it cannot write, for example to a closed pipe. So it writes to memory first.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "replug", &mut script);
        io::stdout().write_all(&script).map_err(CliError::Output)
    }
}
