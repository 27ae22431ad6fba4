//! Values that can cross the boundary between host and plugin, in process and encoded.

mod addresses;
mod coded;
mod collections;
#[cfg(any(feature = "bytes", feature = "uuid"))]
mod crates;
mod json;
mod path;
mod scalars;
mod time;
mod wide;

pub(crate) use coded::{Coded, CodedRef, reason};

use crate::describe::{Type, Types};
use abi_stable::{StableAbi, std_types::RVec};
use serde::{Deserializer, Serialize, Serializer, de::DeserializeOwned};

/// A value that can cross the boundary between host and plugin.
///
/// Implemented here for the types of the standard library that signatures use, and by [`macro@crate::data`] for
/// types of your own. A value crosses as its [`Data::Ffi`] form if the host calls the plugin's object directly;
/// otherwise it is encoded by serde.
///
/// The elements of a list, a set or a map must not have a zero-sized type, such as a unit struct: a list of such
/// elements has no content except its length.
///
/// ```
/// #[replug_api::data]
/// struct Entry(u8);
///
/// #[replug_api::interface]
/// trait Log {
///     fn entries(&self) -> Vec<Entry>;
/// }
/// ```
/// ```compile_fail
/// #[replug_api::data]
/// struct Entry;
///
/// #[replug_api::interface]
/// trait Log {
///     fn entries(&self) -> Vec<Entry>;
/// }
/// ```
///
/// An absent element of a list of `Option`s is encoded as one byte (`null` in JSON), and takes as much memory as a
/// present one. A list that grows while it is decoded takes up to twice the memory of its elements. So each received
/// byte can cost the memory of two elements. If the element is large and a child process must not make the host
/// allocate that much, use `Option<Box<_>>`.
///
/// # Safety
///
/// 1. The result of [`Data::from_ffi`] has no pointer into the library that made the `Ffi`: no reference to a `static`,
///    no function, no vtable. The library may be unmapped while the value is in use.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross the plugin boundary",
    label = "not a type that a plugin can take or return",
    note = "if the type is yours, add `#[replug_api::data]` to its definition",
    note = "if another crate defines it, put it into a type of yours that is marked `#[replug_api::data(serde)]`"
)]
pub unsafe trait Data: Serialize + DeserializeOwned + Send + 'static {
    /// The same value with a layout that host and plugin can agree on.
    type Ffi: StableAbi + 'static;

    /// Converts the value to its FFI form.
    fn into_ffi(self) -> Self::Ffi;

    /// Converts the FFI form to the value.
    fn from_ffi(ffi: Self::Ffi) -> Self;

    /// The description of the type. A type that is marked with [`macro@crate::data`] also adds its definition to
    /// `types`.
    fn describe(types: &mut Types) -> Type;

    /// Whether serde's implementations for the type encode it in calls. If not, [`Data::serialize_data`] and
    /// [`Data::deserialize_data`] encode it, and each type that contains it.
    #[doc(hidden)]
    const BY_SERDE: bool = true;

    /// Whether the type is or contains a type that is marked `#[data(serde)]`. A call whose signature contains such a
    /// type passes encoded arguments, also in process.
    #[doc(hidden)]
    const SENT_ENCODED: bool = false;

    /// Encodes the value in a call.
    #[doc(hidden)]
    #[inline]
    fn serialize_data<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    /// Decodes a value in a call.
    #[doc(hidden)]
    #[inline]
    fn deserialize_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    /// The value that the JSON of this whole number encodes. `None` if a general parser has to read it.
    #[doc(hidden)]
    #[inline]
    fn from_whole_number(_: u64) -> Option<Self> {
        None
    }

    /// Converts a list to its FFI form. Types that are their own FFI form override this method, so that no element is
    /// converted.
    #[doc(hidden)]
    fn list_into_ffi(list: Vec<Self>) -> RVec<Self::Ffi> {
        list.into_iter().map(Self::into_ffi).collect::<Vec<_>>().into()
    }

    /// Converts the FFI form of a list to the list.
    #[doc(hidden)]
    fn list_from_ffi(ffi: RVec<Self::Ffi>) -> Vec<Self> {
        ffi.into_vec().into_iter().map(Self::from_ffi).collect()
    }
}
