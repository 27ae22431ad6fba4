//! Kills the processes of plugins while two threads call the plugins. Checks that each call returns the correct answer
//! or a typed error before its deadline, and that the host uses no more resources after the kills than before.

use crate::{Random, id, install};
use anyhow::{Context, Result, ensure};
use replug::{CallError, EventKind, Events, Handle, Host};
use replug_tests::{Probe, misbehave, resource_usage::ResourceUsage, wait::poll_within};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Calls to the first plugin wait for a restart; calls to the second do not.
const PLUGINS: [(&str, Duration); 2] =
    [("patient", Duration::from_secs(10)), ("hasty", Duration::from_millis(1))];
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The time by which a call may exceed its deadline. On a busy machine, a thread whose deadline has passed may have to
/// wait for a CPU.
const GRACE: Duration = Duration::from_secs(1);

/// The limit for the growth of the host's private memory over all kills. A leak of 5 KiB for each kill exceeds the
/// limit after a thousand kills.
const LIMIT_KIB: u64 = 4 << 10;

/// The results of the callers.
#[derive(Debug, Default)]
struct Seen {
    right: u64,
    wrong: u64,
    crashed: u64,
    restarting: u64,
    /// How many calls returned any other error, and the first of these errors.
    other: (u64, Option<String>),
    longest: Duration,
}

impl Seen {
    fn note<T: PartialEq>(&mut self, answer: Result<T, CallError>, expected: &T, took: Duration) {
        match answer {
            Ok(answer) if answer == *expected => self.right += 1,
            Ok(_) => self.wrong += 1,
            Err(CallError::Crashed { .. }) => self.crashed += 1,
            Err(CallError::Restarting { .. }) => self.restarting += 1,
            Err(error) => {
                self.other.0 += 1;
                self.other.1.get_or_insert(error.to_string());
            }
        }
        self.longest = self.longest.max(took);
    }

    fn add(&mut self, more: Self) {
        self.right += more.right;
        self.wrong += more.wrong;
        self.crashed += more.crashed;
        self.restarting += more.restarting;
        self.other = (self.other.0 + more.other.0, self.other.1.take().or(more.other.1));
        self.longest = self.longest.max(more.longest);
    }
}

/// The maximum number of lanes to the plugins: one for each thread that calls a plugin at the same time as the other. So
/// many descriptors may have been missing when they were counted first.
const LANES: usize = 2 * PLUGINS.len();

/// Two threads that call both plugins alternately.
struct Callers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

impl Callers {
    fn start(host: &Host) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |_| {
            let handles: Vec<Handle<dyn Probe>> =
                PLUGINS.iter().map(|(name, _)| host.get(&id(name))).collect::<Result<_, _>>()?;
            let stop = stop.clone();
            Ok(thread::spawn(move || {
                let mut seen = Seen::default();
                for number in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    for handle in &handles {
                        let began = Instant::now();
                        if number % 2 == 0 {
                            seen.note(handle.version(), &7, began.elapsed());
                        } else {
                            let text = format!("call {number}");
                            let answer = handle.echo(&text);
                            seen.note(answer, &text, began.elapsed());
                        }
                    }
                }
                seen
            }))
        };
        let threads = (0..2).map(start).collect::<Result<_>>()?;
        Ok(Self { stop, threads })
    }

    fn join(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in self.threads {
            all.add(thread.join().expect("a caller does not panic"));
        }
        all
    }
}

/// A host whose plugin processes are killed.
struct KillRun {
    host: Host,
    events: Events,
    retired: u64,
    killed: u64,
}

impl KillRun {
    /// Kills both plugins alternately under load, and waits until both serve again.
    fn kill_under_load(&mut self, count: u64, random: &mut Random) -> Result<Seen> {
        let callers = Callers::start(&self.host)?;
        for _ in 0..count {
            let id = id(PLUGINS[usize::from(self.killed % 2 == 1)].0);
            // The kill happens during a call, between two calls, or soon after the start of the process.
            thread::sleep(random.time(Duration::from_millis(3)));
            let pid = self.host.info(&id)?.process_id.context("a plugin that serves has a process")?;
            let pid = Pid::from_raw(pid.cast_signed()).context("it has a pid")?;
            kill_process(pid, Signal::KILL)?;
            self.killed += 1;
            self.wait_for_restart(&id)?;
        }
        let seen = callers.join();
        while self.retired < self.killed {
            self.next_event()?;
        }
        Ok(seen)
    }

    fn wait_for_restart(&mut self, id: &str) -> Result<()> {
        loop {
            let event = self.next_event()?;
            let of_it = event.plugin.as_ref().is_some_and(|it| it.as_str() == id);
            if of_it && matches!(event.kind, EventKind::PluginRestarted { .. }) {
                return Ok(());
            }
        }
    }

    fn next_event(&mut self) -> Result<Arc<replug::Event>> {
        let event = self.events.next_blocking().context("the host has ended")?;
        self.retired += u64::from(matches!(event.kind, EventKind::GenerationRetired { .. }));
        if let EventKind::EventsLost { count } = event.kind {
            anyhow::bail!("{count} events were lost, so the results of the kills are unknown");
        }
        Ok(event)
    }

    /// The resources of the host, as soon as it has at most this many open descriptors, or after ten seconds. After a
    /// kill, the host's threads for the killed process keep descriptors open until they end.
    fn resource_usage(&self, at_most: usize) -> Result<ResourceUsage> {
        let mut usage = ResourceUsage::now();
        poll_within(Duration::from_secs(10), || {
            usage = ResourceUsage::now();
            usage.as_ref().map_or(true, |usage| usage.descriptors <= at_most)
        });
        usage
    }
}

/// Kills the plugins' processes `count` times in total.
pub(crate) fn run(count: u64, random: &mut Random) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let artifact = misbehave("version=7");
    for (name, restart_wait) in PLUGINS {
        let lines = format!(
            "mode = \"process\"\n[process]\ncall_timeout = \"{}ms\"\nrestart_wait = \"{}ms\"\nrestart_pause = \"1ms\"\n\
             death_window = \"1ms\"\nmax_deaths = 1000000",
            CALL_TIMEOUT.as_millis(),
            restart_wait.as_millis(),
        );
        install(&dir.path().join("plugins"), name, &artifact, &lines)?;
    }
    let builder = Host::builder().plugins(dir.path().join("plugins")).state_dir(dir.path().join("state"));
    let events = builder.events();
    let host = builder.build().wait()?;
    let mut kill_run = KillRun { host, events, retired: 0, killed: 0 };

    // After these kills, everything that is allocated only once has been allocated.
    let warm_up = (count / 4).clamp(40, 100);
    let mut seen = kill_run.kill_under_load(warm_up, random)?;
    let before = kill_run.resource_usage(usize::MAX)?;
    let began = Instant::now();
    seen.add(kill_run.kill_under_load(count, random)?);
    let took = began.elapsed();
    let after = kill_run.resource_usage(before.descriptors + LANES)?;
    kill_run.host.shutdown().wait();
    let left = fs::read_dir(dir.path().join("state/run"))?.count();

    let deadline = CALL_TIMEOUT + PLUGINS[0].1;
    println!("kills of a shim     {count} in {:.1} s, after {warm_up} to warm up", took.as_secs_f64());
    println!("right answers       {}", seen.right);
    println!("wrong answers       {}", seen.wrong);
    println!("crashed             {} (CallError::Crashed)", seen.crashed);
    println!("restarting          {} (CallError::Restarting)", seen.restarting);
    println!("other errors        {}", seen.other.0);
    println!(
        "longest call        {:.0} ms (limit {} s)",
        seen.longest.as_secs_f64() * 1e3,
        deadline.as_secs()
    );
    println!("descriptors         {} before, {} after", before.descriptors, after.descriptors);
    println!(
        "private memory      {} KiB before, {} KiB after (Anonymous of /proc/self/smaps_rollup; limit {LIMIT_KIB} more)",
        before.private_kib, after.private_kib
    );
    println!("thread-local keys   {} before, {} after", before.tls_keys, after.tls_keys);
    println!("files left in run/  {left}");
    ensure!(seen.wrong == 0, "{} calls returned a wrong answer", seen.wrong);
    ensure!(
        seen.other.0 == 0,
        "{} calls returned an unexpected error; the first: {}",
        seen.other.0,
        seen.other.1.unwrap_or_default()
    );
    ensure!(
        seen.right > 0 && seen.crashed + seen.restarting > 0,
        "no call succeeded, or no call was interrupted, so the run proves nothing"
    );
    ensure!(seen.longest < deadline + GRACE, "a call took {:?}", seen.longest);
    ensure!(
        after.descriptors <= before.descriptors + LANES,
        "the number of open descriptors grew from {} to {}",
        before.descriptors,
        after.descriptors
    );
    ensure!(after.tls_keys <= before.tls_keys, "thread-local keys were allocated and not freed");
    ensure!(
        after.private_kib <= before.private_kib + LIMIT_KIB,
        "the host's private memory grew from {} to {} KiB",
        before.private_kib,
        after.private_kib
    );
    ensure!(left == 0, "{left} files are left in state/run");
    println!("ok");
    Ok(())
}
