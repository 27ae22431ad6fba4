//! `replug man`: prints a manual page, which is generated from the same texts as `--help`.

use super::{Cli, error::CliError};
use clap::{Args, CommandFactory};
use std::io::{self, Write};

/// Print a manual page of this command or of one of its subcommands
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  replug man | man -l -
  replug man dev > replug-dev.1")]
pub(super) struct Man {
    /// The subcommand [default: the command as a whole]
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

impl Man {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut whole = Cli::command();
        whole.build();
        let page = match &self.command {
            None => whole,
            Some(name) => match whole.find_subcommand(name) {
                Some(found) => found.clone(),
                None => {
                    return Err(CliError::Usage(format!("there is no `replug {name}`: see `replug --help`")));
                }
            },
        };
        let mut text = Vec::new();
        clap_mangen::Man::new(page).render(&mut text).map_err(CliError::Output)?;
        io::stdout().write_all(&text).map_err(CliError::Output)
    }
}
