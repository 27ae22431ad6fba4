//! The cost of one plugin among many: hosts with 1, 100 and 1,000 plugins in process, and one with 200 in child processes.

use anyhow::{Context, Result, ensure};
use replug::{Handle, Host, manifest::Mode};
use replug_benches::{Section, Table, Target, median};
use replug_interfaces::Counter;
use replug_tests::{
    numbered::Numbered,
    sandbox::{Sandbox, Std},
};
use rustix::fs::{StatVfsMountFlags, statvfs};
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::{self, Command},
    time::{Duration, Instant},
};

const IN_PROCESS: [usize; 3] = [1, 100, 1_000];
const CHILDREN: usize = 200;
/// The number of measured saves, and of measured reloads.
const CHANGES: u64 = 20;
const TURNS: usize = 15;
const CALLS: u32 = 200_000;
const IDLE: Duration = Duration::from_secs(3);

/// The first argument of a process of this program that measures one host.
const ONE_HOST: &str = "many-one-host";

/// The time and the memory that a host with `count` plugins in this mode takes.
#[derive(Serialize, Deserialize)]
struct Figures {
    count: usize,
    mode: Mode,
    /// Milliseconds for each plugin at the first start, which includes its trial.
    first_start_ms: f64,
    /// Milliseconds for each plugin at a later start, from the store.
    start_ms: f64,
    /// KiB that the start of each plugin adds to the memory of this process and of its children.
    memory_kib: f64,
    call_ns: f64,
    reload_ms: f64,
    /// From a save of the artifact of a watched plugin to the first answer of the new version.
    noticed_ms: f64,
    /// The milliseconds that a list of all plugins with their states takes.
    list_ms: f64,
    /// Milliseconds of processor time in a second without calls.
    idle_ms: f64,
    /// Milliseconds for each plugin.
    stop_ms: f64,
}

pub(crate) fn measure() -> Result<Section> {
    let sandbox = Sandbox::fresh("bench")?;
    let package = sandbox.add("tests/fixtures/numbered")?;
    let built = sandbox.build(&package, Std::Shared)?;
    let counts = IN_PROCESS.map(|count| (count, Mode::InProcess)).into_iter();
    let all = counts.chain([(CHILDREN, Mode::Process)]);
    let all: Vec<_> = all.map(|(count, mode)| in_own_process(&built, count, mode)).collect::<Result<_>>()?;
    Ok(section(&all))
}

/// Measures one host in a process of its own, because this process keeps all versions mapped that it has loaded, and a
/// load takes longer with each of them.
fn in_own_process(built: &Path, count: usize, mode: Mode) -> Result<Figures> {
    let (host, mode) = (format!("{count} plugins"), serde_json::to_string(&mode)?);
    let mut command = Command::new(env::current_exe()?);
    let output = command.arg(ONE_HOST).arg(built).args([&count.to_string(), &mode]).output()?;
    ensure!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("{host}: the process printed no figures"))
}

/// Measures one host and exits, if this process was started to do so.
pub(crate) fn measure_one_if_asked() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [first, built, count, mode] = arguments.as_slice() else { return Ok(()) };
    if first == ONE_HOST {
        let figures = measure_one(Path::new(built), count.parse()?, serde_json::from_str(mode)?)?;
        println!("{}", serde_json::to_string(&figures)?);
        process::exit(0);
    }
    Ok(())
}

/// A plugins folder with copies of one artifact under different ids.
struct Folder {
    dir: tempfile::TempDir,
    artifact: Numbered,
}

impl Folder {
    fn make(built: &Path, count: usize, mode: Mode) -> Result<Self> {
        let mut folder = Self { dir: folder_in_memory()?, artifact: Numbered::read(built)? };
        let mode = if mode == Mode::Process { "process" } else { "in-process" };
        for number in 0..count {
            let plugin = folder.plugin(number);
            fs::create_dir_all(&plugin)?;
            let manifest = format!("id = \"{}\"\nmode = \"{mode}\"\nbinary = \"plugin.so\"\n", id(number));
            fs::write(plugin.join("plugin.toml"), manifest)?;
            folder.artifact.put(0, &plugin.join("plugin.so"))?;
        }
        Ok(folder)
    }

    fn plugin(&self, number: usize) -> PathBuf {
        self.dir.path().join("plugins").join(format!("p{number}"))
    }

    fn host(&self) -> Result<Host> {
        let host = Host::builder()
            .plugins(self.dir.path().join("plugins"))
            .state_dir(self.dir.path().join("state"))
            .watch(true)
            .build()
            .wait()?;
        Ok(host)
    }
}

/// A temporary folder on the file system in memory, if libraries can be loaded from there. On a disk, a new file may
/// take longer if many files were removed before, and hosts with more plugins remove more files: ext4 without a journal
/// does not reuse an inode for at least a minute, and has to search for another one.
fn folder_in_memory() -> Result<tempfile::TempDir> {
    const MEMORY: &str = "/dev/shm";
    let is_usable = statvfs(MEMORY).is_ok_and(|it| !it.f_flag.contains(StatVfsMountFlags::NOEXEC));
    let folder = is_usable.then(|| tempfile::tempdir_in(MEMORY)).and_then(Result::ok);
    Ok(folder.map_or_else(tempfile::tempdir, Ok)?)
}

fn id(number: usize) -> String {
    format!("dev.replug.many-{number}")
}

fn measure_one(built: &Path, count: usize, mode: Mode) -> Result<Figures> {
    let mut folder = Folder::make(built, count, mode)?;
    let each = |took: Duration| took.as_secs_f64() * 1e3 / count as f64;
    let began = Instant::now();
    let host = folder.host()?;
    check(&host, count, mode)?;
    let first_start_ms = each(began.elapsed());
    host.shutdown().wait();
    drop(host);

    let before = memory_kib()?;
    let began = Instant::now();
    let host = folder.host()?;
    let start_ms = each(began.elapsed());
    check(&host, count, mode)?;
    let memory_kib = (memory_kib()? - before) / count as f64;

    let last = count - 1;
    let handle: Handle<dyn Counter> = host.get(&id(last))?;
    let call_ns = call_ns(&handle)?;
    let began = Instant::now();
    ensure!(host.plugins().len() == count, "the list is not complete");
    let list_ms = began.elapsed().as_secs_f64() * 1e3;
    let idle_ms = idle_ms()?;

    let binary = folder.plugin(last).join("plugin.so");
    let mut noticed = Vec::new();
    for number in 1..=CHANGES {
        folder.artifact.put(number, &binary)?;
        let saved = Instant::now();
        while handle.value()? != number {
            std::thread::yield_now();
        }
        noticed.push(saved.elapsed().as_secs_f64() * 1e3);
    }
    let mut reloads = Vec::new();
    for _ in 0..CHANGES {
        let began = Instant::now();
        host.reload(&id(last)).wait()?;
        reloads.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let began = Instant::now();
    host.shutdown().wait();
    Ok(Figures {
        count,
        mode,
        first_start_ms,
        start_ms,
        memory_kib,
        call_ns,
        reload_ms: median(&reloads),
        noticed_ms: median(&noticed),
        list_ms,
        idle_ms,
        stop_ms: each(began.elapsed()),
    })
}

/// Calls each plugin once, and checks where it runs.
fn check(host: &Host, count: usize, mode: Mode) -> Result<()> {
    for number in 0..count {
        let id = id(number);
        let handle: Handle<dyn Counter> = host.get(&id)?;
        handle.value().with_context(|| format!("{id} did not start"))?;
    }
    let elsewhere = host.plugins().into_iter().find(|info| info.runs_in != Some(mode));
    ensure!(elsewhere.is_none(), "a plugin runs elsewhere: {elsewhere:?}");
    Ok(())
}

fn call_ns(handle: &Handle<dyn Counter>) -> Result<f64> {
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let began = Instant::now();
        for _ in 0..CALLS {
            black_box(handle.increment(black_box(1))?);
        }
        turns.push(began.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    Ok(median(&turns))
}

/// This process and all of its descendants.
fn family() -> Result<Vec<u32>> {
    let mut all = vec![process::id()];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten() {
            // A thread or a process may have ended since it was listed.
            let children = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    Ok(all)
}

/// The memory of this process and its descendants. A page that several processes share is divided among them.
fn memory_kib() -> Result<f64> {
    let kib = |pid: u32| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    Ok(family()?.into_iter().filter_map(kib).sum())
}

/// The processor time that this process and its descendants use in a second while nobody calls a plugin.
fn idle_ms() -> Result<f64> {
    let used = || -> Result<f64> {
        let of = |pid: u32| {
            let schedstat = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
            let ns = schedstat.filter_map(|thread| {
                let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
                text.split_whitespace().next()?.parse::<f64>().ok()
            });
            Some(ns.sum::<f64>())
        };
        Ok(family()?.into_iter().filter_map(of).sum())
    };
    // To read these times takes processor time, too. The difference of the first two readings is this time, and is
    // subtracted.
    let (first, second) = (used()?, used()?);
    std::thread::sleep(IDLE);
    let third = used()?;
    Ok(((third - second) - (second - first)).max(0.0) / 1e6 / IDLE.as_secs_f64())
}

fn section(all: &[Figures]) -> Section {
    let row = |name: &str, cell: fn(&Figures) -> String| {
        [name.to_owned()].into_iter().chain(all.iter().map(cell)).collect::<Vec<_>>()
    };
    let [one, .., thousand, children] = all else { unreachable!("there is a column for each count") };
    let ratio = |of: fn(&Figures) -> f64| of(thousand) / of(one);
    let flat = |what: &'static str, of: fn(&Figures) -> f64, most: f64, bound: &'static str| Target {
        what,
        bound,
        measured: format!("{:.2} times", ratio(of)),
        met: ratio(of) <= most,
        ..Target::default()
    };
    debug_assert!(children.mode == Mode::Process && thousand.count == 1_000);
    Section {
        title: "Many plugins",
        tables: vec![Table {
            columns: vec!["", "1 plugin", "100 plugins", "1,000 plugins", "200 in child processes"],
            rows: vec![
                row("first start, ms a plugin", |it| format!("{:.2}", it.first_start_ms)),
                row("start from the store, ms a plugin", |it| format!("{:.2}", it.start_ms)),
                row("memory, KiB a plugin", |it| format!("{:.0}", it.memory_kib)),
                row("typed call, ns", |it| format!("{:.2}", it.call_ns)),
                row("reload of one, ms", |it| format!("{:.2}", it.reload_ms)),
                row("save of one to its first answer, ms", |it| format!("{:.1}", it.noticed_ms)),
                row("list of all, ms", |it| format!("{:.2}", it.list_ms)),
                row("idle, ms of processor time a second", |it| format!("{:.2}", it.idle_ms)),
                row("shutdown, ms a plugin", |it| format!("{:.2}", it.stop_ms)),
            ],
        }],
        targets: vec![
            flat("typed call with 1,000 plugins, relative to 1", |it| it.call_ns, 1.1, "at most 1.1 times"),
            flat("reload with 1,000 plugins, relative to 1", |it| it.reload_ms, 1.5, "at most 1.5 times"),
            flat("save with 1,000 plugins, relative to 1", |it| it.noticed_ms, 1.5, "at most 1.5 times"),
            Target {
                what: "processor time of 1,000 idle plugins, and of 200 in child processes",
                bound: "under 0.5 ms a second",
                measured: format!("{:.2} and {:.2} ms", thousand.idle_ms, children.idle_ms),
                met: thousand.idle_ms.max(children.idle_ms) < 0.5,
                ..Target::default()
            },
        ],
        ..Section::default()
    }
}
