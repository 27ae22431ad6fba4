//! Tests generated edges with direct calls, like those of a host. The instance is a `static`, so the caller does not
//! have to keep it alive.

use replug_api::{
    CallError, Caller, Interface,
    abi::{BoundInterface, Edge, Encoding, Object, Outcome, Refusal},
    call::{Bound, Failed},
    describe,
};
use std::collections::BTreeMap;

/// Calls the only instance.
#[derive(Clone, Debug)]
struct Direct(BoundInterfaceOf);

#[derive(Clone, Debug)]
struct BoundInterfaceOf {
    object: Object,
    edges: Vec<(String, Edge)>,
}

impl Direct {
    fn to<I: Interface + ?Sized>(it: &'static I) -> I::Client<Self> {
        let bound = I::bind(it);
        let edges = bound.export.methods.iter().map(|m| (m.name.to_string(), m.edge)).collect();
        // SAFETY: 1: the edges are those of `I::EXPORT`.
        unsafe { Bound::new(Self(BoundInterfaceOf { object: bound.object, edges })) }.into()
    }
}

// SAFETY: 1: the object and the edges come from one `bind`. 2: the instance is a `static`, in this binary.
unsafe impl Caller for Direct {
    fn call<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        let (name, edge) = &self.0.edges[method as usize];
        match call(self.0.object, *edge) {
            Ok(value) => Ok(value),
            Err(Failed::Refused(error)) => Err(Ok(error)),
            Err(Failed::Panicked(panic)) => Err(Err(CallError::Panicked {
                plugin: "test".into(),
                generation: 1,
                method: name.clone(),
                message: panic.message().into(),
                location: String::new(),
            })),
            Err(Failed::Lost) => panic!("lost"),
        }
    }
}

/// A bit of everything.
#[replug_api::interface]
trait Everything {
    /// Adds up.
    fn add(&self, a: f64, b: f64) -> f64;
    fn shout(&self, text: &str) -> String;
    fn sum(&self, bytes: &[u8]) -> u64;
    fn grow(&self, tree: Tree) -> Result<Tree, TreeError>;
    fn nothing(&self);
    fn boom(&self, payload: TreeError);
    fn map(&self, object: BTreeMap<String, Vec<u32>>, r#type: Option<u8>) -> (usize, Option<u8>);
    fn unwritable(&self) -> BTreeMap<(u8, u8), u8>;
    fn nested(&self, result: Result<u8, String>) -> Vec<Result<u8, String>>;
    fn quotient(&self, a: f32, b: f32) -> (Option<f32>, Option<f32>);
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
    Deep(Box<TreeError>, ()),
    Payload,
}

struct All;

/// A payload whose own `Drop` panics.
struct PanickingDrop;

impl Drop for PanickingDrop {
    fn drop(&mut self) {
        panic!("while dropping the payload");
    }
}

impl Everything for All {
    fn add(&self, a: f64, b: f64) -> f64 {
        a + b
    }

    fn shout(&self, text: &str) -> String {
        text.to_uppercase()
    }

    fn sum(&self, bytes: &[u8]) -> u64 {
        bytes.iter().copied().map(u64::from).sum()
    }

    fn grow(&self, tree: Tree) -> Result<Tree, TreeError> {
        if tree.value < 0 {
            return Err(TreeError::Deep(Box::new(TreeError::Value { value: tree.value, r#type: 'x' }), ()));
        }
        Ok(Tree { value: tree.value + 1, children: vec![tree.clone()], twin: Some(Box::new(tree)) })
    }

    fn nothing(&self) {}

    fn boom(&self, payload: TreeError) {
        match payload {
            TreeError::None => panic!("plain"),
            TreeError::Text(text) => panic!("{text}"),
            TreeError::Value { value, .. } => std::panic::panic_any(value),
            TreeError::Deep(..) => {}
            TreeError::Payload => std::panic::panic_any(PanickingDrop),
        }
    }

    fn map(&self, object: BTreeMap<String, Vec<u32>>, r#type: Option<u8>) -> (usize, Option<u8>) {
        (object.values().map(Vec::len).sum(), r#type)
    }

    fn unwritable(&self) -> BTreeMap<(u8, u8), u8> {
        BTreeMap::from([((1, 2), 3)])
    }

    fn nested(&self, result: Result<u8, String>) -> Vec<Result<u8, String>> {
        vec![result.clone(), result]
    }

    fn quotient(&self, a: f32, b: f32) -> (Option<f32>, Option<f32>) {
        (None, Some(a / b))
    }
}

type Client = EverythingClient<Direct>;

fn client() -> Client {
    Direct::to::<dyn Everything>(&All)
}

fn bound() -> BoundInterface {
    <dyn Everything as Interface>::bind(&All)
}

fn invoke(method: &str, encoding: Encoding, arguments: &[u8]) -> Outcome<Vec<u8>, Refusal> {
    let bound = bound();
    let index = bound.export.methods.iter().position(|m| m.name == method).expect("known method");
    // SAFETY: 1: `bound` has both the object and the export. 2: the instance is a `static`.
    match unsafe { (bound.export.invoke)(bound.object, index as u32, encoding, arguments.into()) } {
        Outcome::Returned(bytes) => Outcome::Returned(bytes.into()),
        Outcome::Refused(refusal) => Outcome::Refused(refusal),
        Outcome::Panicked(panic) => Outcome::Panicked(panic),
        Outcome::Lost => Outcome::Lost,
    }
}

fn json(method: &str, arguments: &str) -> String {
    match invoke(method, Encoding::Json, arguments.as_bytes()) {
        Outcome::Returned(bytes) => String::from_utf8(bytes).expect("JSON"),
        Outcome::Refused(Refusal::BadArguments(why)) => format!("bad arguments: {why}"),
        Outcome::Refused(Refusal::BadResult(why)) => format!("bad result: {why}"),
        Outcome::Refused(Refusal::Error(bytes)) => {
            format!("error: {}", String::from_utf8(bytes.into()).expect("JSON"))
        }
        Outcome::Panicked(panic) => format!("panicked: {}", panic.message()),
        Outcome::Lost => "lost".into(),
    }
}

fn leaf(value: i32) -> Tree {
    Tree { value, children: Vec::new(), twin: None }
}

#[test]
fn a_typed_client_calls_through_the_edges() {
    let client = client();
    assert_eq!(client.add(1.0, 2.0), Ok(3.0));
    assert_eq!(client.shout("grün").as_deref(), Ok("GRÜN"));
    assert_eq!(client.sum(&[1, 2, 255]), Ok(258));
    assert_eq!(client.nothing(), Ok(()));
    assert_eq!(client.map(BTreeMap::from([("a".into(), vec![1, 2])]), Some(7)), Ok((2, Some(7))));
    assert_eq!(client.nested(Err("no".into())), Ok(vec![Err("no".into()), Err("no".into())]));
}

#[test]
fn recursive_data_and_the_authors_errors_cross_the_boundary() {
    let grown = client().grow(leaf(1)).expect("grows");
    assert_eq!(grown, Tree { value: 2, children: vec![leaf(1)], twin: Some(Box::new(leaf(1))) });
    let error = client().grow(leaf(-1)).expect_err("negative");
    assert_eq!(
        error,
        CallError::Plugin(TreeError::Deep(Box::new(TreeError::Value { value: -1, r#type: 'x' }), ()))
    );
}

#[test]
fn a_panic_with_any_payload_is_contained() {
    let message = |payload| match client().boom(payload) {
        Err(CallError::Panicked { message, method, .. }) => {
            assert_eq!(method, "boom");
            message
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(message(TreeError::None), "plain");
    assert_eq!(message(TreeError::Text("formatted".into())), "formatted");
    assert_eq!(message(TreeError::Value { value: 1, r#type: 'c' }), "a panic whose payload is not text");
    assert_eq!(message(TreeError::Payload), "a panic whose payload is not text");
    assert_eq!(json("boom", r#"["None"]"#), "panicked: plain");
}

#[test]
fn json_arguments_are_accepted_by_name_by_position_or_bare() {
    assert_eq!(json("add", r#"{"b": 2, "a": 1}"#), "3.0");
    assert_eq!(json("add", "[1, 2.5]"), "3.5");
    assert_eq!(json("shout", "\"hi\""), "\"HI\"");
    assert_eq!(json("shout", r#"{"text":"hi"}"#), "\"HI\"");
    assert_eq!(json("sum", r#"{"bytes":[1,2]}"#), "3");
    assert_eq!(json("sum", r#"["ab"]"#), "195");
    for nothing in ["", "null", "{}", "[]", " "] {
        assert_eq!(json("nothing", nothing), "null");
    }
    assert_eq!(json("map", r#"{"object":{"a":[1]},"type":null}"#), "[1,null]");
    assert_eq!(
        json("grow", r#"[{"value":-1,"children":[],"twin":null}]"#),
        r#"error: {"Deep":[{"Value":{"value":-1,"type":"x"}},null]}"#
    );
}

#[test]
fn invalid_json_arguments_are_rejected_with_the_reason() {
    let cases = [
        ("add", r#"{"a":1}"#, "missing argument `b` (expected a, b)"),
        ("add", "", "missing argument `a` (expected a, b)"),
        ("add", r#"{"a":1,"b":2,"c":3}"#, "unexpected argument `c` (expected a, b)"),
        ("add", "[1,2,3]", "takes 2 arguments (a, b), 3 given"),
        ("add", "[1]", "takes 2 arguments (a, b), 1 given"),
        ("shout", "[]", "takes 1 argument (text), 0 given"),
        ("nothing", "[1]", "takes no arguments, 1 given"),
        ("nothing", r#"{"a":1}"#, "unexpected argument `a` (takes no arguments)"),
        ("add", r#"{"a":"x","b":2}"#, "argument `a`: invalid type: string \"x\", expected f64"),
        ("map", r#"[{},300]"#, "argument `type`: invalid value: integer `300`, expected u8"),
        ("add", "7", "the arguments must be a JSON object by name or an array by position (expected a, b)"),
        (
            "add",
            "\"x\"",
            "the arguments must be a JSON object by name or an array by position (expected a, b)",
        ),
        ("add", "{", "the arguments are not JSON: EOF while parsing an object at line 1 column 1"),
        ("add", "[1,2", "the arguments are not JSON: EOF while parsing a list at line 1 column 4"),
        ("add", "[1,2] 3", "the arguments are not JSON: trailing characters at line 1 column 7"),
        ("add", r#"{"a":1,"b":2} 3"#, "the arguments are not JSON: trailing characters at line 1 column 15"),
        ("add", "nul", "the arguments are not JSON: EOF while parsing a value at line 1 column 3"),
        ("add", r#"{"\u0061":1,"c":"\u0062","d":[[]]}"#, "missing argument `b` (expected a, b)"),
        (
            "nothing",
            "true",
            "the arguments must be a JSON object by name or an array by position (takes no arguments)",
        ),
    ];
    for (method, arguments, why) in cases {
        assert_eq!(json(method, arguments), format!("bad arguments: {why}"), "{method} {arguments}");
    }
    assert_eq!(json("unwritable", ""), "bad result: key must be a string");
}

#[test]
fn json_arguments_may_have_escapes_white_space_and_any_order() {
    for arguments in [
        "[1,2.5]",
        " [ 1 , 2.5 ] ",
        r#"{"a":1,"b":2.5}"#,
        "\n{ \"b\" : 2.5 , \"\\u0061\" : 1 }\t",
        r#"{"a":7,"b":2.5,"a":1}"#,
    ] {
        assert_eq!(json("add", arguments), "3.5", "{arguments}");
    }
    for arguments in [r#""ab""#, r#"["ab"]"#, r#"{"text":"ab"}"#, r#" "a\u0062" "#] {
        assert_eq!(json("shout", arguments), "\"AB\"", "{arguments}");
    }
    assert_eq!(json("nothing", " null\n"), "null");
}

#[test]
fn a_result_that_json_would_write_as_null_is_rejected() {
    let refused = "bad result: JSON cannot represent a part of the result (an infinite number or NaN";
    for (method, arguments) in [("add", "[1e308, 1e308]"), ("quotient", "[1, 0]"), ("quotient", "[0, 0]")] {
        let said = json(method, arguments);
        assert!(said.starts_with(refused), "{method} {arguments}: {said}");
    }
    assert_eq!(json("quotient", "[1, 3]"), "[null,0.33333334]");
    assert_eq!(client().add(1e308, 1e308), Ok(f64::INFINITY));
}

#[test]
fn an_unknown_method_number_is_rejected() {
    let bound = bound();
    // SAFETY: 1: `bound` has both the object and the export. 2: the instance is a `static`.
    let outcome = unsafe { (bound.export.invoke)(bound.object, 99, Encoding::Json, b"".as_slice().into()) };
    assert!(matches!(outcome, Outcome::Refused(Refusal::BadArguments(why)) if why.contains("number 99")));
}

#[test]
fn binary_arguments_are_a_tuple_without_trailing_bytes() {
    let arguments = postcard::to_stdvec(&(1.5, 2.0)).expect("encode");
    let Outcome::Returned(result) = invoke("add", Encoding::Binary, &arguments) else { panic!("refused") };
    assert_eq!(postcard::from_bytes::<f64>(&result), Ok(3.5));

    let bytes = postcard::to_stdvec(&(&[1_u8, 2, 3][..],)).expect("encode");
    let Outcome::Returned(result) = invoke("sum", Encoding::Binary, &bytes) else { panic!("refused") };
    assert_eq!(postcard::from_bytes::<u64>(&result), Ok(6));

    let refused = |arguments: &[u8]| match invoke("add", Encoding::Binary, arguments) {
        Outcome::Refused(Refusal::BadArguments(why)) => why.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[arguments.as_slice(), &[0]].concat()), "1 trailing bytes after arguments a, b");
    assert_eq!(refused(&arguments[..8]), "argument `b`: Hit the end of buffer, expected more data");

    let arguments = postcard::to_stdvec(&(leaf(-1),)).expect("encode");
    let Outcome::Refused(Refusal::Error(error)) = invoke("grow", Encoding::Binary, &arguments) else {
        panic!("not refused")
    };
    assert!(matches!(postcard::from_bytes(&error), Ok(TreeError::Deep(..))));
}

#[test]
fn an_interface_describes_itself() {
    let interface = describe::Interface::of(<dyn Everything as Interface>::EXPORT).expect("description");
    assert_eq!((interface.name.as_str(), interface.docs.as_str()), ("Everything", "A bit of everything."));
    let add = &interface.methods[0];
    assert_eq!((add.name.as_str(), add.docs.as_str()), ("add", "Adds up."));
    let signature = |name: &str| {
        let method = interface.methods.iter().find(|m| m.name == name).expect(name);
        let params: Vec<_> = method.params.iter().map(|p| format!("{}: {}", p.name, p.ty)).collect();
        let error = method.error.as_ref().map_or(String::new(), |error| format!(" / {error}"));
        format!("({}) -> {}{error}", params.join(", "), method.returns)
    };
    assert_eq!(signature("add"), "(a: f64, b: f64) -> f64");
    assert_eq!(signature("shout"), "(text: String) -> String");
    assert_eq!(signature("sum"), "(bytes: Vec<u8>) -> u64");
    assert_eq!(signature("grow"), "(tree: Tree) -> Tree / TreeError");
    assert_eq!(signature("map"), "(object: Map<String, Vec<u32>>, type: Option<u8>) -> (usize, Option<u8>)");
    assert_eq!(interface.types.keys().collect::<Vec<_>>(), ["Tree", "TreeError"]);
    assert_eq!(interface.fingerprint(), interface.clone().fingerprint());
}

#[test]
fn the_debug_form_of_a_call_error_is_its_message() {
    let error: CallError =
        CallError::NotRunning { plugin: "dev.test".into(), reason: "it was stopped".into() };
    assert_eq!(format!("{error:?}"), error.to_string());
    assert_eq!(format!("{:?}", error.widen::<TreeError>()), "dev.test is not running: it was stopped");
    assert_eq!(format!("{:?}", CallError::Plugin(TreeError::None)), "None");
    let mapped = CallError::Plugin(7).map(|code: u8| format!("code {code}"));
    assert_eq!(mapped.to_string(), "code 7");
}
