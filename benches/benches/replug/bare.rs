//! Calls of a plugin without a host: through the bare pointers that a typed handle ultimately calls.

use anyhow::Result;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use replug_api::{
    CallError, Caller,
    abi::{Edge, Object},
    call::Failed,
};
use std::{fs, mem::ManuallyDrop, path::Path};

/// One edge and the object on which it is called. Makes the calls of a generated client, such as `CounterClient`,
/// without a host in between.
pub(crate) struct Bare {
    pub(crate) object: Object,
    pub(crate) edge: Edge,
}

// SAFETY: 1: the object and the edge belong to one method, which is the only one that is called. 2: the library stays
// open.
unsafe impl Caller for Bare {
    #[inline]
    fn call<T, E>(
        &self,
        _: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        match call(self.object, self.edge) {
            Ok(value) => Ok(value),
            Err(Failed::Refused(error)) => Err(Ok(error)),
            Err(Failed::Panicked(panic)) => Err(Err(CallError::Unknown(panic.message().to_owned()))),
            Err(Failed::Lost) => Err(Err(CallError::Unknown("the call was lost".into()))),
        }
    }
}

/// Opens a copy of the library. It stays open.
pub(crate) fn open(library: &Path) -> Result<ManuallyDrop<Library>> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("probe.so");
    fs::copy(library, &copy)?;
    // SAFETY: the only constructors of the library are those of std, and its name is new to this process.
    let library = unsafe { Library::open(Some(&copy), RTLD_NOW | RTLD_LOCAL) }?;
    Ok(ManuallyDrop::new(library))
}
