//! The cost of a call through a typed handle, compared with a call of the bare function pointer that the handle
//! ultimately calls, and with calls through other plugin systems. The pointer is *hoisted*: it is fetched before the
//! loop of calls.

use crate::{
    bare::{self, Bare},
    peers::{Missing, Peers},
    signatures, swaps,
};
use anyhow::{Context, Result, ensure};
use arc_swap::ArcSwap;
use replug::{Handle, Host};
use replug_api::{
    abi::{Edge, Object},
    call::Bound,
};
use replug_benches::{
    Chart, Contender, Plot, Point, Role, Rounds, Section, Series, Table, Target, take_turns,
};
use replug_interfaces::{Counter, CounterClient, Greeter};
use replug_tests::sandbox::{Sandbox, Std};
use serde_json::json;
use std::{
    hint::black_box,
    path::Path,
    sync::{Barrier, Mutex, RwLock},
    thread,
    time::{Duration, Instant},
};

const ID: &str = "dev.replug.numbered";
const GREETER: &str = "dev.replug.hello-world";
const BARE: &str = "function pointer, hoisted";
const TYPED: &str = "typed handle";
/// The value of [`Peers::reaches`] for a peer whose calls reach the new version after a reload.
const NEW: &str = "the new version";
const NO_RELOAD: &str = "it cannot reload";
const PLAIN: &str = "`extern \"C\" fn(u64) -> u64` found by dlsym, without panic guard";
const RESOLVED_BINARY: &str = "resolved method, with types";
const RESOLVED_JSON: &str = "resolved method, with JSON";

const ONE_THREAD: Rounds = Rounds { rounds: 60, repetitions: 400_000 };
const TEXTS: Rounds = Rounds { rounds: 60, repetitions: 50_000 };
const TWO_THREADS: Rounds = Rounds { rounds: 40, repetitions: 2_000_000 };

/// Measures a method without a lock or an allocation in it, `fn increment(&self, by: u64) -> u64`, and one that returns a
/// new text, `fn greet(&self, name: &str) -> String`.
pub(crate) fn measure() -> Result<Section> {
    let sandbox = Sandbox::fresh("bench")?;
    let package = sandbox.add("tests/fixtures/numbered")?;
    sandbox.add_released("plugins/hello-world")?;
    sandbox.add(signatures::PLUGIN)?;
    let host =
        Host::builder().plugins(sandbox.plugins_dir()).state_dir(sandbox.state_dir()).build().wait()?;
    let typed: Handle<dyn Counter> = host.get(ID)?;
    typed.increment(1).context("the plugin did not start")?;
    let dynamic = host.plugin(ID)?;
    let resolved = dynamic.method("increment")?;
    let resolved_binary = resolved.typed::<(u64,), u64>()?;
    let library = sandbox.build(&package, Std::Shared)?;
    let probe = probe(&library)?;
    let bare = || {
        let bare = Bare { object: probe.object, edge: probe.increment };
        // SAFETY: 1: the fixture takes the object and the edge of `increment` from its own `Counter`, and this program
        // calls only `increment`.
        CounterClient::from(unsafe { Bound::new(bare) })
    };

    let hoisted = bare();
    let (mutex, rwlock, swapped) = (Mutex::new(bare()), RwLock::new(bare()), ArcSwap::from_pointee(bare()));
    let peers = Peers::open();
    let mut contenders = vec![
        contender(BARE, |by| hoisted.increment(by).unwrap_or_default()),
        contender(TYPED, |by| typed.increment(by).unwrap_or_default()),
        contender(PLAIN, |by| (probe.plain)(by)),
        contender("the pointer in an arc-swap", |by| swapped.load().increment(by).unwrap_or_default()),
        contender("the pointer in a std Mutex", |by| {
            mutex.lock().map_or(0, |it| it.increment(by).unwrap_or_default())
        }),
        contender("the pointer in a std RwLock", |by| {
            rwlock.read().map_or(0, |it| it.increment(by).unwrap_or_default())
        }),
        Contender {
            one_in: 20,
            ..contender(RESOLVED_BINARY, |by| resolved_binary.call(&(by,)).unwrap_or_default())
        },
        Contender {
            one_in: 50,
            ..contender(RESOLVED_JSON, |by| {
                resolved.call_json(&json!([by])).map_or(0, |value| value.as_u64().unwrap_or(0))
            })
        },
        Contender {
            one_in: 200,
            ..contender("by name, with JSON", |by| {
                dynamic
                    .invoke_json("increment", json!([by]))
                    .wait()
                    .map_or(0, |value| value.as_u64().unwrap_or(0))
            })
        },
    ];
    contenders.extend(peers.numbers());
    let series = take_turns(contenders, ONE_THREAD);
    let texts = texts(&host, &peers)?;
    let scaling = take_turns(
        vec![
            crowd("typed handle, 1 thread", 1, |by| typed.increment(by).unwrap_or_default()),
            crowd("typed handle, 2 threads", 2, |by| typed.increment(by).unwrap_or_default()),
            crowd("function pointer, 1 thread", 1, |by| hoisted.increment(by).unwrap_or_default()),
            crowd("function pointer, 2 threads", 2, |by| hoisted.increment(by).unwrap_or_default()),
        ],
        TWO_THREADS,
    );
    let by_signature = signatures::table(&host, &sandbox)?;
    host.shutdown().wait();
    let (single_calls, swaps) = swaps::measure(&library, &hoisted)?;
    let mut section = section(&series, &texts, &scaling, &peers);
    section.tables.insert(2, by_signature);
    section.tables.push(single_calls);
    section.targets.push(swaps);
    Ok(section)
}

/// Measures the method that returns a text.
fn texts(host: &Host, peers: &Peers) -> Result<Vec<Series>> {
    let greeter: Handle<dyn Greeter> = host.get(GREETER)?;
    ensure!(greeter.greet("World")? == "Hello, World!", "the plugin does not greet");
    let run = |repetitions: u64| {
        let began = Instant::now();
        for _ in 0..repetitions {
            drop(black_box(greeter.greet(black_box("World"))));
        }
        began.elapsed()
    };
    let typed = Contender { name: TYPED, run: Box::new(run), one_in: 1 };
    Ok(take_turns([typed].into_iter().chain(peers.texts()).collect(), TEXTS))
}

fn section(series: &[Series], texts: &[Series], scaling: &[Series], peers: &Peers) -> Section {
    let reaches = |name| match name {
        BARE | PLAIN => "the old version",
        name => peers.reaches(name).unwrap_or(NEW),
    };
    let missing = |(name, why): Missing| vec![name.to_owned(), "-".to_owned(), "-".to_owned(), why];
    let row = |base: &Series, one: &Series| {
        let cells = [format!("{:.2}", one.median()), format!("{:.2}", one.ratio_to(base))];
        [one.name.to_owned()].into_iter().chain(cells).chain([reaches(one.name).to_owned()]).collect()
    };
    let rows = |all: &[Series]| -> Vec<Vec<String>> {
        let measured = all.iter().map(|one| row(&all[0], one));
        measured.chain(peers.failed().into_iter().map(missing)).collect()
    };
    let throughput = |one: &Series| vec![one.name.to_owned(), format!("{:.0}", 1e3 / one.median())];
    Section {
        title: "A call in process",
        tables: vec![
            Table {
                columns: vec![
                    "a number, one thread",
                    "ns a call",
                    "times the pointer",
                    "after a reload, a call reaches",
                ],
                rows: rows(series),
            },
            Table {
                columns: vec![
                    "a text, one thread",
                    "ns a call",
                    "times the handle",
                    "after a reload, a call reaches",
                ],
                rows: rows(texts),
            },
            Table {
                columns: vec!["throughput", "million calls a second"],
                rows: scaling.iter().map(throughput).collect(),
            },
        ],
        targets: targets(series, scaling, peers),
        charts: vec![chart(series, peers)],
    }
}

/// The fastest other system whose calls reach the new version after a reload.
fn fastest<'a>(series: &'a [Series], peers: &Peers) -> Option<&'a Series> {
    let reloading = series.iter().filter(|one| peers.reaches(one.name) == Some(NEW));
    reloading.min_by(|one, other| one.median().total_cmp(&other.median()))
}

fn ns(one: &Series) -> String {
    format!("{:.2} ns", one.median())
}

fn targets(series: &[Series], scaling: &[Series], peers: &Peers) -> Vec<Target> {
    let (pointer, typed) = (&series[0], &series[1]);
    let fastest = fastest(series, peers);
    let ratio = typed.ratio_to(pointer);
    let [json, types] = [RESOLVED_JSON, RESOLVED_BINARY].map(|name| {
        let found = series.iter().find(|one| one.name == name);
        (found.map(ns), found.map_or(f64::INFINITY, |one| one.ratio_to(pointer)))
    });
    let scaled = [scaling[0].ratio_to(&scaling[1]), scaling[2].ratio_to(&scaling[3])];
    let floor = Some(format!("{} (function pointer)", ns(pointer)));
    let peer = fastest.map(|peer| format!("{} ({})", ns(peer), peer.name));
    vec![
        Target {
            what: "typed call, relative to the hoisted pointer",
            bound: "at most 1.3 times",
            measured: format!("{ratio:.2} times"),
            met: ratio <= 1.3,
            ours: Some(ns(typed)),
            peer: peer.clone(),
            floor: floor.clone(),
        },
        Target {
            what: "typed call, relative to the fastest other system whose calls reach the new version",
            bound: "less than 1 time",
            measured: fastest.map_or_else(
                || "no such system was measured".to_owned(),
                |peer| format!("{:.2} times", typed.ratio_to(peer)),
            ),
            met: fastest.is_some_and(|peer| typed.ratio_to(peer) < 1.0),
            ours: Some(ns(typed)),
            peer,
            floor: floor.clone(),
        },
        Target {
            what: "resolved method with JSON, relative to the hoisted pointer",
            bound: "at most 25 times; with types, less than with JSON",
            measured: format!("{:.1} times (with types {:.1})", json.1, types.1),
            met: json.1 <= 25.0 && types.1 < json.1,
            ours: json.0,
            floor,
            ..Target::default()
        },
        Target {
            what: "throughput of a handle with two threads, relative to one",
            bound: "at least 1.8 times",
            measured: format!("{:.2} times (function pointer {:.2})", scaled[0], scaled[1]),
            met: scaled[0] >= 1.8,
            ours: Some(format!("{:.2} times", scaled[0])),
            floor: Some(format!("{:.2} times (function pointer)", scaled[1])),
            ..Target::default()
        },
    ]
}

fn chart(series: &[Series], peers: &Peers) -> Chart {
    let (pointer, typed) = (&series[0], &series[1]);
    let point = |one: &Series| {
        let (role, name) = match (one.name, peers.reaches(one.name)) {
            (BARE, _) => (Role::Floor, "function pointer, no plugin system".to_owned()),
            (name, None) if !name.starts_with("the pointer") && name != PLAIN => {
                (Role::Ours, format!("replug: {name}"))
            }
            (name, Some(NEW)) => (Role::Peer, name.to_owned()),
            (name, Some(NO_RELOAD)) => (Role::Peer, format!("{name} (no reload)")),
            (name, Some(_)) if !name.starts_with("libloading") => {
                (Role::Peer, format!("{name} (old version)"))
            }
            _ => return None,
        };
        Some(Point { name: name.replace('`', ""), role, ns: one.median() })
    };
    let mut points: Vec<Point> = series.iter().filter_map(point).collect();
    points.sort_by(|one, other| one.ns.total_cmp(&other.ns));
    let next = fastest(series, peers).map(|peer| {
        let system = peer.name.split(':').next().unwrap_or(peer.name);
        format!(", and {:.2} times that of {system}, the next system that reloads", typed.ratio_to(peer))
    });
    Chart {
        file: "call".into(),
        title: format!(
            "A call through replug's typed handle takes {}: {:.2} times the time of a function pointer{}",
            ns(typed),
            typed.ratio_to(pointer),
            next.unwrap_or_default()
        ),
        subject: format!(
            "increment(by: u64) -> u64 in process, one thread, medians of {} rounds",
            ONE_THREAD.rounds
        ),
        axis: "time of a call (logarithmic)".into(),
        plot: Plot::Points { points },
    }
}

fn contender<'a>(name: &'static str, call: impl Fn(u64) -> u64 + 'a) -> Contender<'a> {
    Contender { name, run: Box::new(move |repetitions| repeat(repetitions, &call)), one_in: 1 }
}

/// The factor by which a turn of a [`crowd`] is longer than the turn of another contender. The scheduler may wake all
/// threads on one processor, and take milliseconds to spread them. In a longer turn, this matters less.
const CROWD_LASTS: u64 = 40;

/// A contender with this number of threads. They begin at the same time and share the repetitions. The measured time is
/// from the start of the first thread to the end of the last thread.
fn crowd<'a>(name: &'static str, threads: u64, call: impl Fn(u64) -> u64 + Sync + 'a) -> Contender<'a> {
    let run = move |repetitions: u64| {
        let ready = Barrier::new(threads as usize);
        let member = || {
            // The thread's first call makes a thread slot. This call is not measured.
            black_box(call(0));
            ready.wait();
            let began = Instant::now();
            repeat(repetitions * CROWD_LASTS / threads, &call);
            (began, Instant::now())
        };
        let times: Vec<_> = thread::scope(|scope| {
            let members: Vec<_> = (0..threads).map(|_| scope.spawn(member)).collect();
            members.into_iter().filter_map(|member| member.join().ok()).collect()
        });
        let began = times.iter().map(|(began, _)| *began).min();
        let ended = times.iter().map(|(_, ended)| *ended).max();
        began.zip(ended).map_or(Duration::MAX, |(began, ended)| (ended - began) / CROWD_LASTS as u32)
    };
    Contender { name, run: Box::new(run), one_in: 1 }
}

#[inline(always)]
fn repeat(repetitions: u64, call: &impl Fn(u64) -> u64) -> Duration {
    let began = Instant::now();
    for by in 0..repetitions {
        black_box(call(black_box(by)));
    }
    began.elapsed()
}

/// What the fixture `numbered` offers for calls without a host. The fixture defines the same struct.
#[repr(C)]
struct Probe {
    object: Object,
    increment: Edge,
    plain: extern "C" fn(u64) -> u64,
}

/// Opens the library of the fixture without a host.
fn probe(library: &Path) -> Result<Probe> {
    let library = bare::open(library)?;
    // SAFETY: the fixture defines the function with this signature, and `Probe` with the same fields.
    let probe = unsafe { library.get::<extern "C" fn() -> Probe>(b"numbered_probe\0") }?;
    Ok(probe())
}
