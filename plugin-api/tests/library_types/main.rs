//! Tests the types of the standard library and of other crates that a signature may have: typed through the edges, typed
//! through the remote edges, and by name with JSON.

#[path = "../both/mod.rs"]
mod both;
mod echo;

use echo::{Echo, File, Kind, by_name, clients, index, invoke, round_trips};
use replug_api::{
    CallError, Interface,
    abi::{Encoding, Outcome, Refusal},
    describe,
    serde_json::{self, Value, json},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    num::{NonZero, NonZeroI128, NonZeroU8, NonZeroU128},
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A path that is not UTF-8.
fn odd() -> PathBuf {
    OsString::from_vec(vec![b'/', 0xff, b'a']).into()
}

#[test]
fn every_path_survives_typed_and_by_name() {
    let list = vec![odd(), "/tmp/ü".into(), PathBuf::new()];
    let map = HashMap::from([("a".to_owned(), Some(odd())), ("b".to_owned(), None)]);
    for client in clients() {
        assert_eq!(client.paths(odd(), list.clone(), map.clone()), Ok((odd(), list.clone(), map.clone())));
    }
    round_trips("paths", json!(["/tmp/ü", ["a", [47, 255, 97]], { "a": null, "b": [255] }]));
    assert_eq!(by_name("path", "\"/x\""), Ok(json!("/x")), "a single text needs no array");
    assert_eq!(by_name("path", "[[47, 120]]"), Ok(json!("/x")));
    let expected = "expected a path, as a string or a list of bytes";
    assert_eq!(
        by_name("path", "[7]"),
        Err(format!("argument `path`: invalid type: integer `7`, {expected}"))
    );
    let error = by_name("path", "[[256]]").unwrap_err();
    assert_eq!(error, "argument `path`: invalid value: integer `256`, expected u8");
}

#[test]
fn integers_of_128_bits_lose_no_digit() {
    for (a, b) in [(u128::MAX, i128::MIN), (0, i128::MAX), (1 << 64, -1), (u64::MAX.into(), i64::MIN.into())]
    {
        let map = BTreeMap::from([(b, 1), (7, 2)]);
        for client in clients() {
            assert_eq!(client.wide(a, b, [a, 1], map.clone()), Ok((a, b, [a, 1], map.clone())));
        }
    }
    let (most, least) = (u128::MAX.to_string(), i128::MIN.to_string());
    round_trips("wide", json!([most, least, [0, u64::MAX], { (least.clone()): 1, "-7": 2 }]));
    round_trips("wide", json!([7, i64::MIN, [1, "18446744073709551616"], {}]));
    assert_eq!(by_name("wide", r#"["7", "-7", [1, 2], {}]"#), Ok(json!([7, -7, [1, 2], {}])));
    for (arguments, error) in [
        (
            r#"[340282366920938463463374607431768211456, 0, [0, 0], {}]"#,
            "argument `a`: invalid type: floating point `3.402823669209385e+38`, expected a whole number from 0 to \
             2^128 - 1, as a string if it does not fit 64 bits",
        ),
        (
            r#"["340282366920938463463374607431768211456", 0, [0, 0], {}]"#,
            "argument `a`: invalid value: string \"340282366920938463463374607431768211456\", expected a whole number \
             from 0 to 2^128 - 1, as a string if it does not fit 64 bits",
        ),
        (
            r#"[-1, 0, [0, 0], {}]"#,
            "argument `a`: invalid value: integer `-1`, expected a whole number from 0 to 2^128 - 1, as a string if it \
             does not fit 64 bits",
        ),
        (
            r#"[0, "1.5", [0, 0], {}]"#,
            "argument `b`: invalid value: string \"1.5\", expected a whole number from -2^127 to 2^127 - 1, as a string \
             if it does not fit 64 bits",
        ),
        ("[0, 0, [1], {}]", "argument `c`: invalid length 1, expected an array of length 2"),
    ] {
        assert_eq!(by_name("wide", arguments), Err(error.into()), "{arguments}");
    }
}

#[test]
fn times_before_and_after_1970_survive() {
    let epoch = SystemTime::UNIX_EPOCH;
    let times = [
        epoch,
        epoch + Duration::new(1_700_000_000, 999_999_999),
        epoch - Duration::new(0, 1),
        epoch - Duration::from_secs(1),
        epoch - Duration::new(9_000_000_000, 5),
        epoch + Duration::from_secs(i64::MAX as u64),
    ];
    for at in times {
        for client in clients() {
            assert_eq!(client.time(at, Err(Box::new(at))), Ok((at, Err(Box::new(at)))));
        }
    }
    let at = |secs: i64, nanos: u32| json!({ "secs_since_epoch": secs, "nanos_since_epoch": nanos });
    for (secs, nanos) in [(0, 0), (-1, 500_000_000), (i64::MIN, 0), (i64::MAX, 999_999_999)] {
        round_trips("time", json!([at(secs, nanos), { "Err": at(secs, nanos) }]));
    }
    assert_eq!(
        by_name("time", &json!([at(0, 1_000_000_000), { "Ok": 1 }]).to_string()),
        Err("argument `at`: `nanos_since_epoch` is 1000000000, but must be less than 1000000000".into())
    );
    let error = by_name("time", r#"["yesterday", {"Ok": 1}]"#).unwrap_err();
    assert_eq!(
        error,
        "argument `at`: invalid type: string \"yesterday\", expected a time with the fields `secs_since_epoch` and `nanos_since_epoch`"
    );
}

#[test]
fn json_values_survive_in_the_binary_encoding() {
    let mut deep = json!(0.1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    let all =
        json!([null, true, u64::MAX, i64::MIN, -0.5, f64::MAX, "ü", [], { "a": { "b": [1] }, "": null }]);
    for value in [all.clone(), deep, Value::Null] {
        for client in clients() {
            let list: Box<[Value]> = [value.clone(), json!({})].into();
            assert_eq!(client.json(value.clone(), list.clone()), Ok((value.clone(), list)));
        }
    }
    round_trips("json", json!([all, [all, 1]]));
    assert_eq!(by_name("json", "[null, [null]]"), Ok(json!([null, [null]])));
}

#[test]
fn a_zero_from_outside_is_rejected_with_the_parameter() {
    let (a, b) = (NonZeroU8::MAX, NonZero::<i64>::MIN);
    for (c, d) in [(NonZeroU128::MAX, None), (NonZeroU128::MIN, Some(NonZeroI128::MIN))] {
        for client in clients() {
            assert_eq!(client.non_zero(a, b, c, d), Ok((a, b, c, d)));
        }
    }
    round_trips("non_zero", json!([255, -1, u128::MAX.to_string(), 5]));
    for (arguments, error) in [
        ("[0, 1, 1, 1]", "argument `a`: invalid value: integer `0`, expected a nonzero u8"),
        ("[1, 0, 1, 1]", "argument `b`: invalid value: integer `0`, expected a nonzero i64"),
        ("[1, 1, 0, 1]", "argument `c`: invalid value: integer `0`, expected a nonzero u128"),
        ("[1, 1, 1, \"0\"]", "argument `d`: invalid value: integer `0`, expected a nonzero i128"),
    ] {
        assert_eq!(by_name("non_zero", arguments), Err(error.into()), "{arguments}");
    }
    match invoke(index("non_zero"), Encoding::Binary, &[1, 0, 1, 0]) {
        Outcome::Refused(Refusal::BadArguments(why)) => {
            assert_eq!(why, "argument `b`: the type does not have this value");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn addresses_survive_and_bad_texts_are_rejected() {
    let (v4, v6) = (Ipv4Addr::new(127, 0, 0, 1), "fe80::1".parse::<Ipv6Addr>().expect("an address"));
    let scoped = SocketAddrV6::new(v6, 80, 7, 5);
    let sockets = BTreeSet::from([SocketAddr::from(scoped), SocketAddr::from((v4, 1))]);
    for client in clients() {
        for ip in [v4.into(), v6.into()] {
            let socket = SocketAddrV4::new(v4, 8080);
            let sent = (ip, (v4, v6), socket, sockets.clone());
            assert_eq!(client.addresses(ip, (v4, v6), socket, sockets.clone()), Ok(sent));
        }
        assert_eq!(client.socket(scoped), Ok(scoped));
        let portless = SocketAddrV6::new(v6, 0, 1, 2);
        assert_eq!(client.socket(portless), Err(CallError::Plugin(portless.into())));
    }
    round_trips(
        "addresses",
        json!(["::1", ["1.2.3.4", "::"], "1.2.3.4:5", ["1.2.3.4:80", "[fe80::1%5]:80"]]),
    );
    for (arguments, error) in [
        (r#"["1.2.3", ["1.2.3.4", "::"], "1.2.3.4:5", []]"#, "argument `ip`: invalid IP address syntax"),
        (
            r#"["::", ["1.2.3.4", "1.2.3.4"], "1.2.3.4:5", []]"#,
            "argument `both`: invalid IPv6 address syntax",
        ),
        (r#"["::", ["1.2.3.4", "::"], "1.2.3.4", []]"#, "argument `v4`: invalid IPv4 socket address syntax"),
        (
            r#"["::", ["1.2.3.4", "::"], "1.2.3.4:5", ["here:80"]]"#,
            "argument `set`: invalid socket address syntax",
        ),
    ] {
        assert_eq!(by_name("addresses", arguments), Err(error.into()), "{arguments}");
    }
}

#[test]
fn texts_and_lists_in_boxes_survive() {
    for client in clients() {
        let (a, b, c): (Arc<str>, Box<str>, Box<[u16]>) = ("ü".into(), "".into(), [1, 2].into());
        assert_eq!(client.texts(a.clone(), b.clone(), c.clone()), Ok((a, b, c)));
    }
    round_trips("texts", json!(["a", "b", [1, 65535]]));
    assert_eq!(by_name("text", "\"alone\""), Ok(json!("alone")));
}

#[test]
fn fields_of_own_types_are_encoded_like_arguments() {
    let next = File {
        path: odd(),
        size: u128::MAX,
        changed: Some(SystemTime::UNIX_EPOCH - Duration::new(1, 2)),
        tags: BTreeMap::from([("a".to_owned(), json!({ "b": [null, 1.5] }))]),
        next: None,
    };
    let file = File { path: "/a".into(), size: 1, changed: None, next: Some(Box::new(next.clone())), ..next };
    let peer = Kind::Peer {
        at: SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 2, 3).into(),
        since: SystemTime::UNIX_EPOCH - Duration::from_nanos(1),
    };
    for client in clients() {
        assert_eq!(client.file(file.clone()), Ok(file.clone()));
        for kind in [Kind::Link(odd()), peer.clone(), Kind::Rest(vec![json!([1]), Value::Null], 7)] {
            assert_eq!(client.kind(kind.clone()), Err(CallError::Plugin(kind)));
        }
    }
    let fields = json!({ "path": [255], "size": u128::MAX.to_string(), "changed": null, "tags": { "a": null }, "next": null });
    assert_eq!(by_name("file", &json!([fields]).to_string()), Ok(fields));
    let without = json!([{ "path": "a", "size": 1, "tags": {} }]).to_string();
    let expected = json!({ "path": "a", "size": 1, "changed": null, "tags": {}, "next": null });
    assert_eq!(by_name("file", &without), Ok(expected), "an absent option is `None`");
    let error = by_name("file", r#"[{"path": "a", "size": -1, "tags": {}}]"#).unwrap_err();
    assert!(error.starts_with("argument `file`: invalid value: integer `-1`, expected a whole"), "{error}");
}

#[test]
fn json_that_would_lose_a_part_of_an_address_is_an_error() {
    let peer = r#"[{"Peer": {"at": "[::1]:80", "since": {"secs_since_epoch": 0, "nanos_since_epoch": 0}}}]"#;
    assert!(by_name("kind", peer).unwrap_err().contains("[::1]:80"));
    let flow = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 7, 0);
    let error = serde_json::to_string(&Kind::Peer { at: flow.into(), since: SystemTime::UNIX_EPOCH });
    let expected = "the text `[::1]:80` would lose the flow information 7 of the address";
    assert_eq!(error.unwrap_err().to_string(), expected);
}

#[test]
fn the_types_are_described_by_their_names() {
    let described = describe::Interface::of(<dyn Echo as Interface>::EXPORT).expect("described");
    let of = |method: &str| described.methods[index(method) as usize].returns.to_string();
    assert_eq!(of("paths"), "(PathBuf, Vec<PathBuf>, Map<String, Option<PathBuf>>)");
    assert_eq!(of("wide"), "(u128, i128, [u128; 2], Map<i128, u8>)");
    assert_eq!(of("time"), "(SystemTime, Result<u8, SystemTime>)");
    assert_eq!(of("json"), "(serde_json::Value, Vec<serde_json::Value>)");
    assert_eq!(of("non_zero"), "(NonZeroU8, NonZeroI64, NonZeroU128, Option<NonZeroI128>)");
    assert_eq!(of("addresses"), "(IpAddr, (Ipv4Addr, Ipv6Addr), SocketAddrV4, Vec<SocketAddr>)");
    assert_eq!(of("texts"), "(String, String, Vec<u16>)");
}

/// A field of a tuple struct, of a transparent struct, and of a struct that a macro makes.
#[replug_api::data]
#[derive(Debug, PartialEq)]
struct Entry(Option<SystemTime>, Option<PathBuf>);

#[replug_api::data]
#[serde(transparent)]
struct Transparent {
    path: Option<PathBuf>,
}

macro_rules! struct_with {
    ($name:ident, $ty:ty) => {
        #[replug_api::data]
        struct $name {
            field: $ty,
        }
    };
}

struct_with!(ByMacro, Option<PathBuf>);

#[test]
fn only_a_named_field_may_be_missing_in_json() {
    let path = Some(PathBuf::from("/a"));
    assert_eq!(serde_json::from_str::<Entry>(r#"[null, "/a"]"#).unwrap(), Entry(None, path.clone()));
    assert!(serde_json::from_str::<Entry>("[null]").is_err());
    assert_eq!(serde_json::from_str::<Transparent>(r#""/a""#).unwrap().path, path);
    assert_eq!(serde_json::from_str::<Transparent>("null").unwrap().path, None);
    assert_eq!(serde_json::from_str::<ByMacro>(r#"{ "field": "/a" }"#).unwrap().field, path);
    assert_eq!(serde_json::from_str::<ByMacro>("{}").unwrap().field, None);
}
