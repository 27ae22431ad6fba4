//! Kills the processes of plugins under load, and hosts at random moments, both with SIGKILL. `cargo xtask kill` runs
//! it.
//!
//! This program has three roles: it kills; with `--serve`, it is the host that is killed (`serve.rs`); and it is the
//! shim of each plugin.

mod moments;
mod random;
mod serve;
mod shims;

use anyhow::Result;
use clap::Parser;
use random::Random;
use replug_tests::resource_usage;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

#[derive(Parser)]
#[command(
    name = "kill",
    about = "Kills processes under load, and checks that calls fail as documented and that nothing is left behind"
)]
struct Arguments {
    /// Kill a plugin's process this many times; 1000 if neither this nor --moments is given
    #[arg(long, value_name = "COUNT")]
    shim: Option<u64>,
    /// Kill a host at this many random moments; 50 if neither this nor --shim is given
    #[arg(long, value_name = "COUNT")]
    moments: Option<u64>,
    /// The seed of the random moments
    #[arg(long)]
    seed: Option<u64>,
    /// How long processes of a killed host may survive it, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    within: u64,
    /// Run as the host that is killed, with the plugins below this folder
    #[arg(long, value_name = "DIR", hide = true)]
    serve: Option<PathBuf>,
}

fn main() -> ExitCode {
    replug::shim::run_if_asked();
    match resource_usage::with_few_arenas().and_then(|()| run(&Arguments::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(dir) = &arguments.serve {
        replug::parent::supervise();
        return serve::serve(dir);
    }
    let seed = arguments.seed.unwrap_or_else(random::seed);
    println!("seed                {seed}");
    let (shims, moments) = match (arguments.shim, arguments.moments) {
        (None, None) => (Some(1000), Some(50)),
        given => given,
    };
    if let Some(count) = shims {
        shims::run(count, &mut Random::new(seed))?;
    }
    if let Some(count) = moments {
        moments::run(count, &mut Random::new(seed), Duration::from_millis(arguments.within))?;
    }
    Ok(())
}

/// Writes a plugin that needs no build: its artifact, and a manifest with these lines.
fn install(plugins: &Path, name: &str, artifact: &[u8], lines: &str) -> Result<()> {
    let dir = plugins.join(name);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("plugin.so"), artifact)?;
    fs::write(dir.join("plugin.toml"), format!("id = \"{}\"\nbinary = \"plugin.so\"\n{lines}\n", id(name)))?;
    Ok(())
}

fn id(name: &str) -> String {
    format!("dev.test.{name}")
}
