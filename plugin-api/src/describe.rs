//! The description of an interface as data: for listings, for checking arguments, and for messages about the difference
//! between two versions.

mod difference;
mod types;

pub use difference::{difference, method_difference};
pub use types::Types;

use crate::abi::InterfaceExport;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// A trait marked `#[replug_api::interface]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The trait's name.
    pub name: String,
    /// The trait's doc comment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docs: String,
    /// The methods in declaration order.
    pub methods: Vec<Method>,
    /// The definitions of the `#[replug_api::data]` types that the methods mention, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, TypeDef>,
}

impl Interface {
    /// The description of an exported interface.
    ///
    /// # Errors
    ///
    /// - The parser's error if this version of `replug-api` cannot parse the library's description.
    pub fn of(export: &InterfaceExport) -> Result<Self, serde_json::Error> {
        serde_json::from_str((export.describe)().as_str())
    }

    /// A hash of the whole contract without doc comments: FNV-1a over its canonical JSON.
    pub fn fingerprint(&self) -> u64 {
        let mut bare = self.clone();
        bare.docs.clear();
        for method in &mut bare.methods {
            method.docs.clear();
            // The contract does not distinguish `&str` from `String`.
            method.params.iter_mut().for_each(|param| param.borrowed = false);
        }
        bare.types.values_mut().for_each(|definition| definition.docs.clear());
        let json = serde_json::to_vec(&bare).unwrap_or_default();
        json.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}

/// One method of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// The method's name.
    pub name: String,
    /// The method's doc comment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docs: String,
    /// The parameters in order, without `&self`.
    pub params: Vec<Param>,
    /// The return type, or the `Ok` type of a `Result`.
    pub returns: Type,
    /// The `Err` type of a `Result`; `None` if the method cannot fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Type>,
}

/// One parameter of a method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// The parameter's name.
    pub name: String,
    /// The parameter's type; `&str` is described as a `String`, and `&[u8]` is described as a list of `u8`.
    #[serde(rename = "type")]
    pub ty: Type,
    /// Whether the parameter is a reference: `&str` or `&[u8]`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub borrowed: bool,
}

impl Param {
    /// The parameter's type in Rust syntax, as the interface declares it.
    pub fn declared(&self) -> String {
        match (&self.ty, self.borrowed) {
            (Type::String, true) => "&str".into(),
            (Type::List(item), true) => format!("&[{item}]"),
            (ty, _) => ty.to_string(),
        }
    }
}

/// A type in a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// `()`
    Unit,
    /// `bool`
    Bool,
    /// `char`
    Char,
    /// A number, by its Rust name: `u8`, `f64`, `usize`, `NonZeroU8`.
    Number(String),
    /// `String`, `&str`, `Box<str>` or `Arc<str>`
    String,
    /// `std::time::Duration`
    Duration,
    /// `Option<T>`
    Option(Box<Type>),
    /// `Vec<T>`, `Box<[T]>`, `&[u8]` or a set.
    List(Box<Type>),
    /// `[T; N]`
    Array(Box<Type>, usize),
    /// `(A, B)`
    Tuple(Vec<Type>),
    /// A map, with the type of its keys and the type of its values.
    Map(Box<Type>, Box<Type>),
    /// `Result<T, E>` inside another type.
    Result(Box<Type>, Box<Type>),
    /// A `#[replug_api::data]` type, defined in [`Interface::types`].
    Named(String),
    /// Another type of a library, by its Rust name: `PathBuf`, `IpAddr`, `serde_json::Value`.
    Library(String),
}

/// The type in Rust syntax.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("()"),
            Self::Bool => f.write_str("bool"),
            Self::Char => f.write_str("char"),
            Self::Number(name) | Self::Named(name) | Self::Library(name) => f.write_str(name),
            Self::String => f.write_str("String"),
            Self::Duration => f.write_str("Duration"),
            Self::Option(inner) => write!(f, "Option<{inner}>"),
            Self::List(inner) => write!(f, "Vec<{inner}>"),
            Self::Array(inner, len) => write!(f, "[{inner}; {len}]"),
            Self::Map(key, value) => write!(f, "Map<{key}, {value}>"),
            Self::Result(ok, err) => write!(f, "Result<{ok}, {err}>"),
            Self::Tuple(parts) => {
                f.write_str("(")?;
                for (at, part) in parts.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{part}")?;
                }
                f.write_str(if parts.len() == 1 { ",)" } else { ")" })
            }
        }
    }
}

/// The definition of a `#[replug_api::data]` type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeDef {
    /// The type's doc comment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docs: String,
    /// The type's shape.
    pub shape: Shape,
}

/// The content of a struct, an enum or an enum's variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// No fields.
    Unit,
    /// Fields by position.
    Tuple(Vec<Type>),
    /// Fields by name, in declaration order.
    Struct(Vec<Param>),
    /// Variants in declaration order.
    Enum(Vec<Variant>),
    /// The content of a type that is marked `#[replug_api::data(serde)]`: only serde's implementations for the type know
    /// it.
    Encoded,
}

/// One variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The variant's name.
    pub name: String,
    /// The variant's fields; never [`Shape::Enum`].
    pub shape: Shape,
}
