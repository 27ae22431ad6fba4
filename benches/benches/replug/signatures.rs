//! The cost of calls with different signatures, each in three ways: through a Rust function, through a pointer to the
//! plugin's edge that is fetched before the loop of calls (*hoisted*), and through a typed handle.

#[expect(unreachable_pub, reason = "in the plugin, the same file is the interface of a library")]
#[path = "../../signatures/src/interface.rs"]
mod interface;

use crate::bare::{self, Bare};
use anyhow::{Context, Result, ensure};
use interface::{Functions, Named, Quantity, Refused, Signatures, SignaturesClient};
use replug::{CallError, Handle, Host};
use replug_api::{abi::BoundInterface, call::Bound};
use replug_benches::{Contender, Rounds, Series, Table, take_turns};
use replug_tests::sandbox::{Sandbox, Std};
use std::{
    convert,
    hint::black_box,
    mem,
    path::Path,
    time::{Duration, Instant},
};

/// The folder of the plugin in the repository.
pub(crate) const PLUGIN: &str = "benches/signatures";
const ID: &str = "dev.replug.signatures";
const TURNS: Rounds = Rounds { rounds: 60, repetitions: 100_000 };
const BYTES: usize = 64 << 10;
const STRUCTS: u64 = 100;

/// What the plugin offers for calls without a host. The plugin defines the same struct.
#[repr(C)]
struct SignatureProbe {
    bound: BoundInterface,
    functions: Functions,
}

impl SignatureProbe {
    fn open(library: &Path) -> Result<Self> {
        let library = bare::open(library)?;
        // SAFETY: the plugin defines the function with this signature, and the struct with the same fields.
        let probe = unsafe { library.get::<extern "C" fn() -> Self>(b"signatures_probe\0") }?;
        Ok(probe())
    }

    /// A client with which only the method with this name can be called.
    fn bare(&self, name: &str) -> Result<SignaturesClient<Bare>> {
        let methods = self.bound.export.methods.iter();
        let edge = methods.into_iter().find(|method| method.name == name).context("no such method")?.edge;
        let bare = Bare { object: self.bound.object, edge };
        // SAFETY: 1: the edge is that of the method that the caller calls, and the plugin compiles the same interface.
        Ok(unsafe { Bound::new(bare) }.into())
    }
}

type Repeat<'a> = Box<dyn FnMut(u64) -> Duration + 'a>;

/// The calls of one signature: a Rust function, the pointer, and the handle.
struct Row<'a> {
    signature: &'static str,
    one_in: u64,
    calls: [Repeat<'a>; 3],
}

/// The calls of one method with these arguments. `$taken` takes the value out of the result.
macro_rules! calls {
    ($probe:ident, $typed:ident, $method:ident($($argument:expr),*), $plain:expr, $taken:expr) => {{
        let bare = $probe.bare(stringify!($method))?;
        [
            repeated(|| $plain(($probe.functions.$method)($(black_box($argument)),*))),
            repeated(move || $taken(bare.$method($(black_box($argument)),*))),
            repeated(|| $taken($typed.$method($(black_box($argument)),*))),
        ]
    }};
}

/// The calls of a method that takes a list and returns it. Each call passes the list that the previous call has
/// returned.
macro_rules! list_calls {
    ($probe:ident, $typed:ident, $method:ident($list:ident)) => {{
        let bare = $probe.bare(stringify!($method))?;
        [
            passed(&$list, |list| ($probe.functions.$method)(list)),
            passed(&$list, move |list| bare.$method(list).unwrap_or_default()),
            passed(&$list, |list| $typed.$method(list).unwrap_or_default()),
        ]
    }};
}

/// Measures all signatures. The plugin is in the sandbox, and the host serves it.
pub(crate) fn table(host: &Host, sandbox: &Sandbox) -> Result<Table> {
    let probe =
        SignatureProbe::open(&sandbox.build(&sandbox.plugins_dir().join("signatures"), Std::Shared)?)?;
    let typed: Handle<dyn Signatures> = host.get(ID)?;
    let bytes = vec![1; BYTES];
    let numbers: Vec<_> =
        (0..STRUCTS).map(|item| Quantity { item, price: 1.5, ..Quantity::default() }).collect();
    let texts: Vec<_> =
        (0..STRUCTS).map(|item| Named { item, name: format!("the name of item {item}") }).collect();
    ensure!(typed.numbers(numbers.clone())? == numbers && typed.texts(texts.clone())? == texts);
    ensure!(typed.refuse(7) == Err(CallError::Plugin(Refused { code: 7 })), "the method does not fail");
    let bytes = bytes.as_slice();
    let row = |signature, one_in, calls| Row { signature, one_in, calls };
    let code = |result: Result<u64, Refused>| result.map_or_else(|refused| refused.code, |_| 0);
    let rows = vec![
        row(
            "`(f64, f64) -> f64`",
            1,
            calls!(probe, typed, add(1.5, 2.5), convert::identity, Result::unwrap_or_default),
        ),
        row(
            "`(&str) -> String`, a name of five bytes",
            4,
            calls!(probe, typed, greet("World"), convert::identity, Result::unwrap_or_default),
        ),
        row(
            "`(&[u8]) -> usize`, 64 KiB",
            1,
            calls!(probe, typed, length(bytes), convert::identity, Result::unwrap_or_default),
        ),
        row(
            "`(Vec<_>) -> Vec<_>`, 100 structs of three numbers",
            20,
            list_calls!(probe, typed, numbers(numbers)),
        ),
        row(
            "`(Vec<_>) -> Vec<_>`, 100 structs of a number and a text",
            200,
            list_calls!(probe, typed, texts(texts)),
        ),
        row("`(u32) -> Result<u64, _>`, an error", 4, calls!(probe, typed, refuse(7), code, code_of)),
    ];
    Ok(in_turns(rows))
}

fn code_of(result: Result<u64, CallError<Refused>>) -> u32 {
    match result {
        Err(CallError::Plugin(refused)) => refused.code,
        _ => 0,
    }
}

fn in_turns(rows: Vec<Row<'_>>) -> Table {
    let signatures: Vec<_> = rows.iter().map(|row| row.signature).collect();
    let contenders = rows.into_iter().flat_map(|Row { signature, one_in, calls }| {
        calls.into_iter().map(move |run| Contender { name: signature, run, one_in })
    });
    let measured = take_turns(contenders.collect(), TURNS);
    let cells = |(signature, ways): (&str, &[Series])| {
        let [plain, pointer, handle] = ways else { return Vec::new() };
        let ns = [plain, pointer, handle].map(|way| format!("{:.2}", way.median()));
        [signature.to_owned()]
            .into_iter()
            .chain(ns)
            .chain([format!("{:.2}", handle.ratio_to(pointer))])
            .collect()
    };
    Table {
        columns: vec![
            "a call by its signature, ns",
            "Rust function, unprotected",
            "function pointer, hoisted",
            "typed handle",
            "handle, times the pointer",
        ],
        rows: signatures.into_iter().zip(measured.chunks(3)).map(cells).collect(),
    }
}

fn repeated<'a, T>(call: impl Fn() -> T + 'a) -> Repeat<'a> {
    Box::new(move |repetitions| {
        let began = Instant::now();
        for _ in 0..repetitions {
            black_box(call());
        }
        began.elapsed()
    })
}

fn passed<'a, T: Clone + 'a>(list: &[T], call: impl Fn(Vec<T>) -> Vec<T> + 'a) -> Repeat<'a> {
    let mut list = list.to_vec();
    Box::new(move |repetitions| {
        let began = Instant::now();
        for _ in 0..repetitions {
            list = black_box(call(black_box(mem::take(&mut list))));
        }
        began.elapsed()
    })
}
