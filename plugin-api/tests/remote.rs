//! Tests calls through remote edges, with a [`Remote`] in this process.

use replug_api::{
    CallError, Caller, Interface,
    abi::{Edge, Encoding, InterfaceExport, Object, Outcome, Refusal},
    call::{Bound, Death, Failed},
    describe,
    remote::{self, Remote, RemoteObject, Reply, take_lost},
    serde::{Serializer, ser::Error},
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// Every kind of value.
#[replug_api::interface]
trait Everything {
    fn nothing(&self);
    fn numbers(&self, a: (u8, u16, u32, u64, usize), b: (i8, i16, i32, i64, isize), c: (f32, f64)) -> f64;
    fn small(&self, yes: bool, letter: char, pause: Duration) -> (bool, char, Duration);
    fn lent(&self, text: &str, bytes: &[u8], rest: u8) -> String;
    fn own_bytes(&self, bytes: Vec<u8>, text: String) -> (Vec<u8>, String);
    fn wrapped(&self, a: Option<Box<u8>>, b: Result<(), String>, c: [char; 3]) -> Vec<Result<(), String>>;
    fn maps(&self, a: BTreeMap<String, Vec<u32>>, b: HashMap<u64, f64>) -> BTreeMap<u64, String>;
    fn sets(&self, a: BTreeSet<String>, b: HashSet<i8>) -> BTreeSet<i8>;
    fn grow(&self, tree: Tree) -> Result<Tree, TreeError>;
    fn boom(&self, text: &str) -> Result<(), TreeError>;
    fn next(&self, small: Small) -> Small;
    fn r#match(&self, r#type: u8) -> u8;
}

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
struct Tree {
    value: i32,
    children: Vec<Tree>,
    twin: Option<Box<Tree>>,
}

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
enum TreeError {
    None,
    Text(String),
    Value { value: i32, r#type: char },
}

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
struct Small {
    /// A value of 10 or more cannot be encoded.
    #[serde(serialize_with = "digit")]
    digit: u8,
}

fn digit<S: Serializer>(digit: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    if *digit < 10 { serializer.serialize_u8(*digit) } else { Err(S::Error::custom("not a digit")) }
}

struct All;

impl Everything for All {
    fn nothing(&self) {}

    fn numbers(&self, a: (u8, u16, u32, u64, usize), b: (i8, i16, i32, i64, isize), c: (f32, f64)) -> f64 {
        let unsigned = [u64::from(a.0), u64::from(a.1), u64::from(a.2), a.3, a.4 as u64];
        let signed = [i64::from(b.0), i64::from(b.1), i64::from(b.2), b.3, b.4 as i64];
        unsigned.iter().sum::<u64>() as f64 + signed.iter().sum::<i64>() as f64 + f64::from(c.0) + c.1
    }

    fn small(&self, yes: bool, letter: char, pause: Duration) -> (bool, char, Duration) {
        (!yes, letter, pause * 2)
    }

    fn lent(&self, text: &str, bytes: &[u8], rest: u8) -> String {
        format!("{text} {bytes:?} {rest}")
    }

    fn own_bytes(&self, bytes: Vec<u8>, text: String) -> (Vec<u8>, String) {
        (bytes, text)
    }

    fn wrapped(&self, a: Option<Box<u8>>, b: Result<(), String>, c: [char; 3]) -> Vec<Result<(), String>> {
        vec![b, Err(format!("{a:?} {c:?}"))]
    }

    fn maps(&self, a: BTreeMap<String, Vec<u32>>, b: HashMap<u64, f64>) -> BTreeMap<u64, String> {
        b.into_iter().map(|(key, value)| (key, format!("{value} {a:?}"))).collect()
    }

    fn sets(&self, a: BTreeSet<String>, b: HashSet<i8>) -> BTreeSet<i8> {
        b.into_iter().chain([a.len() as i8]).collect()
    }

    fn grow(&self, tree: Tree) -> Result<Tree, TreeError> {
        match tree.value {
            0 => Err(TreeError::None),
            value if value < 0 => Err(TreeError::Value { value, r#type: 'x' }),
            value => Ok(Tree { value: value + 1, children: vec![tree.clone()], twin: Some(Box::new(tree)) }),
        }
    }

    fn boom(&self, text: &str) -> Result<(), TreeError> {
        if text.is_empty() { Err(TreeError::Text("empty".into())) } else { panic!("{text}") }
    }

    fn next(&self, small: Small) -> Small {
        Small { digit: small.digit + 1 }
    }

    fn r#match(&self, r#type: u8) -> u8 {
        r#type
    }
}

/// Passes each call to the encoded entry (`invoke`) of the same interface, like the process of a plugin.
struct Loop {
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Remote for Loop {
    fn plugin(&self) -> &str {
        "dev.test.loop"
    }

    fn invoke(&self, method: u32, encoding: Encoding, arguments: &[u8]) -> Result<Reply, CallError> {
        *self.seen.lock().expect("lock") = arguments.to_vec();
        let bound = <dyn Everything as Interface>::bind(&All);
        // SAFETY: 1: `bound` has both the object and the export. 2: the instance is a `static`.
        match unsafe { (bound.export.invoke)(bound.object, method, encoding, arguments.into()) } {
            Outcome::Returned(bytes) => Ok(Reply::Returned(bytes.into())),
            Outcome::Refused(refusal) => Ok(Reply::Refused(refusal)),
            Outcome::Panicked(panic) => Err(panicked(panic.message())),
            Outcome::Lost => panic!("lost in the plugin"),
        }
    }
}

fn panicked(message: &str) -> CallError {
    CallError::Panicked {
        plugin: "dev.test.loop".into(),
        generation: 1,
        method: "boom".into(),
        message: message.into(),
        location: "plugin.rs:1:2".into(),
    }
}

thread_local! {
    /// The stack pointer at the start of a thread that a test has started, and the size of its stack in bytes.
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// Runs the work on a thread with a stack of that many bytes.
fn on_stack_of(bytes: usize, work: impl FnOnce() + Send + 'static) {
    let work = move || {
        // The frames above this belong to the standard library.
        STACK.set(Some((stack_pointer(), bytes - (16 << 10))));
        work();
    };
    thread::Builder::new().stack_size(bytes).spawn(work).expect("a thread").join().expect("no panic");
}

/// Answers every call in the same way.
struct Always<F>(F);

impl<F: Fn() -> Result<Reply, CallError> + Send + Sync> Remote for Always<F> {
    fn plugin(&self) -> &str {
        "dev.test.always"
    }

    fn stack_left(&self) -> Option<usize> {
        STACK.get().map(|(start, bytes)| bytes - start.abs_diff(stack_pointer()))
    }

    fn invoke(&self, _: u32, _: Encoding, _: &[u8]) -> Result<Reply, CallError> {
        (self.0)()
    }
}

/// A caller that treats its plugin as a plugin in another process.
#[derive(Clone, Debug)]
struct Elsewhere(RemoteObject);

impl Elsewhere {
    fn client_of_it(self) -> EverythingClient<Self> {
        // SAFETY: 1: the edges are those of `REMOTE`.
        unsafe { Bound::new(self) }.into()
    }

    fn client(remote: impl Remote + 'static) -> EverythingClient<Self> {
        Self(RemoteObject::new(remote)).client_of_it()
    }
}

// SAFETY: 1: the edges are remote edges, and the object is that of a `RemoteObject`. 2: `self` keeps that
// `RemoteObject`.
unsafe impl Caller for Elsewhere {
    fn call<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        match call(self.0.object(), REMOTE.methods[method as usize].edge) {
            Ok(value) => Ok(value),
            Err(Failed::Refused(error)) => Err(Ok(error)),
            Err(Failed::Panicked(panic)) => Err(Err(CallError::Unknown(panic.message().into()))),
            Err(Failed::Lost) => Err(Err(take_lost().expect("a reason"))),
        }
    }
}

const REMOTE: &InterfaceExport = <dyn Everything as Interface>::REMOTE;

fn client() -> EverythingClient<Elsewhere> {
    Elsewhere::client(Loop { seen: Arc::default() })
}

fn always(
    answer: impl Fn() -> Result<Reply, CallError> + Send + Sync + 'static,
) -> EverythingClient<Elsewhere> {
    Elsewhere::client(Always(answer))
}

fn leaf(value: i32) -> Tree {
    Tree { value, children: Vec::new(), twin: None }
}

#[test]
fn values_of_every_type_round_trip() {
    let client = client();
    assert_eq!(client.nothing(), Ok(()));
    let numbers = client.numbers((255, 2, 3, 1 << 40, 5), (-1, -2, -3, -(1 << 40), -5), (0.5, 0.25));
    assert_eq!(numbers, Ok(254.75));
    let small = client.small(true, 'ß', Duration::from_nanos(1_500_000_001));
    assert_eq!(small, Ok((false, 'ß', Duration::from_nanos(3_000_000_002))));
    assert_eq!(client.lent("grün", &[0, 255], 7).as_deref(), Ok("grün [0, 255] 7"));
    assert_eq!(client.lent("", &[], 0).as_deref(), Ok(" [] 0"));
    assert_eq!(client.own_bytes(vec![9; 300], "x".into()), Ok((vec![9; 300], "x".into())));
    let wrapped = client.wrapped(Some(Box::new(1)), Err("no".into()), ['a', 'b', 'c']);
    assert_eq!(wrapped, Ok(vec![Err("no".into()), Err("Some(1) ['a', 'b', 'c']".into())]));
    let maps = client.maps(BTreeMap::from([("a".into(), vec![1, 2])]), HashMap::from([(7, 0.5)]));
    assert_eq!(maps, Ok(BTreeMap::from([(7, r#"0.5 {"a": [1, 2]}"#.into())])));
    let sets = client.sets(BTreeSet::from(["a".into(), "b".into()]), HashSet::from([-3]));
    assert_eq!(sets, Ok(BTreeSet::from([-3, 2])));
    assert_eq!(client.r#match(3), Ok(3));
    assert_eq!(take_lost(), None);
}

#[test]
fn the_authors_data_and_errors_round_trip() {
    let client = client();
    let grown = Tree { value: 2, children: vec![leaf(1)], twin: Some(Box::new(leaf(1))) };
    assert_eq!(client.grow(leaf(1)), Ok(grown));
    assert_eq!(client.grow(leaf(0)), Err(CallError::Plugin(TreeError::None)));
    let error = CallError::Plugin(TreeError::Value { value: -1, r#type: 'x' });
    assert_eq!(client.grow(leaf(-1)), Err(error));
    assert_eq!(client.boom(""), Err(CallError::Plugin(TreeError::Text("empty".into()))));
}

#[test]
fn a_large_text_and_large_bytes_round_trip() {
    let (text, bytes) = ("é".repeat(1 << 20), vec![200; 1 << 20]);
    let back = client().own_bytes(bytes.clone(), text.clone()).expect("round trip");
    assert!(back == (bytes.clone(), text.clone()));
    let lent = client().lent(&text, &bytes[..3], 1).expect("round trip");
    assert!(lent == format!("{text} [200, 200, 200] 1"));
}

#[test]
fn arguments_are_encoded_as_a_tuple_by_position() {
    let seen = Arc::new(Mutex::default());
    let client = Elsewhere::client(Loop { seen: seen.clone() });
    client.lent("text", &[1, 2, 3], 4).expect("answer");
    assert_eq!(
        *seen.lock().unwrap(),
        postcard::to_stdvec(&("text", vec![1_u8, 2, 3], 4_u8)).expect("encode")
    );
    client.nothing().expect("answer");
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn a_panic_in_another_process_is_returned_as_an_error() {
    assert_eq!(client().boom("ouch"), Err(panicked("ouch").widen()));
    assert_eq!(take_lost(), None);
}

#[test]
fn a_lost_call_returns_the_reason() {
    let crashed = || CallError::Crashed {
        plugin: "dev.test.always".into(),
        generation: 3,
        method: "grow".into(),
        death: Death::Signal("SIGSEGV".into()),
        stderr_tail: "last words\n".into(),
    };
    let client = always(move || Err(crashed()));
    let error = client.grow(leaf(1)).expect_err("crashed");
    assert_eq!(error, crashed().widen());
    assert_eq!(client.nothing(), Err(crashed()));
    assert_eq!(
        crashed().to_string(),
        "dev.test.always g3 was killed by SIGSEGV during `grow`, which may have taken effect or not; \
         the plugin is restarted unless it was stopped or died too often; its stderr ends with:\nlast words"
    );
}

#[test]
fn a_garbled_answer_is_an_error_that_names_the_method() {
    let bad = |error: CallError| match error {
        CallError::BadResult { plugin, method, message } => {
            assert_eq!(plugin, "dev.test.always");
            let why = message.strip_prefix("the answer is not what the host expects (").expect("prefix");
            format!("{method}: {}", why.split_once(')').expect("end").0)
        }
        other => panic!("{other:?}"),
    };
    let returned = |bytes: &'static [u8]| always(move || Ok(Reply::Returned(bytes.to_vec())));
    assert_eq!(
        bad(returned(&[1]).small(true, 'a', Duration::ZERO).expect_err("too short")),
        "small: Hit the end of buffer, expected more data"
    );
    assert_eq!(bad(returned(&[0]).nothing().expect_err("too long")), "nothing: 1 trailing bytes");
    let Err(CallError::BadResult { message, .. }) = returned(&[]).next(Small { digit: 1 }) else {
        panic!("decoded")
    };
    assert!(
        message.ends_with("build the host and the plugin with the same version of the interface"),
        "{message}"
    );

    let refused = always(|| Ok(Reply::Refused(Refusal::Error(vec![200].into()))));
    let Err(CallError::BadResult { method, .. }) = refused.grow(leaf(1)) else { panic!("decoded") };
    assert_eq!(method, "grow");
    assert_eq!(
        bad(refused.nothing().expect_err("an error")),
        "nothing: the host's version of the method cannot fail, but the method failed"
    );
}

#[test]
fn a_deeply_nested_answer_is_rejected_before_the_stack_overflows() {
    // Each level of the tree has either one child and no `twin`, or a `twin` and no children.
    for level in [&[0, 1][..], &[0, 0, 1]] {
        let answered = move |depth: usize| {
            let bytes: Vec<u8> = level.repeat(depth);
            let end = if level.len() == 2 {
                vec![0, 0, 0].into_iter().chain(vec![0; depth]).collect()
            } else {
                vec![0; 3]
            };
            let bytes = [bytes, end].concat();
            always(move || Ok(Reply::Returned(bytes.clone()))).grow(leaf(1))
        };
        let deeper = move || {
            for depth in (4..2048).step_by(20).chain([10_000_000]) {
                match answered(depth) {
                    Ok(_) => assert!(depth < 10_000_000),
                    Err(CallError::BadResult { message, .. }) => {
                        assert_eq!(message, "it is nested too deeply to be read");
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
        // A small value can always be decoded; the remaining stack limits larger ones.
        assert!(answered(8).is_ok());
        on_stack_of(2 << 20, move || assert!(answered(64).is_ok(), "moderate nesting is decoded"));
        for kib in [64, 128, 256, 512, 1024, 2048] {
            on_stack_of(kib << 10, deeper);
        }
        // The stack of this remote is unknown.
        thread::Builder::new()
            .stack_size(512 << 10)
            .spawn(deeper)
            .expect("a thread")
            .join()
            .expect("no panic");
    }
}

#[test]
fn a_value_that_cannot_be_encoded_is_rejected_on_both_sides() {
    assert_eq!(client().next(Small { digit: 8 }), Ok(Small { digit: 9 }));
    let error = client().next(Small { digit: 10 }).expect_err("no digit");
    let CallError::BadArguments { plugin, method, message } = error else { panic!("{error:?}") };
    assert_eq!((plugin.as_str(), method.as_str()), ("dev.test.loop", "next"));
    assert!(message.starts_with("argument `small` cannot be encoded: "), "{message}");
    let error = client().next(Small { digit: 9 }).expect_err("no digit");
    assert!(matches!(&error, CallError::BadResult { method, .. } if method == "next"), "{error:?}");
}

#[test]
fn arguments_that_the_plugin_rejects_are_returned_as_an_error() {
    let client = always(|| Ok(Reply::Refused(Refusal::BadArguments("argument `a`: no".into()))));
    let error = client.r#match(1).expect_err("refused");
    assert_eq!(error.to_string(), "`match` of dev.test.always: argument `a`: no");
}

#[test]
fn a_panic_of_the_host_is_contained() {
    let client = always(|| panic!("in the transport"));
    assert_eq!(client.nothing(), Err(CallError::Unknown("in the transport".into())));
}

#[test]
fn encoded_calls_are_passed_to_the_remote() {
    let json = |object: &RemoteObject, method: &str, arguments: &str| {
        let index = REMOTE.methods.iter().position(|known| known.name == method).expect("known method");
        // SAFETY: 1 and 2: the object is that of a `RemoteObject`, which is borrowed.
        let outcome = unsafe {
            (REMOTE.invoke)(object.object(), index as u32, Encoding::Json, arguments.as_bytes().into())
        };
        match outcome {
            Outcome::Returned(bytes) => String::from_utf8(bytes.into()).expect("JSON"),
            Outcome::Refused(Refusal::Error(bytes)) => String::from_utf8(bytes.into()).expect("JSON"),
            Outcome::Refused(refusal) => format!("{refusal:?}"),
            Outcome::Panicked(panic) => panic.message().into(),
            Outcome::Lost => format!("lost: {}", take_lost().expect("a reason")),
        }
    };
    let object = RemoteObject::new(Loop { seen: Arc::default() });
    assert_eq!(json(&object, "lent", r#"{"text":"a","bytes":[1],"rest":2}"#), r#""a [1] 2""#);
    assert_eq!(json(&object, "boom", r#"[""]"#), r#"{"Text":"empty"}"#);
    assert_eq!(
        json(&object, "boom", r#"["x"]"#),
        "lost: `boom` of dev.test.loop g1 panicked: x (plugin.rs:1:2)"
    );
    assert_eq!(json(&object, "match", "[]"), "BadArguments(\"takes 1 argument (type), 0 given\")");
}

#[test]
fn the_remote_interface_differs_only_in_its_edges() {
    let export = <dyn Everything as Interface>::EXPORT;
    let description = |export: &InterfaceExport| describe::Interface::of(export).expect("description");
    assert_eq!(description(REMOTE).fingerprint(), description(export).fingerprint());
    assert_eq!(REMOTE.methods.len(), export.methods.len());
    for (remote, own) in REMOTE.methods.iter().zip(export.methods.iter()) {
        assert_eq!(remote.name, own.name);
        assert_eq!(remote.layout.to_string(), own.layout.to_string());
        assert_ne!(remote.edge.0, own.edge.0);
    }
    assert_eq!(REMOTE.invoke as usize, remote::invoke as *const () as usize);
}

#[test]
fn an_object_is_valid_until_its_last_clone_is_dropped() {
    let seen = Arc::new(Mutex::default());
    let object = RemoteObject::new(Loop { seen: seen.clone() });
    let clone = object.clone();
    assert_eq!(object.object(), clone.object());
    drop(object);
    let client = Elsewhere(clone).client_of_it();
    assert_eq!(client.r#match(5), Ok(5));
    drop(client);
    assert_eq!(Arc::strong_count(&seen), 1);
}
