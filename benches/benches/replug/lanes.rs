//! The cost of a call into another process over each of the two lanes, compared with the minimum for two processes that
//! sleep: one message in each direction over a socket. Also the same with one processor, for one to eight callers, and for
//! texts of up to 16 MiB.

use anyhow::{Context, Result, ensure};
use replug::{Handle, Host};
use replug_benches::{Contender, Rounds, Section, Series, Table, Target, take_turns};
use replug_interfaces::{Counter, Greeter};
use replug_tests::{
    numbered::Numbered,
    sandbox::{Sandbox, Std},
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::{
    env, fs,
    hint::black_box,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// The lanes, as in a manifest.
const LANES: [&str; 2] = ["socket", "shared-memory"];
/// The bytes of a message in each direction: about those of a call of a method with one number.
const MESSAGE: usize = 32;
/// The argument with which this program becomes the other end of the socket.
const ECHO: &str = "--echo";
/// The argument with which this program measures on one processor.
const ONE_PROCESSOR: &str = "--one-processor";
const ROUNDS: Rounds = Rounds { rounds: 40, repetitions: 2_000 };
/// The texts that a method returns, in bytes.
const TEXTS: [usize; 8] = [64, 1 << 10, 8 << 10, 32 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20];
const TEXT_ROUNDS: usize = 15;
/// The bytes of all texts of a turn.
const TURN_BYTES: usize = 4 << 20;

/// Plays another part if this process was started for one.
pub(crate) fn another_part_if_asked() -> Result<()> {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some(ECHO) => echo(),
        Some(ONE_PROCESSOR) => {
            let folder = arguments.next().context("no folder was named")?;
            // This is the only thread, so all later ones and all children inherit the mask.
            let allowed = sched_getaffinity(None)?;
            let first = (0..CpuSet::MAX_CPU).find(|number| allowed.is_set(*number));
            let mut one = CpuSet::new();
            one.set(first.context("no processor is allowed")?);
            sched_setaffinity(None, &one)?;
            let host = Host::builder().plugins(&folder).build().wait()?;
            let calls = take_turns(callers(&host)?, Rounds { rounds: 20, repetitions: 2_000 });
            println!("{} {}", calls[0].median(), calls[1].median());
            host.shutdown().wait();
        }
        _ => return Ok(()),
    }
    std::process::exit(0)
}

/// Echoes messages until the end of the standard input.
fn echo() {
    let stream = io::stdin();
    let stream = std::os::fd::AsFd::as_fd(&stream).try_clone_to_owned().map(UnixStream::from);
    if let Ok(mut stream) = stream {
        let mut message = [0; MESSAGE];
        while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {}
    }
}

/// The other end of a socket, in a process of its own.
struct Echo {
    stream: UnixStream,
    child: Child,
}

impl Echo {
    fn start() -> Result<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        let child = Command::new(env::current_exe()?).arg(ECHO).stdin(OwnedFd::from(theirs)).spawn()?;
        Ok(Self { stream, child })
    }

    fn round_trip(&mut self) {
        let mut message = [1; MESSAGE];
        let back = self.stream.write_all(&message).and_then(|()| self.stream.read_exact(&mut message));
        back.expect("the other end answers until this one is closed");
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// Writes a plugin for each lane.
fn install(folder: &Path, kind: &str, binary: &[u8]) -> Result<()> {
    for lane in LANES {
        let folder = folder.join(format!("{kind}-{lane}"));
        fs::create_dir(&folder)?;
        let manifest = format!(
            "id = \"{}\"\nmode = \"process\"\nbinary = \"plugin.so\"\n[process]\nlane = \"{lane}\"\n",
            id(kind, lane)
        );
        fs::write(folder.join("plugin.toml"), manifest)?;
        fs::write(folder.join("plugin.so"), binary)?;
    }
    Ok(())
}

fn id(kind: &str, lane: &str) -> String {
    format!("dev.replug.{kind}-{lane}")
}

/// A caller for each lane, of a method that does nothing.
fn callers(host: &Host) -> Result<Vec<Contender<'static>>> {
    let names = ["typed handle, over a socket", "typed handle, over shared memory"];
    LANES
        .into_iter()
        .zip(names)
        .map(|(lane, name)| {
            let handle: Handle<dyn Counter> = host.get(&id("counter", lane))?;
            handle.value().context("the plugin did not start")?;
            ensure!(
                host.info(&id("counter", lane))
                    .is_ok_and(|info| info.lane.is_some_and(|used| used.name() == lane)),
                "calls do not go over the lane of the manifest"
            );
            let run =
                move |repetitions| timed(repetitions, || drop(black_box(handle.increment(black_box(1)))));
            Ok(Contender { name, run: Box::new(run), one_in: 1 })
        })
        .collect()
}

/// Measures both lanes.
pub(crate) fn measure() -> Result<Section> {
    let sandbox = Sandbox::fresh("bench")?;
    let package = sandbox.add("tests/fixtures/numbered")?;
    let served = tempfile::tempdir()?;
    let binary = served.path().join("numbered.so");
    Numbered::read(&sandbox.build(&package, Std::Shared)?)?.put(0, &binary)?;
    install(served.path(), "counter", &fs::read(&binary)?)?;
    let alone = Command::new(env::current_exe()?).arg(ONE_PROCESSOR).arg(served.path()).output()?;
    ensure!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stderr));
    let alone = String::from_utf8(alone.stdout)?;
    let alone: Vec<f64> = alone.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;

    let greeter = sandbox.add_released("plugins/hello-world")?;
    install(served.path(), "text", &fs::read(sandbox.build(&greeter, Std::Shared)?)?)?;
    let host = Host::builder().plugins(served.path()).build().wait()?;
    let mut echo = Echo::start()?;
    let message = Contender {
        name: "one message each way, 32 bytes, over a Unix socket",
        run: Box::new(|repetitions| timed(repetitions, || echo.round_trip())),
        one_in: 1,
    };
    let calls = take_turns([vec![message], callers(&host)?].into_iter().flatten().collect(), ROUNDS);
    let crowds = crowds(&host)?;
    let texts = texts(&host)?;
    host.shutdown().wait();
    Ok(section(&calls, &alone, &crowds, &texts))
}

/// Many callers of one plugin: for each number of callers, the lanes.
fn crowds(host: &Host) -> Result<Vec<(u64, Vec<Series>)>> {
    let handles: Vec<Handle<dyn Counter>> =
        LANES.iter().map(|lane| host.get(&id("counter", lane))).collect::<Result<_, _>>()?;
    let crowd = |callers| {
        let lanes = LANES.into_iter().zip(&handles).map(|(name, handle)| crowd(name, callers, handle));
        (callers, take_turns(lanes.collect(), ROUNDS))
    };
    Ok([1, 2, 8].into_iter().map(crowd).collect())
}

/// A method that returns its text with a greeting around it: for each length, the lanes.
fn texts(host: &Host) -> Result<Vec<(usize, Vec<Series>)>> {
    let greeters: Vec<Handle<dyn Greeter>> =
        LANES.iter().map(|lane| host.get(&id("text", lane))).collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    for len in TEXTS {
        let text = "x".repeat(len);
        let lanes = LANES.into_iter().zip(&greeters).map(|(name, greeter)| {
            let text = &text;
            let run =
                move |repetitions| timed(repetitions, || drop(black_box(greeter.greet(black_box(text)))));
            Contender { name, run: Box::new(run), one_in: 1 }
        });
        let repetitions = (TURN_BYTES / len).clamp(1, 500) as u64;
        all.push((len, take_turns(lanes.collect(), Rounds { rounds: TEXT_ROUNDS, repetitions })));
        ensure!(
            greeters.iter().all(|greeter| greeter.greet("x").is_ok_and(|back| back == "Hello, x!")),
            "a plugin has stopped"
        );
    }
    Ok(all)
}

fn section(
    calls: &[Series],
    alone: &[f64],
    crowds: &[(u64, Vec<Series>)],
    texts: &[(usize, Vec<Series>)],
) -> Section {
    let row = |one: &Series| {
        let ratio = one.ratio_to(&calls[0]);
        vec![one.name.to_owned(), format!("{:.2}", one.median() / 1e3), format!("{ratio:.2}")]
    };
    let per_second = |one: &Series| format!("{:.0}", 1e6 / one.median());
    let crowd = |(callers, lanes): &(u64, Vec<Series>)| {
        [callers.to_string()].into_iter().chain(lanes.iter().map(per_second)).collect()
    };
    let text = |(len, lanes): &(usize, Vec<Series>)| {
        let us = lanes.iter().map(|lane| format!("{:.1}", lane.median() / 1e3));
        let ratio = format!("{:.2}", lanes[1].ratio_to(&lanes[0]));
        [bytes(*len)].into_iter().chain(us).chain([ratio]).collect()
    };
    let (ratio, memory) = (calls[1].ratio_to(&calls[0]), calls[2].median() / 1e3);
    let with_one = alone[1] / alone[0];
    let scaling = crowds[0].1[0].ratio_to(&crowds[1].1[0]);
    let worst = texts.iter().map(|(_, lanes)| lanes[1].ratio_to(&lanes[0])).fold(0.0, f64::max);
    Section {
        title: "A call into a plugin in a child process",
        tables: vec![
            Table {
                columns: vec!["one caller", "µs a call", "to the messages"],
                rows: calls.iter().map(row).collect(),
            },
            Table {
                columns: vec!["host and plugin on one processor", "µs a call"],
                rows: LANES
                    .into_iter()
                    .zip(alone)
                    .map(|(lane, ns)| vec![lane.to_owned(), format!("{:.1}", ns / 1e3)])
                    .collect(),
            },
            Table {
                columns: vec!["callers", "socket, thousand calls a second", "shared memory"],
                rows: crowds.iter().map(crowd).collect(),
            },
            Table {
                columns: vec!["text each way", "socket, µs a call", "shared memory", "to the socket"],
                rows: texts.iter().map(text).collect(),
            },
        ],
        targets: vec![
            Target {
                what: "call over a socket to one message each way",
                bound: "at most 1.4 times",
                measured: format!("{ratio:.2} times"),
                met: ratio <= 1.4,
            },
            Target {
                what: "call over shared memory",
                bound: "at most 1.2 µs",
                measured: format!("{memory:.2} µs"),
                met: memory <= 1.2,
            },
            Target {
                what: "on one processor, a call over shared memory to one over a socket",
                bound: "at most 1.1 times",
                measured: format!("{with_one:.2} times"),
                met: with_one <= 1.1,
            },
            Target {
                what: "a text over shared memory to one over a socket, whatever its length",
                bound: "at most 1.1 times",
                measured: format!("{worst:.2} times"),
                met: worst <= 1.1,
            },
            Target {
                what: "throughput of two callers to one, over a socket",
                bound: "at least 1.6 times",
                measured: format!("{scaling:.2} times"),
                met: scaling >= 1.6,
            },
        ],
    }
}

fn bytes(len: usize) -> String {
    match len {
        0..1024 => format!("{len} B"),
        1024..0x10_0000 => format!("{} KiB", len >> 10),
        _ => format!("{} MiB", len >> 20),
    }
}

fn timed(repetitions: u64, mut once: impl FnMut()) -> Duration {
    let began = Instant::now();
    (0..repetitions).for_each(|_| once());
    began.elapsed()
}

fn crowd<'a>(name: &'static str, callers: u64, handle: &'a Handle<dyn Counter>) -> Contender<'a> {
    let run = move |repetitions: u64| {
        let ready = Barrier::new(callers as usize);
        let times: Vec<_> = thread::scope(|scope| {
            let caller = || {
                // The first call may open a lane, which is not measured.
                drop(black_box(handle.increment(0)));
                ready.wait();
                let began = Instant::now();
                timed(repetitions / callers, || drop(black_box(handle.increment(black_box(1)))));
                (began, Instant::now())
            };
            let callers: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
            callers.into_iter().filter_map(|caller| caller.join().ok()).collect()
        });
        let began = times.iter().map(|(began, _)| *began).min();
        let ended = times.iter().map(|(_, ended)| *ended).max();
        began.zip(ended).map_or(Duration::MAX, |(began, ended)| ended - began)
    };
    Contender { name, run: Box::new(run), one_in: 1 }
}
