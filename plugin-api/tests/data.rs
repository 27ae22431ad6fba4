//! Tests that a value of every type that can cross the boundary is the same afterwards, in process and encoded.

use replug_api::{
    Data,
    describe::{Shape, Type, Types},
};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::Debug,
    time::Duration,
};

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
struct Named {
    number: i64,
    #[serde(rename = "type")]
    kind: Kind,
}

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
struct Tuple(u8, Option<Box<Tuple>>);

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
struct Unit;

/// All kinds of variants.
#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Unit,
    One(u8),
    Two(String, f32),
    #[serde(rename = "fields")]
    Fields {
        a: Vec<Kind>,
        b: (),
    },
    Last(Unit),
}

mod other {
    #[replug_api::data]
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct Unit;
}

fn crosses<T: Data + Clone + Debug + PartialEq + DeserializeOwned>(value: T) {
    assert_eq!(T::from_ffi(value.clone().into_ffi()), value, "through its FFI form");
    let list = vec![value.clone(), value.clone()];
    assert_eq!(Vec::<T>::from_ffi(list.clone().into_ffi()), list, "in a list");
    let json = serde_json::to_string(&value).expect("JSON");
    assert_eq!(serde_json::from_str::<T>(&json).expect(&json), value, "as JSON {json}");
    let bytes = postcard::to_stdvec(&value).expect("postcard");
    assert_eq!(postcard::from_bytes::<T>(&bytes).expect("postcard"), value, "as postcard");
}

#[test]
fn values_without_elements_cross_the_boundary_unchanged() {
    crosses(u8::MAX);
    crosses(u16::MAX);
    crosses(u32::MAX);
    crosses(u64::MAX);
    crosses(usize::MAX);
    crosses(i8::MIN);
    crosses(i16::MIN);
    crosses(i32::MIN);
    crosses(i64::MIN);
    crosses(isize::MIN);
    crosses(0.1_f32);
    crosses(f64::MIN_POSITIVE);
    crosses(true);
    crosses('\u{1F600}');
    crosses(());
    crosses(String::from("grün"));
    crosses(String::new());
    crosses(Duration::new(u64::MAX, 999_999_999));
}

#[test]
fn values_with_elements_cross_the_boundary_unchanged() {
    crosses(Some(1_u8));
    crosses(None::<String>);
    crosses(Ok::<u8, String>(1));
    crosses(Err::<u8, String>("no".into()));
    crosses(Box::new(String::from("boxed")));
    crosses(vec![1_u8, 2, 3]);
    crosses(Vec::<String>::new());
    crosses(vec![vec!["a".to_owned()], vec![]]);
    crosses([1_u16, 2, 3]);
    crosses(["a".to_owned(), "b".to_owned()]);
    crosses(HashMap::from([(String::from("a"), 1), (String::from("b"), 2)]));
    crosses(BTreeMap::from([("a".to_owned(), vec![1])]));
    crosses(HashSet::from([1, 2]));
    crosses(BTreeSet::from(['a', 'b']));
    crosses((1_u8,));
    crosses((1_u8, "b".to_owned(), 'c', 4.0, 5_i64, (), Some(7_u16), [8_u8]));
}

#[test]
fn the_authors_own_types_cross_the_boundary_unchanged() {
    crosses(Unit);
    crosses(Tuple(1, Some(Box::new(Tuple(2, None)))));
    for kind in [
        Kind::Unit,
        Kind::One(1),
        Kind::Two("two".into(), 2.0),
        Kind::Fields { a: vec![Kind::Unit, Kind::Last(Unit)], b: () },
        Kind::Last(Unit),
    ] {
        crosses(Named { number: -1, kind });
    }
}

#[test]
fn a_large_list_of_numbers_is_moved_and_not_copied() {
    let list = vec![7_u8; 64 << 20];
    let address = list.as_ptr();
    let ffi = list.into_ffi();
    assert_eq!(ffi.as_ptr(), address);
    let list = Vec::<u8>::from_ffi(ffi);
    assert_eq!(list.as_ptr(), address);
}

#[test]
fn types_are_described_in_rust_syntax() {
    fn described<T: Data>() -> String {
        T::describe(&mut Types::default()).to_string()
    }
    assert_eq!(described::<Vec<Option<u8>>>(), "Vec<Option<u8>>");
    assert_eq!(described::<[bool; 3]>(), "[bool; 3]");
    assert_eq!(described::<(char, ())>(), "(char, ())");
    assert_eq!(described::<(u8,)>(), "(u8,)");
    assert_eq!(described::<HashMap<String, Duration>>(), "Map<String, Duration>");
    assert_eq!(described::<BTreeSet<usize>>(), "Vec<usize>");
    assert_eq!(described::<Result<Box<f32>, Kind>>(), "Result<f32, Kind>");
}

#[test]
fn definitions_name_fields_and_variants_as_encodings_do() {
    let mut types = Types::default();
    assert_eq!(Named::describe(&mut types), Type::Named("Named".into()));
    let definitions = types.into_definitions();
    assert_eq!(definitions.keys().collect::<Vec<_>>(), ["Kind", "Named", "Unit"]);
    let Shape::Struct(fields) = &definitions["Named"].shape else { panic!("not a struct") };
    assert_eq!(fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["number", "type"]);
    let Shape::Enum(variants) = &definitions["Kind"].shape else { panic!("not an enum") };
    let names: Vec<_> = variants.iter().map(|variant| variant.name.as_str()).collect();
    assert_eq!(names, ["Unit", "One", "Two", "fields", "Last"]);
    assert_eq!(definitions["Kind"].docs, "All kinds of variants.");
}

/// One enum for each case of serde's `rename_all`, with names of fields and variants that distinguish the cases.
macro_rules! renamed {
    ($($name:ident $case:literal)*) => {$(
        #[replug_api::data]
        #[serde(rename_all = $case)]
        enum $name {
            OneTwo,
            HTTPGet,
            #[serde(rename = "own")]
            Other,
            #[serde(rename_all = $case)]
            Fields { one_two: u8, _x: u8, y2_z: u8 },
        }
    )*

    #[test]
    fn renamed_fields_and_variants_are_described_as_serde_writes_them() {
        $({
            let mut types = Types::default();
            $name::describe(&mut types);
            let Shape::Enum(variants) = &types.into_definitions()[stringify!($name)].shape else { panic!("no enum") };
            let names: Vec<_> = variants.iter().map(|variant| format!("\"{}\"", variant.name)).collect();
            assert_eq!(names[0], serde_json::to_string(&$name::OneTwo).expect("JSON"), $case);
            assert_eq!(names[1], serde_json::to_string(&$name::HTTPGet).expect("JSON"), $case);
            assert_eq!(names[2], "\"own\"", $case);
            let Shape::Struct(fields) = &variants[3].shape else { panic!("no fields") };
            let json = serde_json::to_value($name::Fields { one_two: 1, _x: 2, y2_z: 3 }).expect("JSON");
            let written: BTreeSet<_> = json.as_object().expect("tagged")[&variants[3].name].as_object().expect("object").keys().collect();
            assert_eq!(fields.iter().map(|field| &field.name).collect::<BTreeSet<_>>(), written, $case);
        })*
    }};
}

renamed! {
    Lower "lowercase"
    Upper "UPPERCASE"
    Pascal "PascalCase"
    Camel "camelCase"
    Snake "snake_case"
    ScreamingSnake "SCREAMING_SNAKE_CASE"
    Kebab "kebab-case"
    ScreamingKebab "SCREAMING-KEBAB-CASE"
}

#[test]
fn two_types_with_the_same_name_are_distinguished_by_their_modules() {
    let mut types = Types::default();
    assert_eq!(Unit::describe(&mut types), Type::Named("Unit".into()));
    assert_eq!(other::Unit::describe(&mut types), Type::Named("data::other::Unit".into()));
    assert_eq!(Unit::describe(&mut types), Type::Named("Unit".into()));
}

/// Each whole number that is converted directly must be the value that the general parser reads.
#[test]
fn a_whole_number_is_converted_as_serde_json_reads_it() {
    fn agree<T: Data + PartialEq + Debug>() {
        let numbers = [
            0,
            1,
            127,
            128,
            255,
            256,
            65_536,
            1 << 31,
            (1 << 53) + 1,
            i64::MAX as u64,
            9_999_999_999_999_999_999,
        ];
        for number in numbers {
            let expected = serde_json::from_str::<T>(&number.to_string()).ok();
            assert_eq!(T::from_whole_number(number), expected, "{number} as {}", std::any::type_name::<T>());
        }
    }
    agree::<u8>();
    agree::<u16>();
    agree::<u32>();
    agree::<u64>();
    agree::<usize>();
    agree::<i8>();
    agree::<i16>();
    agree::<i32>();
    agree::<i64>();
    agree::<isize>();
    agree::<f32>();
    agree::<f64>();
    agree::<bool>();
    agree::<()>();
    agree::<String>();
    agree::<Option<u16>>();
}
