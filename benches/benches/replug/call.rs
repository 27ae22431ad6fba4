//! The cost of a call: the typed handle, compared with the bare function pointer that it ultimately calls.

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use replug::{CallError, Handle, Host};
use replug_api::{
    Caller,
    abi::{Edge, Object},
    call::{Bound, Failed},
};
use replug_benches::{Contender, Rounds, Section, Series, Table, Target, take_turns};
use replug_interfaces::{Counter, CounterClient};
use replug_tests::sandbox::{Sandbox, Std};
use serde_json::json;
use std::{
    fs,
    hint::black_box,
    mem::ManuallyDrop,
    path::Path,
    sync::{Barrier, Mutex, RwLock},
    thread,
    time::{Duration, Instant},
};

const ID: &str = "dev.replug.numbered";
const BARE: &str = "function pointer of the same signature, hoisted";
const TYPED: &str = "typed handle";
const RESOLVED_BINARY: &str = "resolved method, with types";
const RESOLVED_JSON: &str = "resolved method, with JSON";

const ONE_THREAD: Rounds = Rounds { rounds: 60, repetitions: 400_000 };
const TWO_THREADS: Rounds = Rounds { rounds: 40, repetitions: 2_000_000 };

/// Measures a method without a lock or an allocation in it: `fn increment(&self, by: u64) -> u64`.
pub(crate) fn measure() -> Result<Section> {
    let sandbox = Sandbox::fresh("bench")?;
    let package = sandbox.add("tests/fixtures/numbered")?;
    let host =
        Host::builder().plugins(sandbox.plugins_dir()).state_dir(sandbox.state_dir()).build().wait()?;
    let typed: Handle<dyn Counter> = host.get(ID)?;
    typed.increment(1).context("the plugin did not start")?;
    let dynamic = host.plugin(ID)?;
    let resolved = dynamic.method("increment")?;
    let resolved_binary = resolved.typed::<(u64,), u64>()?;
    let probe = probe(&sandbox.build(&package, Std::Shared)?)?;
    let bare = || {
        let bare = Bare { object: probe.object, edge: probe.increment };
        // SAFETY: 1: the fixture takes the object and the edge from its own `Counter`, and this program calls only that
        // method.
        CounterClient::from(unsafe { Bound::new(bare) })
    };

    let hoisted = bare();
    let (mutex, rwlock, swapped) = (Mutex::new(bare()), RwLock::new(bare()), ArcSwap::from_pointee(bare()));
    let contenders = vec![
        contender(BARE, |by| hoisted.increment(by).unwrap_or_default()),
        contender(TYPED, |by| typed.increment(by).unwrap_or_default()),
        contender("`extern \"C\" fn(u64) -> u64` found by dlsym, without panic guard", |by| {
            (probe.plain)(by)
        }),
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
    let series = take_turns(contenders, ONE_THREAD);
    let scaling = take_turns(
        vec![
            crowd("typed handle, 1 thread", 1, |by| typed.increment(by).unwrap_or_default()),
            crowd("typed handle, 2 threads", 2, |by| typed.increment(by).unwrap_or_default()),
            crowd("function pointer, 1 thread", 1, |by| hoisted.increment(by).unwrap_or_default()),
            crowd("function pointer, 2 threads", 2, |by| hoisted.increment(by).unwrap_or_default()),
        ],
        TWO_THREADS,
    );
    host.shutdown().wait();
    Ok(section(&series, &scaling))
}

fn section(series: &[Series], scaling: &[Series]) -> Section {
    let row = |one: &Series| {
        let ratio = one.ratio_to(&series[0]);
        vec![one.name.to_owned(), format!("{:.2}", one.median()), format!("{ratio:.2}")]
    };
    let throughput = |one: &Series| vec![one.name.to_owned(), format!("{:.0}", 1e3 / one.median())];
    let ratio = series[1].ratio_to(&series[0]);
    let [by_json, by_types] = [RESOLVED_JSON, RESOLVED_BINARY].map(|name| {
        let found = series.iter().find(|one| one.name == name);
        found.map_or(f64::INFINITY, |one| one.ratio_to(&series[0]))
    });
    let (typed, machine) = (scaling[0].ratio_to(&scaling[1]), scaling[2].ratio_to(&scaling[3]));
    Section {
        title: "A call in process",
        tables: vec![
            Table {
                columns: vec!["one thread", "ns a call", "times the pointer"],
                rows: series.iter().map(row).collect(),
            },
            Table {
                columns: vec!["throughput", "million calls a second"],
                rows: scaling.iter().map(throughput).collect(),
            },
        ],
        targets: vec![
            Target {
                what: "typed call, relative to the hoisted pointer",
                bound: "at most 1.5 times",
                measured: format!("{ratio:.2} times"),
                met: ratio <= 1.5,
            },
            Target {
                what: "resolved method with JSON, relative to the hoisted pointer",
                bound: "at most 25 times",
                measured: format!("{by_json:.1} times (with types {by_types:.1})"),
                met: by_json <= 25.0 && by_types < by_json,
            },
            Target {
                what: "throughput of two threads, relative to one",
                bound: "at least 1.8 times",
                measured: format!("{typed:.2} times (function pointer: {machine:.2})"),
                met: typed >= 1.8,
            },
        ],
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

/// Calls one edge of one object: the generated client of the interface, without a host in between.
struct Bare {
    object: Object,
    edge: Edge,
}

// SAFETY: 1: the object and the edge belong to one method, which is the only one that is called. 2: the library stays
// open.
unsafe impl Caller for Bare {
    #[inline]
    fn call<T, E>(
        &self,
        _: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        match call(self.object, self.edge) {
            Ok(value) => Ok(value),
            Err(Failed::Refused(error)) => Err(Ok(error)),
            Err(Failed::Panicked(panic)) => Err(Err(CallError::Unknown(panic.message().to_owned()))),
            Err(Failed::Lost) => Err(Err(CallError::Unknown("the call was lost".into()))),
        }
    }
}

/// The struct that the fixture `numbered` also defines.
#[repr(C)]
struct Probe {
    object: Object,
    increment: Edge,
    plain: extern "C" fn(u64) -> u64,
}

/// Opens the library of the fixture without a host. The library stays open.
fn probe(library: &Path) -> Result<Probe> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("probe.so");
    fs::copy(library, &copy)?;
    // SAFETY: the only constructors of the library are those of std, and its name is new to this process.
    let library = unsafe { Library::open(Some(&copy), RTLD_NOW | RTLD_LOCAL) }?;
    let library = ManuallyDrop::new(library);
    // SAFETY: the fixture defines the function with this signature, and `Probe` with the same fields.
    let probe = unsafe { library.get::<extern "C" fn() -> Probe>(b"numbered_probe\0") }?;
    Ok(probe())
}
