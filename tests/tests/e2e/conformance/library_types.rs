//! Values of types of the standard library and of serde_json.

use super::running;
use replug::{CallError, Handle, manifest::Mode};
use replug_tests::{
    Everything,
    everything::{File, Loose},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    num::{NonZeroI128, NonZeroU8},
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(super) fn values_of_library_types_round_trip(mode: Mode) {
    let lab = running("library-types", mode);
    let all: Handle<dyn Everything> = lab.host().get(&lab.id()).unwrap();
    let by_name = |method: &str, arguments: Value| {
        assert_eq!(lab.call(method, arguments.clone()), Ok(arguments), "{method}");
    };

    let (c, d) = (NonZeroU8::MAX, Some(NonZeroI128::MIN));
    let map = BTreeMap::from([(i128::MIN, 1), (-1, 2)]);
    assert_eq!(all.wide(u128::MAX, map.clone(), c, d), Ok((u128::MAX, map, c, d)));
    let (most, least) = (u128::MAX.to_string(), i128::MIN.to_string());
    by_name("wide", json!([most, { (least.clone()): 1, "-1": 2 }, 255, least]));
    by_name("wide", json!([u64::MAX, {}, 1, null]));

    let odd = PathBuf::from(OsString::from_vec(vec![b'/', 0xff]));
    let list = vec![odd.clone(), "ü".into()];
    for time in [SystemTime::now(), SystemTime::UNIX_EPOCH - Duration::new(1, 1)] {
        let sent = (odd.clone(), list.clone(), time);
        assert_eq!(all.files(odd.clone(), list.clone(), time), Ok(sent));
    }
    type Files = (PathBuf, Vec<PathBuf>, SystemTime);
    let resolved = lab.handle().method("files").unwrap().typed::<Files, Files>().unwrap();
    let sent = (odd.clone(), list, SystemTime::UNIX_EPOCH - Duration::from_nanos(1));
    assert_eq!(resolved.call(&sent), Ok(sent));
    let time = json!({ "secs_since_epoch": -2, "nanos_since_epoch": 999_999_999 });
    by_name("files", json!(["ü", [[47, 255], ""], time]));

    let v4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);
    let v6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 7, 5);
    let any = BTreeSet::from([SocketAddr::from(v4), v6.into()]);
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        assert_eq!(all.addresses(ip, v4, v6, any.clone()), Ok((ip, v4, v6, any.clone())));
    }
    by_name("addresses", json!(["::1", "1.2.3.4:5", "[::1%5]:80", ["1.2.3.4:5", "[::1]:80"]]));

    let value = json!([null, true, u64::MAX, i64::MIN, 0.1, "ü", { "a": [{}] }]);
    let (text, list): (Arc<str>, Box<[u16]>) = ("ü".into(), [1, 2].into());
    let sent = (text.clone(), list.clone(), value.clone());
    assert_eq!(all.boxed(text, list, value.clone()), Ok(sent));
    by_name("boxed", json!(["ü", [1, 2], value]));

    let tags = BTreeMap::from([("a".to_owned(), value)]);
    let file = File { path: odd, size: u128::MAX, changed: Some(SystemTime::UNIX_EPOCH), tags };
    assert_eq!(all.file(file.clone()), Ok(file.clone()));
    let empty = File { size: 0, ..file };
    assert_eq!(all.file(empty.clone()), Err(CallError::Plugin(empty)));
    let file = json!({ "path": [255], "size": most, "changed": null, "tags": { "a": null } });
    assert_eq!(lab.call("file", json!([file])), Ok(file));
}

pub(super) fn values_that_only_serde_can_encode_round_trip(mode: Mode) {
    let lab = running("by-serde", mode);
    let all: Handle<dyn Everything> = lab.host().get(&lab.id()).unwrap();
    let rest = BTreeMap::from([("a".to_owned(), json!([null, 0.1, { "b": "ü" }]))]);
    let named = Loose { name: Some("x".into()), path: "/tmp".into(), rest };
    assert_eq!(all.loose(vec![named.clone(), named.clone()]), Ok(vec![named.clone(), named.clone()]));
    let resolved = lab.handle().method("loose").unwrap();
    let resolved = resolved.typed_fallible::<(Vec<Loose>,), Vec<Loose>, Loose>().unwrap();
    assert_eq!(resolved.call(&(vec![named.clone()],)), Ok(vec![named.clone()]));
    let nameless = Loose { name: None, ..named.clone() };
    assert_eq!(all.loose(vec![nameless.clone()]), Err(CallError::Plugin(nameless)));
    let value = json!({ "name": "x", "path": "", "more": [1] });
    assert_eq!(lab.call("loose", json!([[value]])), Ok(json!([value])));
    let error = lab.call("loose", json!([[{ "path": "", "more": 1 }]])).unwrap_err();
    assert_eq!(error, CallError::Plugin(json!({ "path": "", "more": 1 })));

    let odd = OsString::from_vec(vec![0xff]).into();
    let error = all.loose(vec![Loose { path: odd, ..named }]).unwrap_err();
    let (plugin, method) = (lab.id().to_string(), "loose".to_owned());
    let message = "argument `loose` cannot be encoded: path contains invalid UTF-8 characters".to_owned();
    assert_eq!(error, CallError::BadArguments { plugin, method, message });
}

pub(super) fn bad_values_of_library_types_are_rejected(mode: Mode) {
    let lab = running("library-types-bad", mode);
    let refused = |method: &str, arguments: Value| match lab.call(method, arguments).unwrap_err() {
        CallError::BadArguments { message, .. } => message,
        other => panic!("{other}"),
    };
    let zero = refused("wide", json!([1, {}, 0, 1]));
    assert_eq!(zero, "argument `c`: invalid value: integer `0`, expected a nonzero u8");
    let large = refused("wide", json!([1e39, {}, 1, 1]));
    assert!(
        large.starts_with("argument `a`: invalid type: floating point `1e+39`, expected a whole number"),
        "{large}"
    );
    let nanos = json!({ "secs_since_epoch": 0, "nanos_since_epoch": 1_000_000_000 });
    assert_eq!(
        refused("files", json!(["", [], nanos])),
        "argument `time`: `nanos_since_epoch` is 1000000000, but must be less than 1000000000"
    );
    let address = refused("addresses", json!(["1.2.3", "1.2.3.4:5", "[::1]:80", []]));
    assert_eq!(address, "argument `ip`: invalid IP address syntax");
}
