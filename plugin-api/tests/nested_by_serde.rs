//! Tests that deeply nested content of `#[data(serde)]` types is rejected before the stack overflows.

use replug_api::{
    CallError, Caller, Data, Interface,
    abi::{Edge, Encoding, Object, Refusal},
    call::{Bound, Failed},
    remote::{Remote, RemoteObject, Reply, decode_value, take_lost},
};
use std::thread;

/// Newtype variants, which rmp-serde does not count as levels.
#[replug_api::data(serde)]
#[derive(Debug)]
enum Expr {
    Not(Box<Expr>),
    Leaf(u8),
}

/// Arrays.
#[replug_api::data(serde)]
#[derive(Debug)]
struct List(Vec<List>);

/// In MessagePack, each value but `nil` stands for an endless chain.
#[replug_api::data(serde)]
#[derive(Debug)]
struct Chain(Option<Box<Chain>>);

/// Types of another crate.
mod foreign {
    #[replug_api::state]
    #[derive(Debug)]
    pub(super) enum Expr {
        Not(Wrapped),
        Maybe(Option<Box<Expr>>),
        Leaf(u8),
    }

    #[replug_api::state]
    #[derive(Debug)]
    pub(super) struct Wrapped(Box<Expr>);
}

#[replug_api::data(serde)]
#[derive(Debug)]
struct Foreign(foreign::Expr);

/// The binary encoding of content: a byte string.
fn packed(content: &[u8]) -> Vec<u8> {
    let mut len = content.len();
    let mut bytes = Vec::new();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    [&bytes, content].concat()
}

/// The content of a chain of variants with this name.
fn variants(name: &str, depth: usize) -> Vec<u8> {
    let level = [&[0x81, 0xa0 | name.len() as u8], name.as_bytes()].concat();
    [level.repeat(depth).as_slice(), b"\x81\xa4Leaf\x01"].concat()
}

/// Decodes content at each depth, on stacks of several sizes.
fn reject_deep<T: Data>(content: fn(usize) -> Vec<u8>) {
    let depths = || (1..=64).chain((65..4096).step_by(31)).chain([100_000]);
    for kib in [64, 128, 256, 512, 1024, 2048] {
        let decode = move || {
            // The remaining kibibytes are for the standard library and this function.
            let stack_left = Some((kib - 16) << 10);
            let mut greatest = 0;
            for depth in depths() {
                match decode_value::<T>(&packed(&content(depth)), stack_left) {
                    Ok(_) => greatest = depth,
                    Err(why) => assert_eq!(why, "it is nested too deeply to be read", "{depth}"),
                }
            }
            greatest
        };
        let thread = thread::Builder::new().stack_size(kib << 10).spawn(decode).expect("a thread");
        let greatest = thread.join().expect("no panic");
        assert!(greatest < 100_000, "{kib} KiB: {greatest}");
        assert!(kib < 2048 || greatest >= 64, "moderate nesting is decoded: {greatest}");
    }
}

#[test]
fn deep_variants_are_rejected_before_the_stack_overflows() {
    reject_deep::<Expr>(|depth| variants("Not", depth));
    reject_deep::<Foreign>(|depth| variants("Not", depth));
    reject_deep::<Foreign>(|depth| variants("Maybe", depth));
}

#[test]
fn a_deep_value_outside_of_a_call_is_rejected_before_the_stack_overflows() {
    let bytes = packed(&variants("Not", 1_000_000));
    let decode = move || postcard::from_bytes::<Expr>(&bytes).is_err();
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(decode).expect("a thread");
    assert!(thread.join().expect("no panic"));
}

#[test]
fn deep_arrays_are_rejected_before_the_stack_overflows() {
    reject_deep::<List>(|depth| [vec![0x91; depth], vec![0x90]].concat());
}

#[test]
fn an_endless_chain_is_rejected_before_the_stack_overflows() {
    for kib in [64, 512, 2048] {
        let decode = move || {
            let stack_left = Some((kib - 16) << 10);
            assert!(decode_value::<Chain>(&packed(&[0xc0]), stack_left).is_ok_and(|chain| chain.0.is_none()));
            let error = decode_value::<Chain>(&packed(&[1]), stack_left).expect_err("an endless chain");
            assert_eq!(error, "it is nested too deeply to be read");
        };
        let thread = thread::Builder::new().stack_size(kib << 10).spawn(decode).expect("a thread");
        thread.join().expect("no panic");
    }
}

#[replug_api::interface]
trait Parser {
    fn parse(&self) -> Expr;
    fn check(&self) -> Result<u8, Expr>;
}

/// Answers each call with an expression of this depth: `parse` with a result, and `check` with an error.
struct Deep(usize);

impl Remote for Deep {
    fn plugin(&self) -> &str {
        "dev.test.deep"
    }

    fn invoke(&self, method: u32, _: Encoding, _: &[u8]) -> Result<Reply, CallError> {
        let bytes = packed(&variants("Not", self.0));
        Ok(match method {
            0 => Reply::Returned(bytes),
            _ => Reply::Refused(Refusal::Error(bytes.into())),
        })
    }
}

/// A caller on a thread that has this much stack left.
struct OnStack {
    remote: RemoteObject,
    left: Option<usize>,
}

// SAFETY: 1: the edges are remote edges, and the object is that of the `RemoteObject`. 2: `self` keeps it.
unsafe impl Caller for OnStack {
    fn call<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        let edge = <dyn Parser as Interface>::REMOTE.methods[method as usize].edge;
        call(self.remote.object(), edge).map_err(|failed| match failed {
            Failed::Refused(error) => Ok(error),
            Failed::Panicked(panic) => Err(CallError::Unknown(panic.message().into())),
            Failed::Lost => Err(take_lost().expect("a reason")),
        })
    }

    fn stack_left(&self) -> Option<usize> {
        self.left
    }
}

fn too_deep<E: std::fmt::Debug>(error: CallError<E>) -> bool {
    match error {
        CallError::BadResult { message, .. } => {
            assert_eq!(message, "it is nested too deeply to be read");
            true
        }
        CallError::Plugin(_) => false,
        other => panic!("{other:?}"),
    }
}

/// The greatest depth up to which a client decodes results, on a thread with this stack.
fn greatest_depth(kib: usize, left: Option<usize>) -> usize {
    let decode = move || {
        let depths = (0..4096).step_by(16).chain([100_000]);
        let is_decoded = |depth: &usize| {
            let caller = OnStack { remote: RemoteObject::new(Deep(*depth)), left };
            // SAFETY: 1: the edges are those of `REMOTE`.
            let client = ParserClient::from(unsafe { Bound::new(caller) });
            let (result, error) = (client.parse(), client.check().expect_err("an error"));
            let is_decoded = result.map_err(too_deep).is_ok();
            assert_eq!(too_deep(error), !is_decoded, "{depth}");
            is_decoded
        };
        depths.take_while(is_decoded).last().expect("a flat value is decoded")
    };
    thread::Builder::new().stack_size(kib << 10).spawn(decode).expect("a thread").join().expect("no panic")
}

#[test]
fn a_client_decodes_as_deep_results_as_the_stack_allows() {
    let unknown = greatest_depth(2048, None);
    assert!(unknown < greatest_depth(2048, Some(2032 << 10)));
    assert!(unknown > greatest_depth(64, Some(48 << 10)));
}
