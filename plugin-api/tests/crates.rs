//! Tests the types of other crates that a signature may have with the features `bytes` and `uuid`.

#[path = "both/mod.rs"]
mod both;

use both::{Both, by_name};
use replug_api::{
    Data, Interface,
    abi::BoundInterface,
    bytes::Bytes,
    describe::{Type, Types},
    serde_json::{Value, json},
    uuid::Uuid,
};

/// Each method returns its arguments.
#[replug_api::interface]
trait Echo {
    fn bytes(&self, bytes: Bytes, list: Vec<Bytes>) -> (Bytes, Vec<Bytes>);
    fn uuid(&self, uuid: Uuid, maybe: Option<Uuid>) -> Result<(Uuid, Option<Uuid>), Item>;
    fn item(&self, item: Item) -> Item;
}

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
struct Item {
    id: Uuid,
    content: Bytes,
}

struct All;

impl Echo for All {
    fn bytes(&self, bytes: Bytes, list: Vec<Bytes>) -> (Bytes, Vec<Bytes>) {
        (bytes, list)
    }
    fn uuid(&self, uuid: Uuid, maybe: Option<Uuid>) -> Result<(Uuid, Option<Uuid>), Item> {
        Ok((uuid, maybe))
    }
    fn item(&self, item: Item) -> Item {
        item
    }
}

fn bound() -> BoundInterface {
    <dyn Echo as Interface>::bind(&All)
}

fn clients() -> [EchoClient<Both>; 2] {
    // SAFETY: 1: `bound` binds a `static`.
    unsafe { both::clients::<dyn Echo>(bound) }
}

fn round_trips(method: &str, arguments: Value) {
    assert_eq!(by_name(bound, method, &arguments.to_string()), Ok(arguments), "{method}");
}

#[test]
fn bytes_and_uuids_survive() {
    let (bytes, uuid) = (Bytes::from_static(&[0, 255]), Uuid::from_u128(u128::MAX / 3));
    for client in clients() {
        let list = vec![Bytes::new(), bytes.clone()];
        assert_eq!(client.bytes(bytes.clone(), list.clone()), Ok((bytes.clone(), list)));
        assert_eq!(client.uuid(uuid, Some(Uuid::nil())), Ok((uuid, Some(Uuid::nil()))));
        let item = Item { id: uuid, content: bytes.clone() };
        assert_eq!(client.item(item.clone()), Ok(item));
    }
    round_trips("bytes", json!([[0, 255], [[], [1]]]));
    round_trips("uuid", json!(["67e55044-10b1-426f-9247-bb680e5fe0c8", null]));
    assert_eq!(
        by_name(bound, "bytes", r#"["ab", []]"#),
        Ok(json!([[97, 98], []])),
        "a string stands for its bytes"
    );
    let error = by_name(bound, "uuid", r#"["67e5", null]"#).unwrap_err();
    assert!(error.starts_with("argument `uuid`: UUID parsing failed: invalid length"), "{error}");
}

#[test]
fn large_bytes_are_moved_and_not_copied() {
    let bytes = Bytes::from(vec![7; 1 << 20]);
    let address = bytes.as_ptr();
    let ffi = bytes.into_ffi();
    assert_eq!(ffi.as_ptr(), address);
    assert_eq!(Bytes::from_ffi(ffi).as_ptr(), address);
}

#[test]
fn bytes_are_described_like_a_list_of_bytes() {
    let mut types = Types::default();
    assert_eq!(Bytes::describe(&mut types), Vec::<u8>::describe(&mut types));
    assert_eq!(Uuid::describe(&mut types), Type::Library("Uuid".into()));
}
