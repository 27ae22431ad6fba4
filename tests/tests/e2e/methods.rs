//! Resolved methods after a reload. The next generation has the method at another position, with other types, or not at
//! all.

use replug::{CallError, TypedMethod, manifest::Mode};
use replug_tests::{Lab, Source};
use serde_json::json;

const ADD: &str = "    /// `a + b`\n    fn add(&self, a: u64, b: u64) -> u64;\n";
const VERSION: &str = "    /// The version in the source.\n    fn version(&self) -> u64;\n";

fn running(name: &str, mode: Mode) -> Lab {
    let mut lab = Lab::in_mode(name, mode);
    lab.write_source(&Source::new(1));
    lab.start();
    lab
}

/// Reloads the plugin from this source.
fn reloaded(lab: &mut Lab, source: &Source) {
    lab.write_source(source);
    lab.reload().unwrap();
}

/// The template with the methods of its interface in the opposite order.
fn swapped(version: u64) -> Source {
    Source::new(version).with_interface(&format!("{VERSION}\n{ADD}"), &format!("{ADD}\n{VERSION}"))
}

fn a_resolved_method_is_found_after_it_moves(mode: Mode) {
    let mut lab = running("moved", mode);
    let (add, version) = (lab.handle().method("add").unwrap(), lab.handle().method("version").unwrap());
    let typed_add = add.typed::<(u64, u64), u64>().unwrap();
    let typed_version = version.typed::<(), u64>().unwrap();
    let calls_give = |number: u64| {
        // Each call is made twice: the first call searches for the method, and the second call uses the position that
        // the first call has found.
        for _ in 0..2 {
            assert_eq!(add.call_json(&json!({ "a": 2, "b": 3 })).unwrap(), json!(5));
            assert_eq!(typed_add.call(&(2, 3)).unwrap(), 5);
            assert_eq!(version.call_json(&json!([])).unwrap(), json!(number));
            assert_eq!(typed_version.call(&()).unwrap(), number);
        }
    };
    calls_give(1);
    reloaded(&mut lab, &swapped(2));
    calls_give(2);
    reloaded(&mut lab, &Source::new(3));
    calls_give(3);
}

#[test]
fn a_resolved_method_is_found_after_it_moves_in_process() {
    a_resolved_method_is_found_after_it_moves(Mode::InProcess);
}

#[test]
fn a_resolved_method_is_found_after_it_moves_in_a_child_process() {
    a_resolved_method_is_found_after_it_moves(Mode::Process);
}

#[test]
fn a_method_with_changed_types_is_rejected_until_the_types_match_again() {
    let mut lab = running("retyped", Mode::InProcess);
    let add = lab.handle().method("add").unwrap();
    let typed = add.typed::<(u64, u64), u64>().unwrap();
    let refused = |method: &TypedMethod<(u64, u64), u64>| method.call(&(2, 3)).unwrap_err();
    assert_eq!(typed.call(&(2, 3)).unwrap(), 5);

    let signed = Source::new(2)
        .with_interface("a: u64, b: u64) -> u64", "a: i64, b: i64) -> i64")
        .edited("a: u64, b: u64) -> u64", "a: i64, b: i64) -> i64");
    reloaded(&mut lab, &signed);
    for _ in 0..2 {
        let error = refused(&typed);
        let expected = "`add`: parameter `a` is u64 in the host and i64 in the plugin";
        assert!(matches!(&error, CallError::BadArguments { message, .. } if message == expected), "{error}");
    }
    assert_eq!(add.call_json(&json!([2, -3])).unwrap(), json!(-1));
    assert_eq!(add.typed::<(i64, i64), i64>().unwrap().call(&(2, -3)).unwrap(), -1);

    let rounded = Source::new(3)
        .with_interface("b: u64) -> u64", "b: u64) -> f64")
        .edited("b: u64) -> u64 {\n        a + b", "b: u64) -> f64 {\n        (a + b) as f64");
    reloaded(&mut lab, &rounded);
    let error = refused(&typed);
    let expected = "`add`: the result is u64 in the host and f64 in the plugin";
    assert!(matches!(&error, CallError::BadResult { message, .. } if message == expected), "{error}");

    reloaded(&mut lab, &Source::new(4));
    assert_eq!(typed.call(&(2, 3)).unwrap(), 5);
}

#[test]
fn a_method_that_was_removed_is_unknown_until_it_returns() {
    let mut lab = running("removed-method", Mode::InProcess);
    let add = lab.handle().method("add").unwrap();
    let typed = add.typed::<(u64, u64), u64>().unwrap();
    assert_eq!((add.call_json(&json!([1, 2])).unwrap(), typed.call(&(1, 2)).unwrap()), (json!(3), 3));
    let renamed = Source::new(2).with_interface("fn add(", "fn sum(").edited("fn add(&self", "fn sum(&self");
    reloaded(&mut lab, &renamed);
    let by_name = lab.call("add", json!([1, 2])).unwrap_err().to_string();
    assert!(by_name.starts_with("no method `add`"), "{by_name}");
    assert_eq!(add.call_json(&json!([1, 2])).unwrap_err().to_string(), by_name);
    assert_eq!(typed.call(&(1, 2)).unwrap_err().to_string(), by_name);
    reloaded(&mut lab, &swapped(3));
    assert_eq!((add.call_json(&json!([1, 2])).unwrap(), typed.call(&(1, 2)).unwrap()), (json!(3), 3));
}
