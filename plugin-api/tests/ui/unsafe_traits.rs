//! Safe code cannot implement the traits that unsafe code relies on.

use replug_api::{
    CallError, Caller, Data,
    abi::{Edge, Object},
    call::Failed,
    describe::{Type, Types},
};

struct Anything;

impl Caller for Anything {
    fn call<T, E>(
        &self,
        _: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        drop(call(Object(std::ptr::null()), Edge(std::ptr::null())));
        Err(Err(CallError::Unknown(String::new())))
    }
}

#[derive(replug_api::serde::Serialize, replug_api::serde::Deserialize)]
#[serde(crate = "replug_api::serde")]
struct Text;

impl Data for Text {
    type Ffi = replug_api::abi_stable::std_types::RStr<'static>;

    fn into_ffi(self) -> Self::Ffi {
        "in the library".into()
    }

    fn from_ffi(_: Self::Ffi) -> Self {
        Self
    }

    fn describe(_: &mut Types) -> Type {
        Type::String
    }
}

fn main() {}
