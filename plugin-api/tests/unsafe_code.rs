//! Tests the cases of `ui` that are rejected as safe code, with unsafe code: `unsafe_traits`, `unsafe_calls` and
//! `client_of_another`.

use replug_api::{
    CallError, Caller, Context, Data, Interface, Plugin, PluginError,
    abi::{Edge, Encoding, InterfaceExport, Object, Outcome, PluginRootRef},
    call::{Bound, Failed},
    describe::{Type, Types},
    hooks::Created,
    remote,
};

#[replug_api::interface]
trait Greeter {
    fn greet(&self, name: &str) -> String;
    fn next(&self, number: Number) -> Number;
}

struct Hello;

impl Greeter for Hello {
    fn greet(&self, name: &str) -> String {
        format!("Hello, {name}!")
    }

    fn next(&self, number: Number) -> Number {
        Number(number.0 + 1)
    }
}

impl Plugin for Hello {
    type Config = ();
    type State = ();

    fn init(_: &Context, (): ()) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

/// A type with a manual implementation of `Data`.
#[derive(Debug, PartialEq, replug_api::serde::Serialize, replug_api::serde::Deserialize)]
#[serde(crate = "replug_api::serde")]
struct Number(u8);

// SAFETY: 1: a number contains no pointer.
unsafe impl Data for Number {
    type Ffi = u8;

    fn into_ffi(self) -> u8 {
        self.0
    }

    fn from_ffi(ffi: u8) -> Self {
        Self(ffi)
    }

    fn describe(types: &mut Types) -> Type {
        u8::describe(types)
    }
}

/// Calls one instance, which is a `static`.
struct Forever {
    export: &'static InterfaceExport,
    object: Object,
}

// SAFETY: 1: the test takes both from one `bind`. 2: the instance is a `static`, in this binary.
unsafe impl Caller for Forever {
    fn call<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        match call(self.object, self.export.methods[method as usize].edge) {
            Ok(value) => Ok(value),
            Err(_) => Err(Err(CallError::Unknown("no value".into()))),
        }
    }
}

#[expect(dead_code, reason = "the test compiles the calls, and makes none")]
unsafe fn an_instance_is_led_through_its_life(root: PluginRootRef, object: Object) {
    // SAFETY: 1: the caller has the instance from this root.
    unsafe {
        root.start()(object);
        root.stop()(object);
        root.health()(object);
        root.configure()(object, "{}".into());
        root.save()(object);
        root.restore()(object, 1, b"".as_slice().into());
        root.destroy()(object);
    }
}

#[expect(dead_code, reason = "the test compiles the call, and makes none")]
unsafe fn a_remote_interface_is_invoked(object: Object) {
    // SAFETY: 1: the caller has the object from a remote interface.
    unsafe { remote::invoke(object, 0, Encoding::Json, b"".as_slice().into()) };
}

#[test]
fn unsafe_code_implements_the_traits_and_makes_the_calls() {
    let bound = <dyn Greeter as Interface>::bind(&Hello);
    // SAFETY: 1: `bound` has both the object and the export. 2: the instance is a `static`.
    let json =
        unsafe { (bound.export.invoke)(bound.object, 0, Encoding::Json, b"\"you\"".as_slice().into()) };
    assert!(matches!(json, Outcome::Returned(json) if json.as_slice() == b"\"Hello, you!\""));

    let caller = Forever { export: bound.export, object: bound.object };
    // SAFETY: 1: the edges of `caller` are those of `Greeter`.
    let client = GreeterClient::from(unsafe { Bound::new(caller) });
    assert_eq!(client.greet("you").as_deref(), Ok("Hello, you!"));
    assert_eq!(client.next(Number(1)), Ok(Number(2)));

    let context = Context::new("dev.example.hello", 1, std::env::temp_dir());
    // SAFETY: 1: the function keeps no reference.
    assert!(unsafe { Created::new::<Hello>(&context, "", |_| Vec::new()) }.is_ok());
}
