//! Tests what the documentation of `Snapshot` says about the forms of saved states.

use replug_api::{
    SavedState,
    serde::{Serialize, de::DeserializeOwned},
    serde_json::Value,
};
use std::net::SocketAddrV6;

/// The same type with each mark.
macro_rules! types {
    ($($module:ident: $mark:meta;)*) => { $(
        mod $module {
            use super::{SocketAddrV6, Value};

            #[$mark]
            #[derive(Clone, Debug, PartialEq)]
            pub(super) struct Number {
                pub(super) number: u8,
            }

            #[$mark]
            #[derive(Clone, Debug, PartialEq)]
            pub(super) struct Address {
                pub(super) address: SocketAddrV6,
            }

            #[$mark]
            #[derive(Clone, Debug, PartialEq)]
            pub(super) struct Json {
                pub(super) json: Value,
            }

            #[$mark]
            #[derive(Clone, Debug, PartialEq)]
            pub(super) struct Nested {
                pub(super) option: Option<Option<u8>>,
                pub(super) unit: Option<()>,
                pub(super) json: Option<Value>,
            }
        }
    )* };
}

types! {
    state: replug_api::state;
    data: replug_api::data;
    by_serde: replug_api::data(serde);
}

fn restored<T: DeserializeOwned>(state: &impl Serialize) -> Option<T> {
    SavedState::encode(state).expect("encoded").decode().ok()
}

fn address() -> SocketAddrV6 {
    "[fe80::1%3]:80".parse().expect("an address")
}

#[test]
fn a_changed_mark_changes_the_form() {
    let (state, data) = (state::Number { number: 1 }, data::Number { number: 1 });
    let by_serde = by_serde::Number { number: 1 };
    assert_eq!(restored(&state), Some(data.clone()));
    assert_eq!(restored(&data), Some(state.clone()));
    assert_eq!(restored(&by_serde), Some(by_serde.clone()));
    assert_eq!(restored::<by_serde::Number>(&state), None);
    assert_eq!(restored::<by_serde::Number>(&data), None);
    // The first byte of the byte string is read as the field.
    assert_eq!(restored(&by_serde), Some(state::Number { number: 0x81 }));
    assert_eq!(restored(&by_serde), Some(data::Number { number: 0x81 }));

    assert_eq!(restored::<data::Address>(&state::Address { address: address() }), None);
    let json = || Value::from(vec![1]);
    assert_eq!(restored::<by_serde::Json>(&state::Json { json: json() }), None);
    assert_eq!(restored::<data::Json>(&state::Json { json: json() }), None);
    let wrong = restored::<state::Json>(&data::Json { json: json() }).expect("the form as a value");
    assert_ne!(wrong.json, json());
}

#[test]
fn only_data_keeps_all_of_an_address() {
    let mut flow = address();
    flow.set_flowinfo(7);
    let data = data::Address { address: flow };
    assert_eq!(restored(&data), Some(data.clone()));
    let by_serde = by_serde::Address { address: flow };
    assert_eq!(restored(&by_serde), Some(by_serde::Address { address: address() }));
    let mut port = address();
    port.set_scope_id(0);
    assert_eq!(restored(&state::Address { address: flow }), Some(state::Address { address: port }));
}

#[test]
fn values_that_messagepack_cannot_distinguish_become_none() {
    macro_rules! check {
        ($($module:ident: $json:expr,)*) => { $(
            let given = $module::Nested { option: Some(None), unit: Some(()), json: Some(Value::Null) };
            let expected = $module::Nested { option: None, unit: None, json: $json };
            assert_eq!(restored(&given), Some(expected));
        )* };
    }
    check! {
        state: None,
        by_serde: None,
        data: Some(Value::Null),
    }
}
