//! The cost of a call into a child process, over a socket and over shared memory. It is compared with the minimum,
//! which is one message in each direction between two processes, and with another plugin system. Further measurements:
//! on one processor, with up to eight callers, and with texts of up to 16 MiB.

use crate::{
    floor::{Echo, MESSAGE, SharedPages, Waiting},
    go_plugin::{GoPlugin, PROTOCOLS},
    peers::Missing,
};
use anyhow::{Context, Error, Result, ensure};
use replug::{Handle, Host};
use replug_benches::{
    Chart, Contender, Distribution, Line, Plot, Role, Rounds, Sampler, Section, Series, Table, Target,
    sample_turns, take_turns,
};
use replug_interfaces::{Counter, Greeter};
use replug_tests::{
    numbered::Numbered,
    sandbox::{Sandbox, Std},
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::{
    env, fs,
    hint::black_box,
    path::Path,
    process::Command,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// The lanes, as in a manifest.
const LANES: [&str; 2] = ["socket", "shared-memory"];
const MESSAGES: &str = "one message each way, 32 bytes, over a Unix socket";
const SPIN: &str = "one message each way through shared memory, both sides spin";
const FUTEX: &str = "one message each way through shared memory, both sides sleep (futex)";
const OVER_SOCKET: &str = "typed handle, over a socket";
const OVER_MEMORY: &str = "typed handle, over shared memory";
/// The argument with which this program measures on one processor.
const ONE_PROCESSOR: &str = "--one-processor";
const ROUNDS: Rounds = Rounds { rounds: 40, repetitions: 2_000 };
/// The rounds in which single calls are timed, for the distribution of their durations.
const CALLS: Rounds = Rounds { rounds: 40, repetitions: 1_000 };
/// The number of messages through shared memory before each turn, so that the other side is running when the turn
/// begins.
const WARM_UP: usize = 200;
/// The texts that a method returns, in bytes.
const TEXTS: [usize; 8] = [64, 1 << 10, 8 << 10, 32 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20];
const TEXT_ROUNDS: usize = 15;
/// The intended number of bytes of all texts of a turn.
const TURN_BYTES: usize = 4 << 20;

/// Measures on one processor, and exits, if this process was started for that.
pub(crate) fn another_part_if_asked() -> Result<()> {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some(ONE_PROCESSOR) => {
            let folder = arguments.next().context("no folder was named")?;
            // This is the only thread, so all later threads and all child processes inherit the mask.
            let allowed = sched_getaffinity(None)?;
            let first = (0..CpuSet::MAX_CPU).find(|number| allowed.is_set(*number));
            let mut one = CpuSet::new();
            one.set(first.context("no processor is allowed")?);
            sched_setaffinity(None, &one)?;
            let host = Host::builder().plugins(&folder).build().wait()?;
            let rounds = Rounds { rounds: 20, repetitions: 2_000 };
            let calls = sample_turns(callers(&host)?, rounds, |name, error| eprintln!("{name}: {error:#}"));
            calls.iter().for_each(|calls| println!("{}", calls.series.median()));
            host.shutdown().wait();
        }
        _ => return Ok(()),
    }
    std::process::exit(0)
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

/// For each lane, a caller of a method that does nothing.
fn callers(host: &Host) -> Result<Vec<Sampler<'static, Error>>> {
    let caller = |(lane, name)| {
        let handle: Handle<dyn Counter> = host.get(&id("counter", lane))?;
        handle.value().context("the plugin did not start")?;
        ensure!(
            host.info(&id("counter", lane))
                .is_ok_and(|info| info.lane.is_some_and(|used| used.name() == lane)),
            "calls do not go over the lane of the manifest"
        );
        Ok(Sampler::new(name, move || {
            black_box(handle.increment(black_box(1))?);
            Ok(())
        }))
    };
    LANES.into_iter().zip([OVER_SOCKET, OVER_MEMORY]).map(caller).collect()
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
    let go = GoPlugin::start();
    let (calls, missing) = calls(&host, &go)?;
    let crowds = crowds(&host)?;
    let texts = texts(&host, go.as_ref().ok())?;
    host.shutdown().wait();
    Ok(section(&calls, missing, &alone, &crowds, &texts))
}

/// One caller of a method that takes a number, over each lane. For comparison, also bare messages between two
/// processes, and go-plugin.
fn calls(host: &Host, go: &Result<GoPlugin>) -> Result<(Vec<Distribution>, Vec<Missing>)> {
    let mut echo = Echo::start(MESSAGE)?;
    let mut samplers = vec![Sampler::new(MESSAGES, move || echo.round_trip())];
    samplers.extend(callers(host)?);
    for (name, waiting) in [(SPIN, Waiting::Spin), (FUTEX, Waiting::Futex)] {
        // The other side lives only for the turn, because a side that spins takes a processor from all other contenders.
        let turn = move |count| {
            let mut pages = SharedPages::start(waiting)?;
            (0..WARM_UP).for_each(|_| pages.round_trip());
            let mut once = Sampler::new(name, || {
                pages.round_trip();
                Ok(())
            });
            (once.run)(count)
        };
        samplers.push(Sampler { name, run: Box::new(turn) });
    }
    let mut missing = Vec::new();
    for (protocol, name) in PROTOCOLS {
        match go {
            Ok(go) => {
                let go = go.clone();
                samplers.push(Sampler { name, run: Box::new(move |count| go.call(protocol, count)) });
            }
            Err(error) => missing.push((name, format!("not measured: {error:#}"))),
        }
    }
    let calls = sample_turns(samplers, CALLS, |name, error| missing.push((name, format!("{error:#}"))));
    Ok((calls, missing))
}

/// Several callers of one plugin: for each number of callers, the times of both lanes.
fn crowds(host: &Host) -> Result<Vec<(u64, Vec<Series>)>> {
    let handles: Vec<Handle<dyn Counter>> =
        LANES.iter().map(|lane| host.get(&id("counter", lane))).collect::<Result<_, _>>()?;
    let crowd = |callers| {
        let lanes = LANES.into_iter().zip(&handles).map(|(name, handle)| crowd(name, callers, handle));
        (callers, take_turns(lanes.collect(), ROUNDS))
    };
    Ok([1, 2, 8].into_iter().map(crowd).collect())
}

/// The times for texts of one length: of both lanes, of the messages over a socket, and of go-plugin. The order is that
/// of [`text_columns`].
struct Text {
    len: usize,
    /// `None` for a contender that cannot send a text of this length.
    ns: Vec<Option<f64>>,
}

/// Measures a method that returns its text in a greeting.
fn texts(host: &Host, go: Option<&GoPlugin>) -> Result<Vec<Text>> {
    let greeters: Vec<Handle<dyn Greeter>> =
        LANES.iter().map(|lane| host.get(&id("text", lane))).collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    for len in TEXTS {
        let text = "x".repeat(len);
        let mut samplers: Vec<Sampler<'_, Error>> = Vec::new();
        for (name, greeter) in LANES.into_iter().zip(&greeters) {
            let text = &text;
            samplers.push(Sampler::new(name, move || {
                black_box(greeter.greet(black_box(text))?);
                Ok(())
            }));
        }
        let mut echo = Echo::start(len)?;
        samplers.push(Sampler::new(MESSAGES, move || echo.round_trip()));
        for (protocol, name) in PROTOCOLS {
            if let Some(go) = go.cloned() {
                samplers.push(Sampler { name, run: Box::new(move |count| go.text(protocol, count, len)) });
            }
        }
        let names: Vec<_> = samplers.iter().map(|sampler| sampler.name).collect();
        let repetitions = (TURN_BYTES / len).clamp(1, 200) as u64;
        // gRPC rejects long messages, so not every contender has a result.
        let measured = sample_turns(samplers, Rounds { rounds: TEXT_ROUNDS, repetitions }, |name, error| {
            eprintln!("{name}, {}: {error:#}", bytes(len));
        });
        let of = |name| measured.iter().find(|one| one.series.name == name).map(|one| one.series.median());
        all.push(Text { len, ns: names.into_iter().map(of).collect() });
        ensure!(
            greeters.iter().all(|greeter| greeter.greet("x").is_ok_and(|back| back == "Hello, x!")),
            "a plugin has stopped"
        );
    }
    Ok(all)
}

/// The headings of the table of texts: of the lengths, and of the first `count` contenders.
fn text_columns(count: usize) -> Vec<&'static str> {
    let mut columns =
        vec!["text each way", "socket, µs a call", "shared memory", "messages over a Unix socket"];
    columns.extend(PROTOCOLS.map(|(_, name)| name));
    columns.truncate(count + 1);
    columns
}

fn section(
    calls: &[Distribution],
    missing: Vec<Missing>,
    alone: &[f64],
    crowds: &[(u64, Vec<Series>)],
    texts: &[Text],
) -> Section {
    let row = |one: &Distribution| {
        let us = [0.5, 0.99, 0.999].map(|share| format!("{:.2}", one.quantile(share) / 1e3));
        let ratio = format!("{:.2}", one.series.ratio_to(&calls[0].series));
        let mean = format!("{:.2}", one.series.median() / 1e3);
        [one.series.name.to_owned(), mean].into_iter().chain(us).chain([ratio]).collect()
    };
    let missing = missing.into_iter().map(|(name, why)| {
        let empty = std::iter::repeat_n("-".to_owned(), 4);
        [name.to_owned()].into_iter().chain(empty).chain([why]).collect()
    });
    let per_second = |one: &Series| format!("{:.0}", 1e6 / one.median());
    let crowd = |(callers, lanes): &(u64, Vec<Series>)| {
        [callers.to_string()].into_iter().chain(lanes.iter().map(per_second)).collect()
    };
    let text = |text: &Text| {
        let us = text.ns.iter().map(|ns| ns.map_or("-".to_owned(), |ns| format!("{:.1}", ns / 1e3)));
        [bytes(text.len)].into_iter().chain(us).collect()
    };
    Section {
        title: "A call into a plugin in a child process",
        tables: vec![
            Table {
                columns: vec!["one caller", "µs a call", "p50", "p99", "p99.9", "times the first row"],
                rows: calls.iter().map(row).chain(missing).collect(),
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
                columns: text_columns(texts.first().map_or(0, |text| text.ns.len())),
                rows: texts.iter().map(text).collect(),
            },
        ],
        targets: targets(calls, alone, crowds, texts),
        charts: vec![chart(texts)],
    }
}

fn find<'a>(calls: &'a [Distribution], name: &str) -> Option<&'a Series> {
    calls.iter().find(|one| one.series.name == name).map(|one| &one.series)
}

fn targets(
    calls: &[Distribution],
    alone: &[f64],
    crowds: &[(u64, Vec<Series>)],
    texts: &[Text],
) -> Vec<Target> {
    let ratio =
        |name, to| find(calls, name).zip(find(calls, to)).map_or(f64::NAN, |(one, to)| one.ratio_to(to));
    let us = |name| find(calls, name).map(|one| format!("{:.2} µs", one.median() / 1e3));
    let fastest = PROTOCOLS.into_iter().filter_map(|(_, name)| find(calls, name));
    let fastest = fastest.min_by(|one, other| one.median().total_cmp(&other.median()));
    let peer = fastest.and_then(|peer| Some(format!("{} ({})", us(peer.name)?, peer.name)));
    let messages = us(MESSAGES).map(|us| format!("{us} (messages)"));
    let to_messages = ratio(OVER_SOCKET, MESSAGES);
    let memory = find(calls, OVER_MEMORY).map_or(f64::NAN, Series::median) / 1e3;
    let with_one = alone[1] / alone[0];
    let scaling = crowds[0].1[0].ratio_to(&crowds[1].1[0]);
    let worst = texts.iter().filter_map(|text| Some(text.ns[1]? / text.ns[0]?)).fold(0.0, f64::max);
    vec![
        Target {
            what: "call over a socket, relative to one message each way",
            bound: "at most 1.4 times",
            measured: format!("{to_messages:.2} times"),
            met: to_messages <= 1.4,
            ours: us(OVER_SOCKET),
            peer: peer.clone(),
            floor: messages.clone(),
        },
        Target {
            what: "call over a socket, relative to the faster protocol of go-plugin",
            bound: "less than 1 time",
            measured: fastest.map_or_else(
                || "go-plugin was not measured".to_owned(),
                |peer| format!("{:.2} times", ratio(OVER_SOCKET, peer.name)),
            ),
            met: fastest.is_some_and(|peer| ratio(OVER_SOCKET, peer.name) < 1.0),
            ours: us(OVER_SOCKET),
            peer: peer.clone(),
            floor: messages,
        },
        Target {
            what: "call over shared memory",
            bound: "at most 1.2 µs",
            measured: format!("{memory:.2} µs"),
            met: memory <= 1.2,
            ours: us(OVER_MEMORY),
            peer,
            floor: us(SPIN).map(|us| format!("{us} (spin)")),
        },
        Target {
            what: "call over shared memory, relative to a socket, on one processor",
            bound: "at most 1.1 times",
            measured: format!("{with_one:.2} times"),
            met: with_one <= 1.1,
            ..Target::default()
        },
        Target {
            what: "text over shared memory, relative to a socket, at the worst length",
            bound: "at most 1.1 times",
            measured: format!("{worst:.2} times"),
            met: worst <= 1.1,
            ..Target::default()
        },
        Target {
            what: "throughput of two callers over a socket, relative to one",
            bound: "at least 1.6 times",
            measured: format!("{scaling:.2} times"),
            met: scaling >= 1.6,
            ..Target::default()
        },
    ]
}

/// A line for each contender, over the length of the text. The title gives the durations for a text of 1 KiB.
fn chart(texts: &[Text]) -> Chart {
    let names = ["replug, over a socket", "replug, over shared memory", "messages over a Unix socket"];
    let peers = PROTOCOLS.map(|(_, name)| name);
    let roles = [Role::Ours, Role::Ours, Role::Floor, Role::Peer, Role::Peer];
    let line = |(index, (name, role)): (usize, (&str, Role))| {
        let point = |text: &Text| Some((text.len as f64, text.ns.get(index).copied().flatten()?));
        Line { name: name.to_owned(), role, points: texts.iter().filter_map(point).collect() }
    };
    let lines: Vec<Line> = names.into_iter().chain(peers).zip(roles).enumerate().map(line).collect();
    let at = |index: usize| lines[index].points.iter().find(|(len, _)| *len == 1024.0).map(|(_, ns)| *ns);
    let us = |ns: f64| format!("{:.1} us", ns / 1e3);
    let title = match (at(0), at(1), at(3)) {
        (Some(socket), Some(memory), Some(peer)) => format!(
            "A round trip of 1 KiB takes {} over shared memory and {} over a socket, {:.2} and {:.2} times the time of go-plugin over net/rpc",
            us(memory),
            us(socket),
            memory / peer,
            socket / peer
        ),
        (Some(socket), Some(memory), None) => {
            format!(
                "A round trip of 1 KiB takes {} over shared memory and {} over a socket",
                us(memory),
                us(socket)
            )
        }
        _ => "Round trips by length".to_owned(),
    };
    Chart {
        file: "round-trip".into(),
        title,
        subject: format!(
            "greet(name: &str) -> String in a child process, one caller, medians of {TEXT_ROUNDS} rounds"
        ),
        axis: "time of a call (logarithmic)".into(),
        plot: Plot::Lines {
            bytes: "length of the text in each direction (logarithmic)".into(),
            lines: lines.into_iter().filter(|line| !line.points.is_empty()).collect(),
        },
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
