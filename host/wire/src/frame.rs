//! Frames over a stream of bytes: a length, a kind, the number of a request, and a payload.
//!
//! One system call writes a frame, and one system call reads a small frame, because system calls are the main cost of a
//! call.

use super::{Kind, RequestId, WireError};
use std::{
    fmt,
    io::{ErrorKind, IoSlice, Read, Write},
};

/// The default maximum size of a frame, in bytes: 256 MiB.
pub const MAX_FRAME: u32 = 256 << 20;

/// The number of bytes of length, kind and id.
const HEADER: usize = 13;
/// The number of bytes that a frame's length field counts besides the payload: the bytes of kind and id.
const COUNTED: usize = HEADER - 4;
/// A whole frame of the kind [`Kind::Bell`].
pub const BELL: [u8; HEADER] = {
    let mut frame = [0; HEADER];
    frame[0] = COUNTED as u8;
    frame[4] = Kind::Bell as u8;
    frame
};
/// The size of one read, in bytes. A frame that fits in it is not copied.
const WINDOW: usize = 8 << 10;
/// The number of bytes of memory that a channel keeps for the next large frame.
const MAX_IDLE_BUFFER: usize = 1 << 20;

/// One received frame. Its payload is in the channel's memory until the channel receives the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The kind of the frame.
    pub kind: Kind,
    /// The number of the request that the frame belongs to.
    pub id: RequestId,
    /// The bytes after kind and number.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The payload, if the frame is of the kind `wanted`.
    ///
    /// # Errors
    ///
    /// * [`WireError::UnexpectedKind`] if the frame is of another kind.
    pub fn of_kind(self, wanted: Kind) -> Result<&'a [u8], WireError> {
        if self.kind == wanted {
            Ok(self.payload)
        } else {
            Err(WireError::UnexpectedKind { wanted, got: self.kind })
        }
    }

    /// The payload, if the frame is of the kind `wanted` and answers the request `asked`.
    ///
    /// # Errors
    ///
    /// * [`WireError::UnexpectedKind`], [`WireError::OtherRequest`]
    pub fn reply_to(self, asked: RequestId, wanted: Kind) -> Result<&'a [u8], WireError> {
        let payload = self.of_kind(wanted)?;
        if self.id == asked { Ok(payload) } else { Err(WireError::OtherRequest { asked, answered: self.id }) }
    }
}

/// Carries frames in both directions. A [`Lane`](super::Lane) makes its calls over one.
pub trait Carrier {
    /// Sends a frame whose payload is the two given slices, one after the other.
    ///
    /// # Errors
    ///
    /// * As for [`Channel::send`]
    fn send(&mut self, kind: Kind, id: RequestId, payload: [&[u8]; 2]) -> Result<(), WireError>;

    /// Waits for the next frame.
    ///
    /// # Errors
    ///
    /// * As for [`Channel::receive`]
    fn receive(&mut self) -> Result<Frame<'_>, WireError>;

    /// Frees the memory of a very large frame, because the next frame may arrive much later.
    fn shrink(&mut self);

    /// The bytes of memory that the carrier uses.
    fn memory(&self) -> usize;
}

impl<S: Read + Write> Carrier for Channel<S> {
    fn send(&mut self, kind: Kind, id: RequestId, payload: [&[u8]; 2]) -> Result<(), WireError> {
        Self::send(self, kind, id, payload)
    }

    fn receive(&mut self) -> Result<Frame<'_>, WireError> {
        Self::receive(self)
    }

    fn shrink(&mut self) {
        Self::shrink(self);
    }

    fn memory(&self) -> usize {
        Self::memory(self)
    }
}

/// A stream of bytes that carries frames in both directions.
pub struct Channel<S> {
    stream: S,
    max_frame: u32,
    /// The bytes that were read. Those at `start..end` have not been consumed yet.
    window: Box<[u8]>,
    start: usize,
    end: usize,
    /// The payload of a frame that does not fit in the window.
    large: Vec<u8>,
    /// The frame whose payload is incomplete.
    begun: Option<Begun>,
}

/// A frame whose header has been read.
#[derive(Clone, Copy)]
struct Begun {
    kind: Kind,
    id: RequestId,
    /// The length of the payload, in bytes.
    len: usize,
}

impl<S> fmt::Debug for Channel<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("unread", &(self.end - self.start)).finish_non_exhaustive()
    }
}

impl<S> Channel<S> {
    /// A channel whose frames are at most [`MAX_FRAME`] bytes long.
    pub fn new(stream: S) -> Self {
        Self::with_max_frame(stream, MAX_FRAME)
    }

    /// A channel whose frames are at most `max_frame` bytes long, not counting their length fields.
    pub fn with_max_frame(stream: S, max_frame: u32) -> Self {
        let window = vec![0; WINDOW].into_boxed_slice();
        Self { stream, max_frame, window, start: 0, end: 0, large: Vec::new(), begun: None }
    }

    /// The stream of the channel.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, to set a deadline. Only the channel may write to it or read from it.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Frees the memory of a very large frame. The owner of an idle channel calls this method. Otherwise, the channel
    /// frees the memory when it next waits for a frame.
    pub fn shrink(&mut self) {
        if self.large.capacity() > MAX_IDLE_BUFFER {
            self.large = Vec::new();
        }
    }

    /// The number of bytes of memory that the channel uses.
    pub fn memory(&self) -> usize {
        self.window.len() + self.large.capacity()
    }
}

impl<S> Channel<S> {
    /// The length field of a frame with this payload.
    ///
    /// # Errors
    ///
    /// * [`WireError::TooLarge`]
    pub fn length_of(&self, payload: [&[u8]; 2]) -> Result<u32, WireError> {
        let (len, max) = ((COUNTED + payload[0].len() + payload[1].len()) as u64, self.max_frame);
        u32::try_from(len).ok().filter(|len| *len <= max).ok_or(WireError::TooLarge { len, max })
    }
}

impl<S: Write> Channel<S> {
    /// Sends a frame whose payload is the two given slices, one after the other.
    ///
    /// # Errors
    ///
    /// * [`WireError::TooLarge`]: nothing was sent, and the channel is still usable.
    /// * [`WireError::Closed`], [`WireError::Unread`], [`WireError::TimedOut`], [`WireError::Io`]
    pub fn send(&mut self, kind: Kind, id: RequestId, payload: [&[u8]; 2]) -> Result<(), WireError> {
        let short = self.length_of(payload)?;
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&short.to_le_bytes());
        header[4] = kind as u8;
        header[5..].copy_from_slice(&id.0.to_le_bytes());
        let mut slices = [&header, payload[0], payload[1]].map(IoSlice::new);
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match self.stream.write_vectored(left) {
                Ok(0) => return Err(WireError::Closed),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl<S: Read> Channel<S> {
    /// Waits for the header of the next frame, and returns its kind. The next [`Channel::receive`] returns this frame.
    ///
    /// # Errors
    ///
    /// * As for [`Channel::receive`]
    pub fn next_kind(&mut self) -> Result<Kind, WireError> {
        let begun = match self.begun {
            Some(begun) => begun,
            None => self.begin()?,
        };
        self.begun = Some(begun);
        Ok(begun.kind)
    }

    /// Waits for the next frame.
    ///
    /// # Errors
    ///
    /// * [`WireError::Closed`] between two frames, [`WireError::Truncated`] within one, [`WireError::Unread`]
    /// * [`WireError::TooLarge`], [`WireError::TooShort`], [`WireError::UnknownKind`]: the received bytes are not a
    ///   frame
    /// * [`WireError::TimedOut`]: the received bytes are kept, and the next call of this method reads the rest
    /// * [`WireError::Io`]
    pub fn receive(&mut self) -> Result<Frame<'_>, WireError> {
        let begun = match self.begun {
            Some(begun) => begun,
            None => self.begin()?,
        };
        self.begun = Some(begun);
        let Begun { kind, id, len } = begun;
        if len > WINDOW {
            self.rest_of_large(len)?;
            self.begun = None;
            return Ok(Frame { kind, id, payload: &self.large });
        }
        self.fill(len)?;
        self.begun = None;
        let from = self.start;
        self.start += len;
        Ok(Frame { kind, id, payload: &self.window[from..from + len] })
    }

    /// Reads a header.
    fn begin(&mut self) -> Result<Begun, WireError> {
        self.shrink();
        self.fill(HEADER).map_err(|error| match error {
            WireError::Truncated { missing: HEADER } => WireError::Closed,
            error => error,
        })?;
        let header = &self.window[self.start..self.start + HEADER];
        let (len, rest) = header.split_first_chunk().expect("a header is longer than its length");
        let (kind, id) = rest.split_first_chunk::<1>().expect("a header is longer than length and kind");
        let len = u32::from_le_bytes(*len);
        if len > self.max_frame {
            return Err(WireError::TooLarge { len: len.into(), max: self.max_frame });
        }
        let payload_len = usize::try_from(len)
            .ok()
            .and_then(|len| len.checked_sub(COUNTED))
            .ok_or(WireError::TooShort { len })?;
        let kind = Kind::read(kind[0]).ok_or(WireError::UnknownKind(kind[0]))?;
        let id = RequestId(u64::from_le_bytes(id.try_into().expect("the rest of a header is its id")));
        self.start += HEADER;
        if payload_len > WINDOW {
            self.large.clear();
            self.large.extend_from_slice(&self.window[self.start..self.end]);
            (self.start, self.end) = (0, 0);
        }
        Ok(Begun { kind, id, len: payload_len })
    }

    /// Reads the missing part of a payload that does not fit in the window.
    fn rest_of_large(&mut self, len: usize) -> Result<(), WireError> {
        let rest = (len - self.large.len()) as u64;
        // The vector grows as bytes arrive. If the stream fails, the vector keeps the bytes that have arrived.
        self.stream.by_ref().take(rest).read_to_end(&mut self.large)?;
        match len - self.large.len() {
            0 => Ok(()),
            missing => Err(WireError::Truncated { missing }),
        }
    }

    /// Reads until the window has `wanted` unconsumed bytes, at most [`WINDOW`].
    fn fill(&mut self, wanted: usize) -> Result<(), WireError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start + wanted > WINDOW {
            self.window.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < wanted {
            match self.stream.read(&mut self.window[self.end..]) {
                Ok(0) => return Err(WireError::Truncated { missing: wanted - (self.end - self.start) }),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
