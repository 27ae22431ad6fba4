//! The FFI-safe shapes of data: lists of fields, and trees of variants.

use abi_stable::StableAbi;

/// The end of a list of fields.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub struct End;

/// A field and the list of the fields after it. Structs, tuples, variants and argument lists have this form.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub struct Pair<A, B>(pub A, pub B);

/// A node of a balanced tree over the variants of an enum. Enums have this form.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub enum Either<A, B> {
    /// The first half of the variants.
    Left(A),
    /// The second half of the variants.
    Right(B),
}
