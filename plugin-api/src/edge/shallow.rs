//! Reads postcard that may be nested without end: a value of a type that holds its own kind may be nested as often as it has
//! bytes, and whoever reads it calls itself as often. So what reading takes of the stack is bounded.

use serde::de::DeserializeOwned;
use std::{cell::Cell, fmt};

/// How much of the stack reading a value may take, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackLimit(usize);

impl StackLimit {
    /// On a thread with a stack of the usual size, which is 2 MiB or more.
    pub(super) const USUAL: Self = Self(512 << 10);
    /// Where nothing is known of the stack.
    const UNKNOWN: Self = Self(64 << 10);

    /// On a thread that has so many bytes left. To convert the value and to drop it calls itself as often as to read it did,
    /// and unoptimized takes up to twice as much: a test tries it on stacks of several sizes.
    pub(crate) fn of_thread(left: Option<usize>) -> Self {
        left.map_or(Self::UNKNOWN, |left| Self(Self::USUAL.0.min(left / 4)))
    }
}

/// Why bytes could not be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// They are nested too deeply.
    TooDeep,
    /// So many are left over.
    Left(usize),
    /// They are not of the type.
    Unfit(postcard::Error),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => f.write_str("it is nested too deeply to be read"),
            Self::Left(count) => write!(f, "{count} bytes are left over"),
            Self::Unfit(error) => error.fmt(f),
        }
    }
}

/// Reads one value, which has to be all there is.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], limit: StackLimit) -> Result<T, Unread> {
    let mut reader = Reader::new(bytes, limit);
    let value = reader.value()?;
    reader.end()?;
    Ok(value)
}

/// Reads one value after the other.
pub(crate) struct Reader<'de> {
    bytes: &'de [u8],
    limit: StackLimit,
}

impl<'de> Reader<'de> {
    pub(crate) fn new(bytes: &'de [u8], limit: StackLimit) -> Self {
        Self { bytes, limit }
    }

    /// Reads the next value.
    pub(crate) fn value<T: DeserializeOwned>(&mut self) -> Result<T, Unread> {
        let too_deep = Cell::new(false);
        let shallow =
            Shallow { bytes: self.bytes, start: stack_pointer(), limit: self.limit, too_deep: &too_deep };
        let mut deserializer = postcard::Deserializer::from_flavor(shallow);
        match T::deserialize(&mut deserializer) {
            Ok(value) => {
                let left = deserializer.finalize().map_or(0, <[u8]>::len);
                self.bytes = &self.bytes[self.bytes.len() - left..];
                Ok(value)
            }
            Err(_) if too_deep.get() => Err(Unread::TooDeep),
            Err(error) => Err(Unread::Unfit(error)),
        }
    }

    /// Makes sure that all was read.
    pub(crate) fn end(&self) -> Result<(), Unread> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Unread::Left(self.bytes.len())) }
    }
}

/// Bytes that end when reading them has gone too deep.
///
/// A nested value costs at least one byte, its tag or its length, so that the stack cannot grow far between two bytes.
struct Shallow<'de> {
    bytes: &'de [u8],
    /// Where the stack was at the beginning.
    start: usize,
    limit: StackLimit,
    too_deep: &'de Cell<bool>,
}

impl<'de> Shallow<'de> {
    fn take(&mut self, count: usize) -> postcard::Result<&'de [u8]> {
        if self.start.abs_diff(stack_pointer()) > self.limit.0 {
            self.too_deep.set(true);
            return Err(postcard::Error::DeserializeUnexpectedEnd);
        }
        let (taken, rest) =
            self.bytes.split_at_checked(count).ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.bytes = rest;
        Ok(taken)
    }
}

/// About where the calling thread's stack ends.
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
