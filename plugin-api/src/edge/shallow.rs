//! Decodes postcard with a bound on the stack. A value of a recursive type may have as many levels as its encoding has
//! bytes, and its decoder recurses once for each level. Without the bound, a deeply nested value would overflow the
//! stack.

use super::encoded::take_reason;
use serde::de::DeserializeOwned;
use std::{cell::Cell, fmt};

/// The maximum stack for decoding a value, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackLimit(usize);

impl StackLimit {
    /// The limit for a thread with a stack of the usual size, which is 2 MiB or more.
    pub(super) const USUAL: Self = Self(512 << 10);
    /// The limit for a thread whose stack size is unknown.
    const UNKNOWN: Self = Self(64 << 10);

    /// The limit for a thread with `left` bytes of stack. Converting and dropping the value recurse as deeply as
    /// decoding it, and use up to twice as much stack in unoptimized code. A test checks this limit with stacks of
    /// several sizes.
    pub(crate) fn of_thread(left: Option<usize>) -> Self {
        left.map_or(Self::UNKNOWN, |left| Self(Self::USUAL.0.min(left / 4)))
    }
}

/// The stack that decoding may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack {
    /// The stack pointer when decoding began.
    start: usize,
    limit: StackLimit,
}

thread_local! {
    /// The stack for the value that the thread is decoding, for decoders of parts of the value.
    static CURRENT: Cell<Option<Stack>> = const { Cell::new(None) };
}

impl Stack {
    /// Decoding that begins here may use this much stack.
    fn from_here(limit: StackLimit) -> Self {
        Self { start: stack_pointer(), limit }
    }

    /// The stack for a part of the value that the thread is decoding. If the thread is not decoding with a [`Reader`],
    /// it is [`StackLimit::USUAL`] from here.
    pub(super) fn of_part() -> Self {
        CURRENT.get().unwrap_or_else(|| Self::from_here(StackLimit::USUAL))
    }

    /// Whether the thread is decoding with a [`Reader`].
    pub(super) fn is_reading() -> bool {
        CURRENT.get().is_some()
    }

    /// Whether the thread has used more than the limit.
    #[inline]
    pub(super) fn is_exceeded(self) -> bool {
        self.start.abs_diff(stack_pointer()) > self.limit.0
    }

    /// Runs a decoder. While it runs, [`Stack::of_part`] returns this stack.
    fn run<T>(self, decode: impl FnOnce() -> T) -> T {
        /// Restores the outer stack, also if the decoder panics.
        struct Outer(Option<Stack>);

        impl Drop for Outer {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }

        let _outer = Outer(CURRENT.replace(Some(self)));
        decode()
    }
}

/// Why bytes could not be decoded.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The value is nested too deeply.
    TooDeep,
    /// This many bytes are left after the value.
    Left(usize),
    /// The bytes do not encode a value of the type.
    Unfit(postcard::Error),
    /// serde's implementation for a type inside the value rejects its bytes, for this reason.
    Rejected(String),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => f.write_str("it is nested too deeply to be read"),
            Self::Left(count) => write!(f, "{count} trailing bytes"),
            // postcard does not keep the reason.
            Self::Unfit(postcard::Error::SerdeDeCustom) => f.write_str("the type does not have this value"),
            Self::Unfit(error) => error.fmt(f),
            Self::Rejected(why) => f.write_str(why),
        }
    }
}

/// Decodes one value from all of the bytes.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], limit: StackLimit) -> Result<T, Unread> {
    let mut reader = Reader::new(bytes, limit);
    let value = reader.value()?;
    reader.end()?;
    Ok(value)
}

/// Decodes values one after the other.
pub(crate) struct Reader<'de> {
    bytes: &'de [u8],
    limit: StackLimit,
}

impl<'de> Reader<'de> {
    pub(crate) fn new(bytes: &'de [u8], limit: StackLimit) -> Self {
        Self { bytes, limit }
    }

    /// Decodes the next value.
    pub(crate) fn value<T: DeserializeOwned>(&mut self) -> Result<T, Unread> {
        let too_deep = Cell::new(false);
        let stack = Stack::from_here(self.limit);
        let shallow = Shallow { bytes: self.bytes, stack, too_deep: &too_deep };
        let mut deserializer = postcard::Deserializer::from_flavor(shallow);
        match stack.run(|| T::deserialize(&mut deserializer)) {
            Ok(value) => {
                let left = deserializer.finalize().map_or(0, <[u8]>::len);
                self.bytes = &self.bytes[self.bytes.len() - left..];
                Ok(value)
            }
            Err(_) if too_deep.get() => Err(Unread::TooDeep),
            Err(error) => Err(take_reason(self.bytes).unwrap_or(Unread::Unfit(error))),
        }
    }

    /// Checks that no bytes are left.
    pub(crate) fn end(&self) -> Result<(), Unread> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Unread::Left(self.bytes.len())) }
    }
}

/// An input that checks the stack each time the decoder takes bytes, and returns an error when the decoder has used too
/// much stack.
///
/// A nested value has at least one byte, its tag or its length, so the stack cannot grow much between two checks.
struct Shallow<'de> {
    bytes: &'de [u8],
    stack: Stack,
    too_deep: &'de Cell<bool>,
}

impl<'de> Shallow<'de> {
    fn take(&mut self, count: usize) -> postcard::Result<&'de [u8]> {
        if self.stack.is_exceeded() {
            self.too_deep.set(true);
            return Err(postcard::Error::DeserializeUnexpectedEnd);
        }
        let (taken, rest) =
            self.bytes.split_at_checked(count).ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.bytes = rest;
        Ok(taken)
    }
}

/// The approximate stack pointer of the calling thread.
#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

impl<'de> postcard::de_flavors::Flavor<'de> for Shallow<'de> {
    type Remainder = &'de [u8];
    type Source = &'de [u8];

    fn pop(&mut self) -> postcard::Result<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.bytes.len())
    }

    fn try_take_n(&mut self, count: usize) -> postcard::Result<&'de [u8]> {
        self.take(count)
    }

    fn finalize(self) -> postcard::Result<Self::Remainder> {
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type that takes much memory, and whose absence is encoded as one byte.
    type Large = Option<[u64; 32]>;

    fn read_list(count: u64, present: usize) -> Result<Vec<Large>, Unread> {
        let mut bytes = postcard::to_stdvec(&count).expect("a vector can hold all bytes");
        bytes.resize(bytes.len() + present, 0);
        read(&bytes, StackLimit::USUAL)
    }

    #[test]
    fn a_list_takes_at_most_twice_the_memory_of_its_elements() {
        for count in [1, 1000, 70_000] {
            let list = read_list(count as u64, count).unwrap();
            assert_eq!(list.len(), count);
            assert!(list.capacity() <= (2 * count).max(4), "{count}: {}", list.capacity());
        }
    }

    #[test]
    fn a_list_that_claims_more_elements_than_it_has_bytes_is_rejected() {
        // Memory for so many elements does not exist. An attempt to allocate it would end the test.
        for claimed in [1 << 20, 1 << 40, u64::MAX] {
            assert!(matches!(read_list(claimed, 1000), Err(Unread::Unfit(_))), "{claimed}");
        }
    }
}
