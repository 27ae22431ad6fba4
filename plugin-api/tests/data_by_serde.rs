//! Tests `#[data(serde)]`: types with content that is not `Data`.

#[path = "both/mod.rs"]
mod both;

use both::{Both, by_name};
use replug_api::{
    CallError, Data, Interface,
    abi::BoundInterface,
    describe::{self, Shape},
    edge::encoded,
    serde_json::{Value, json},
};
use std::{collections::BTreeMap, ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

/// Types as another crate defines them: with serde's traits, and without `Data`.
mod foreign {
    #[replug_api::state]
    #[derive(Clone, Debug, PartialEq)]
    pub(super) struct Version<T> {
        pub(super) parts: Vec<T>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(super) label: Option<String>,
    }

    #[replug_api::state]
    #[derive(Clone, Debug, PartialEq)]
    #[serde(untagged)]
    pub(super) enum Loose {
        Number(i64),
        Text(String),
        Nothing(()),
    }
}

use foreign::{Loose, Version};

/// A wrapper around a type of another crate.
#[replug_api::data(serde)]
#[derive(Clone, Debug, PartialEq)]
struct Release(Version<u8>);

/// A type of a crate that does not know replug.
#[replug_api::data(serde)]
#[derive(Clone, Debug, PartialEq)]
struct Semantic(semver::Version);

/// A type with the name of a type of the standard library.
#[replug_api::data(serde)]
#[derive(Clone, Debug, PartialEq)]
struct Duration(Version<u8>);

/// Fields that need an encoding with names.
#[replug_api::data(serde)]
#[derive(Clone, Debug, PartialEq)]
struct Order {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Release>,
    parts: Vec<Order>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[replug_api::data(serde)]
#[derive(Clone, Debug, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Problem {
    Missing { what: Loose },
    Path { path: PathBuf },
}

/// An ordinary type.
#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
struct Plain(u8);

#[replug_api::interface]
trait Orders {
    fn plain(&self, plain: Plain) -> Plain;
    fn echo(&self, order: Order, text: &str, bytes: &[u8]) -> (Order, String, Vec<u8>);
    fn all(&self, list: Vec<Option<Release>>) -> BTreeMap<u8, Release>;
    fn fail(&self, problem: Problem) -> Result<u8, Problem>;
    fn boom(&self, release: Release);
    fn path(&self) -> Box<Problem>;
    fn next(&self, version: Semantic) -> Semantic;
    fn pause(&self, pause: Duration) -> u8;
    fn rest(&self) -> Duration;
}

struct All;

impl Orders for All {
    fn plain(&self, plain: Plain) -> Plain {
        plain
    }
    fn echo(&self, order: Order, text: &str, bytes: &[u8]) -> (Order, String, Vec<u8>) {
        (order, text.into(), bytes.into())
    }
    fn all(&self, list: Vec<Option<Release>>) -> BTreeMap<u8, Release> {
        (0..).zip(list.into_iter().flatten()).collect()
    }
    fn fail(&self, problem: Problem) -> Result<u8, Problem> {
        match problem {
            Problem::Missing { what: Loose::Number(number) } => Ok(number as u8),
            other => Err(other),
        }
    }
    fn boom(&self, release: Release) {
        panic!("{:?}", release.0.label);
    }
    fn path(&self) -> Box<Problem> {
        Box::new(odd())
    }
    fn next(&self, version: Semantic) -> Semantic {
        let Semantic(mut version) = version;
        version.major += 1;
        Semantic(version)
    }
    fn pause(&self, pause: Duration) -> u8 {
        pause.0.parts[0]
    }
    fn rest(&self) -> Duration {
        Duration(Version { parts: vec![1], label: None })
    }
}

fn bound() -> BoundInterface {
    <dyn Orders as Interface>::bind(&All)
}

fn clients() -> [OrdersClient<Both>; 2] {
    // SAFETY: 1: `bound` binds a `static`.
    unsafe { both::clients::<dyn Orders>(bound) }
}

fn release() -> Release {
    Release(Version { parts: vec![1, 255], label: None })
}

fn order() -> Order {
    let leaf = Order { id: u64::MAX, since: None, parts: vec![], rest: BTreeMap::new() };
    let rest = BTreeMap::from([("a".to_owned(), json!([null, 0.1, { "b": "ü" }]))]);
    Order { id: 1, since: Some(release()), parts: vec![leaf.clone(), leaf], rest }
}

/// A value that serde cannot encode.
fn odd() -> Problem {
    Problem::Path { path: OsString::from_vec(vec![0xff]).into() }
}

#[test]
fn values_that_only_serde_can_encode_survive() {
    for client in clients() {
        assert_eq!(client.plain(Plain(7)), Ok(Plain(7)));
        assert_eq!(client.echo(order(), "x", &[0, 255]), Ok((order(), "x".into(), vec![0, 255])));
        let labelled = Release(Version { parts: vec![], label: Some("x".into()) });
        let all = BTreeMap::from([(0, release()), (1, labelled.clone())]);
        assert_eq!(client.all(vec![None, Some(release()), Some(labelled)]), Ok(all));
        assert_eq!(client.fail(Problem::Missing { what: Loose::Number(7) }), Ok(7));
        let problem = Problem::Missing { what: Loose::Text("x".into()) };
        assert_eq!(client.fail(problem.clone()), Err(CallError::Plugin(problem)));
    }
}

/// Types that are named like parts of usual generated code.
mod names {
    #[replug_api::data(serde)]
    #[derive(Debug, PartialEq)]
    pub(super) struct Given(pub(super) Taken);

    #[replug_api::data(serde)]
    #[derive(Debug, PartialEq)]
    pub(super) struct Taken(pub(super) S);

    #[replug_api::data(serde)]
    #[derive(Debug, PartialEq)]
    pub(super) struct S(pub(super) D);

    #[replug_api::data(serde)]
    #[derive(Debug, PartialEq)]
    pub(super) struct D(pub(super) u8);
}

#[test]
fn the_names_of_types_are_free() {
    use names::{D, Given, S, Taken};

    let value = || Given(Taken(S(D(7))));
    assert_eq!(Given::from_ffi(value().into_ffi()), value());
}

#[test]
fn the_mark_and_not_the_name_says_how_a_type_is_passed() {
    for method in bound().export.methods {
        let is_encoded = method.layout == encoded::ENCODED_LAYOUT;
        assert_eq!(is_encoded, method.name != "plain", "{}", method.name);
    }
    for client in clients() {
        assert_eq!(client.pause(Duration(Version { parts: vec![7], label: None })), Ok(7));
        assert_eq!(client.rest(), Ok(Duration(Version { parts: vec![1], label: None })));
    }
}

#[test]
fn a_type_of_another_crate_survives() {
    let version = |text: &str| Semantic(text.parse().expect("a version"));
    for client in clients() {
        assert_eq!(client.next(version("1.2.3-a")), Ok(version("2.2.3-a")));
    }
    assert_eq!(by_name(bound, "next", r#"["1.0.0"]"#), Ok(json!("2.0.0")));
    let error = by_name(bound, "next", r#"["one"]"#).unwrap_err();
    assert_eq!(error, "argument `version`: unexpected character 'o' while parsing major version number");
}

#[test]
fn json_has_the_form_of_serde() {
    let order =
        json!({ "id": 1, "since": { "parts": [1] }, "parts": [{ "id": 2, "parts": [] }], "more": [null] });
    assert_eq!(by_name(bound, "echo", &json!([order, "x", [1]]).to_string()), Ok(json!([order, "x", [1]])));
    let error = by_name(bound, "fail", r#"[{"kind": "missing", "what": null}]"#).unwrap_err();
    assert_eq!(error, r#"{"kind":"missing","what":null}"#);
    let error = by_name(bound, "echo", r#"[{"parts": []}, "x", []]"#).unwrap_err();
    assert_eq!(error, "argument `order`: missing field `id`");
}

#[test]
fn a_value_that_serde_cannot_encode_is_an_error() {
    let why = "path contains invalid UTF-8 characters";
    for client in clients() {
        match client.fail(odd()).unwrap_err() {
            CallError::BadArguments { method, message, .. } => {
                assert_eq!(
                    (method.as_str(), message),
                    ("fail", format!("argument `problem` cannot be encoded: {why}"))
                );
            }
            other => panic!("{other:?}"),
        }
        match client.path().unwrap_err() {
            CallError::BadResult { method, message, .. } => {
                assert_eq!((method.as_str(), message.as_str()), ("path", why));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(by_name(bound, "path", "[]"), Err(why.into()));
}

#[test]
fn a_panic_in_a_call_with_encoded_arguments_is_returned() {
    let [client, _] = clients();
    assert_eq!(client.boom(release()), Err(CallError::Unknown("None".into())));
}

/// The same interface with a type that reads other content.
mod newer {
    #[replug_api::data(serde)]
    #[derive(Debug, PartialEq)]
    pub(super) struct Release {
        pub(super) name: String,
    }

    #[replug_api::interface]
    pub(super) trait Orders {
        fn release(&self, release: Release) -> Release;
        fn newest(&self) -> Result<Option<Release>, Release>;
    }
}

mod older {
    #[replug_api::data(serde)]
    pub(super) struct Release {
        pub(super) id: u8,
    }

    #[replug_api::interface]
    pub(super) trait Orders {
        fn release(&self, release: Release) -> Release;
        fn newest(&self) -> Result<Option<Release>, Release>;
    }
}

impl older::Orders for All {
    fn release(&self, release: older::Release) -> older::Release {
        older::Release { id: release.id + 1 }
    }
    fn newest(&self) -> Result<Option<older::Release>, older::Release> {
        Ok(Some(older::Release { id: 1 }))
    }
}

#[test]
fn content_that_does_not_fit_is_an_error_of_the_call() {
    let described = |export| describe::Interface::of(export).expect("described");
    let (new, old) = (<dyn newer::Orders as Interface>::EXPORT, <dyn older::Orders as Interface>::EXPORT);
    assert_eq!(describe::difference(&described(new), &described(old)), None, "only the names are compared");
    let make = || <dyn older::Orders as Interface>::bind(&All);
    assert_eq!(by_name(make, "release", r#"[{"id": 1}]"#), Ok(json!({ "id": 2 })));
    // SAFETY: 1: `make` binds a `static`. The edges of both interfaces take encoded arguments.
    let [client, _] = unsafe { both::clients::<dyn newer::Orders>(make) };
    match client.release(newer::Release { name: "x".into() }).unwrap_err() {
        CallError::BadArguments { message, .. } => {
            assert_eq!(message, "argument `release`: missing field `id`");
        }
        other => panic!("{other:?}"),
    }
    match client.newest().unwrap_err() {
        CallError::BadResult { message, .. } => {
            assert!(
                message.starts_with("the host cannot read the answer (missing field `name`)"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_type_is_described_by_its_name() {
    let described = describe::Interface::of(bound().export).expect("described");
    assert_eq!(described.methods[2].params[0].ty.to_string(), "Vec<Option<Release>>");
    assert_eq!(described.types["Release"].shape, Shape::Encoded);
    assert_eq!(described.types["Release"].docs, "A wrapper around a type of another crate.");
    assert!(matches!(described.types["Plain"].shape, Shape::Tuple(_)));
}

#[test]
fn a_value_converts_to_its_ffi_form_and_back() {
    assert_eq!(Order::from_ffi(order().into_ffi()), order());
}
