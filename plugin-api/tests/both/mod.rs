//! Calls an interface typed through its edges, typed through its remote edges, and by name with JSON.

use replug_api::{
    CallError, Caller, Interface,
    abi::{BoundInterface, Edge, Encoding, InterfaceExport, Object, Outcome, Refusal},
    call::{Bound, Failed},
    remote::{Remote, RemoteObject, Reply, take_lost},
    serde_json::{self, Value},
};

/// Makes the object and the edges of an instance, which is a `static`.
pub(crate) type Make = fn() -> BoundInterface;

/// The index of the method with this name.
pub(crate) fn index(make: Make, method: &str) -> u32 {
    let methods = make().export.methods;
    methods.iter().position(|it| it.name == method).expect("known method") as u32
}

/// Calls the encoded entry.
pub(crate) fn invoke(
    make: Make,
    method: u32,
    encoding: Encoding,
    arguments: &[u8],
) -> Outcome<Vec<u8>, Refusal> {
    let bound = make();
    // SAFETY: 1: `bound` has both the object and the export. 2: the instance is a `static`.
    match unsafe { (bound.export.invoke)(bound.object, method, encoding, arguments.into()) } {
        Outcome::Returned(bytes) => Outcome::Returned(bytes.into()),
        Outcome::Refused(refusal) => Outcome::Refused(refusal),
        Outcome::Panicked(panic) => Outcome::Panicked(panic),
        Outcome::Lost => Outcome::Lost,
    }
}

/// Calls the method by its name, with JSON.
pub(crate) fn by_name(make: Make, method: &str, arguments: &str) -> Result<Value, String> {
    match invoke(make, index(make, method), Encoding::Json, arguments.as_bytes()) {
        Outcome::Returned(bytes) => Ok(serde_json::from_slice(&bytes).expect("JSON")),
        Outcome::Refused(Refusal::BadArguments(why) | Refusal::BadResult(why)) => Err(why.into()),
        Outcome::Refused(Refusal::Error(bytes)) => {
            Err(String::from_utf8(bytes.into()).expect("JSON is text"))
        }
        other => panic!("{other:?}"),
    }
}

/// Passes calls to the encoded entry of the interface, like the process of a plugin.
struct Loop(Make);

impl Remote for Loop {
    fn plugin(&self) -> &str {
        "dev.test.loop"
    }

    fn stack_left(&self) -> Option<usize> {
        Some(1 << 20)
    }

    fn invoke(&self, method: u32, encoding: Encoding, arguments: &[u8]) -> Result<Reply, CallError> {
        match invoke(self.0, method, encoding, arguments) {
            Outcome::Returned(bytes) => Ok(Reply::Returned(bytes)),
            Outcome::Refused(refusal) => Ok(Reply::Refused(refusal)),
            other => panic!("{other:?}"),
        }
    }
}

/// A caller of the plugin's own edges, or of remote edges.
#[derive(Clone)]
pub(crate) struct Both {
    make: Make,
    remote: Option<(RemoteObject, &'static InterfaceExport)>,
}

// SAFETY: 1: without a `RemoteObject`, the object and the edge are those of `make`; otherwise, the edge is a remote edge,
// and the object is that of the `RemoteObject`. 2: the instance is a `static`, and `self` keeps the `RemoteObject`.
unsafe impl Caller for Both {
    fn call<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        let (object, export) = match &self.remote {
            Some((remote, export)) => (remote.object(), *export),
            None => {
                let bound = (self.make)();
                (bound.object, bound.export)
            }
        };
        call(object, export.methods[method as usize].edge).map_err(|failed| match failed {
            Failed::Refused(error) => Ok(error),
            Failed::Panicked(panic) => Err(CallError::Unknown(panic.message().into())),
            Failed::Lost => Err(take_lost().expect("a reason")),
        })
    }
}

/// A client of the edges, and one of the remote edges.
///
/// # Safety
///
/// 1. `make` returns what `<I as Interface>::bind` has returned for a `static`.
pub(crate) unsafe fn clients<I: Interface + ?Sized>(make: Make) -> [I::Client<Both>; 2] {
    let remote = (RemoteObject::new(Loop(make)), I::REMOTE);
    // SAFETY: 1: by 1, the edges are those of `EXPORT` or of `REMOTE`.
    [None, Some(remote)].map(|remote| unsafe { Bound::new(Both { make, remote }) }.into())
}
