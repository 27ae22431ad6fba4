//! Kills a host at random moments, while it starts, serves, runs trials and swaps versions. Checks that all processes
//! that the host has started end within a second, and that no file is left in the temporary folder, which is also the
//! user's runtime folder.

use crate::{Random, serve};
use anyhow::{Context, Result, ensure};
use replug_tests::wait::poll_within;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The process to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// The host, whose threads have started all shims.
    Host,
    /// The parent, which would start the host again after a crash.
    Parent,
    /// The process group of both, which a terminal or a service manager would signal.
    Group,
}

impl Victim {
    const ALL: [Self; 3] = [Self::Host, Self::Parent, Self::Group];

    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Parent => "parent",
            Self::Group => "group of both",
        }
    }

    fn kill(self, parent: &Child) -> Result<()> {
        let parent = Pid::from_child(parent);
        let killed = match self {
            // Until the parent has started the host, the parent is killed instead.
            Self::Host => kill_process(host_of(parent).unwrap_or(parent), Signal::KILL),
            Self::Parent => kill_process(parent, Signal::KILL),
            Self::Group => kill_process_group(parent, Signal::KILL),
        };
        Ok(killed?)
    }
}

/// The only child of the parent.
fn host_of(parent: Pid) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// An environment variable that all processes of a run inherit. It identifies even processes that have left their
/// process group and session.
const RUN_VARIABLE: &str = "REPLUG_KILL_RUN";

/// The latest moment of a kill. By then, most plugins have been reloaded a few times.
const LATEST: Duration = Duration::from_millis(1500);

/// Kills a host at `count` random moments.
pub(crate) fn run(count: u64, random: &mut Random, within: Duration) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary)?;
    serve::prepare(dir.path())?;
    let run_id = format!("{}-{}", process::id(), random.below(u64::MAX));
    let (mut victims, mut processes) = (BTreeMap::new(), Vec::new());
    let (mut longest, mut files) = (Duration::ZERO, 0);
    for number in 0..count {
        let victim = Victim::ALL[usize::try_from(random.below(Victim::ALL.len() as u64))?];
        let moment = random.time(LATEST);
        let mut host = start(dir.path(), &temporary, &run_id)?;
        // The moment is random, so there is no event to wait for.
        thread::sleep(moment);
        let alive = processes_of(&run_id);
        victim.kill(&host)?;
        let killed = Instant::now();
        host.wait()?;
        let what = || format!("kill {number} of the {} after {moment:?}", victim.name());
        poll_within(within, || processes_of(&run_id).is_empty());
        let left = processes_of(&run_id);
        let took = killed.elapsed();
        let names: Vec<_> = left.iter().map(|pid| describe(*pid)).collect();
        for pid in left {
            // An error means that the process has ended already.
            let _ = kill_process(pid, Signal::KILL);
        }
        ensure!(
            names.is_empty(),
            "{}: these processes are still alive after {took:?}:\n  {}",
            what(),
            names.join("\n  ")
        );
        let litter = names_in(&temporary);
        ensure!(litter.is_empty(), "{}: left in the temporary folder: {}", what(), litter.join(", "));
        *victims.entry(victim).or_insert(0_u64) += 1;
        processes.push(alive.len());
        longest = longest.max(took);
        files += names_in(&dir.path().join("state/run")).len();
    }
    let mut last = start(dir.path(), &temporary, &run_id)?;
    wait_until_up(&mut last)?;
    ensure!(
        names_in(&temporary.join("replug")).len() == 1,
        "the socket is outside of the folder that is checked for leftover files"
    );
    drop(last.stdin.take());
    ensure!(last.wait()?.success(), "the host after all kills did not end successfully");
    let litter = names_in(&temporary);
    ensure!(litter.is_empty(), "the last host left in the temporary folder: {}", litter.join(", "));
    let left = names_in(&dir.path().join("state/run"));

    let all: Vec<_> =
        victims.iter().map(|(victim, count)| format!("{count} of the {}", victim.name())).collect();
    println!("kills of a host     {count}: {}", all.join(", "));
    println!(
        "processes at a kill {} on average, {} at most",
        processes.iter().sum::<usize>() / processes.len().max(1),
        processes.iter().max().unwrap_or(&0)
    );
    println!("last process ended  after at most {:.0} ms", longest.as_secs_f64() * 1e3);
    println!("temporary folder    empty after each kill");
    println!("state/run           {files} folders found after the kills, {} after the next host", left.len());
    ensure!(left.is_empty(), "left in state/run: {}", left.join(", "));
    ensure!(processes_of(&run_id).is_empty(), "processes of a host that has shut down are still running");
    println!("ok");
    Ok(())
}

fn start(dir: &Path, temporary: &Path, run_id: &str) -> Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("--serve").arg(dir).env(RUN_VARIABLE, run_id);
    command.env("TMPDIR", temporary).env("XDG_RUNTIME_DIR", temporary);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.process_group(0).spawn().context("cannot start the host")
}

fn wait_until_up(host: &mut Child) -> Result<()> {
    let output = host.stdout.as_mut().context("its output is a pipe")?;
    for line in BufReader::new(output).lines() {
        if line? == serve::UP {
            return Ok(());
        }
    }
    anyhow::bail!("the host ended before it was up")
}

/// The running processes of this run, in any process group and session. Zombies are not included.
fn processes_of(run_id: &str) -> Vec<Pid> {
    let wanted = format!("{RUN_VARIABLE}={run_id}");
    let belongs = |pid: &Pid| {
        let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|it| Pid::from_raw(it.file_name().to_str()?.parse().ok()?));
    pids.filter(belongs).collect()
}

fn describe(pid: Pid) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let lines = ["State:", "PPid:", "NSpgid:", "NSsid:"];
    let status = read("status");
    let status = status.lines().filter(|line| lines.iter().any(|name| line.starts_with(name)));
    format!("{pid} {} {}", read("cmdline").replace('\0', " "), status.collect::<Vec<_>>().join(" "))
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
