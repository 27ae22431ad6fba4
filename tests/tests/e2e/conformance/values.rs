//! Every kind of value that a method may take or return.

use super::running;
use replug::{CallError, Handle, manifest::Mode};
use replug_tests::{
    Everything,
    everything::{Shape, Tree},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

pub(super) fn every_kind_of_value_round_trips(mode: Mode) {
    let lab = running("every-type", mode);
    let all: Handle<dyn Everything> = lab.host().get(&lab.id()).unwrap();
    // A call by name with JSON also returns the arguments unchanged.
    let by_name = |method: &str, arguments: Value| {
        assert_eq!(lab.call(method, arguments.clone()), Ok(arguments), "{method}");
    };

    assert_eq!(all.nothing(), Ok(()));
    assert_eq!(lab.call("nothing", json!([])), Ok(json!(null)));

    let most = (u8::MAX, u16::MAX, (u32::MAX, u64::MAX, usize::MAX));
    assert_eq!(all.unsigned(most.0, most.1, most.2), Ok(most));
    by_name("unsigned", json!(most));
    let least = (i8::MIN, i16::MIN, (i32::MIN, i64::MIN, isize::MIN));
    assert_eq!(all.signed(least.0, least.1, least.2), Ok(least));
    by_name("signed", json!(least));

    for (single, double) in [(0.5, 0.1), (-0.0, f64::MAX), (-1.5, f64::EPSILON)] {
        assert_eq!(all.broken(single, double), Ok((single, double)));
        by_name("broken", json!([single, double]));
    }
    assert_eq!(all.broken(f32::MIN_POSITIVE, f64::INFINITY), Ok((f32::MIN_POSITIVE, f64::INFINITY)));
    assert!(matches!(all.broken(0.0, f64::NAN), Ok((_, double)) if double.is_nan()));

    let small = (true, '\u{1f980}', Duration::new(u64::MAX, 999_999_999));
    assert_eq!(all.small(small.0, small.1, small.2), Ok(small));
    by_name("small", json!(small));

    for (text, bytes) in [("", vec![]), ("grün", vec![0, 255]), ("\0", vec![9; 300])] {
        let both = (text.to_owned(), bytes.clone());
        assert_eq!(all.lent(text, &bytes), Ok(both.clone()));
        assert_eq!(all.own(both.0.clone(), bytes), Ok(both.clone()));
        by_name("lent", json!(both));
        by_name("own", json!(both));
    }

    for wrapped in [(None, Ok(7), ['a', 'b', 'c']), (Some(Box::new(1)), Err("no".to_owned()), ['ß'; 3])] {
        assert_eq!(all.wrapped(wrapped.0.clone(), wrapped.1.clone(), wrapped.2), Ok(wrapped.clone()));
        by_name("wrapped", json!(wrapped));
    }

    let sorted = BTreeMap::from([("a".to_owned(), vec![1, 2]), (String::new(), vec![])]);
    let hashed = HashMap::from([(u64::MAX, 0.5), (0, -1.0)]);
    assert_eq!(all.maps(sorted.clone(), hashed.clone()), Ok((sorted.clone(), hashed.clone())));
    by_name("maps", json!([sorted, hashed]));
    // In JSON, a set is a list in the order of iteration.
    let (sorted, hashed) = (BTreeSet::from(["a".to_owned(), "b".to_owned()]), HashSet::from([-3]));
    assert_eq!(all.sets(sorted.clone(), hashed.clone()), Ok((sorted.clone(), hashed.clone())));
    by_name("sets", json!([sorted, hashed]));
    let many: HashSet<i8> = (i8::MIN..=i8::MAX).collect();
    assert_eq!(all.sets(BTreeSet::new(), many.clone()), Ok((BTreeSet::new(), many)));

    let leaf = Tree { value: 1, children: vec![], twin: None };
    let tree = Tree { value: -1, children: vec![leaf.clone(), leaf.clone()], twin: Some(Box::new(leaf)) };
    assert_eq!(all.tree(tree.clone()), Ok(tree.clone()));
    assert_eq!(lab.call("tree", json!([tree])), Ok(json!(tree)));

    let named = Shape::Named { value: 3, r#type: 'x' };
    for shape in [Shape::Unit, Shape::One("one".into()), Shape::Several(2, tree), named] {
        assert_eq!(all.shape(shape.clone()), Ok(shape.clone()));
        assert_eq!(all.refuse(shape.clone()), Err(CallError::Plugin(shape.clone())));
        assert_eq!(lab.call("shape", json!([shape])), Ok(json!(shape)));
        assert_eq!(lab.call("refuse", json!([shape])), Err(CallError::Plugin(json!(shape))));
    }
}
