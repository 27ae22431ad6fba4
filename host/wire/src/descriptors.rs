//! Streams that pass file descriptors: the host sends descriptors, and the shim receives them.
//!
//! The two ends have different types, because the host must accept no descriptor: data from a shim may come from the
//! plugin that runs in the shim.

use super::Timed;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

/// The maximum number of descriptors with one frame.
const AT_ONCE: usize = 4;

/// The host's end.
#[derive(Debug)]
pub struct DescriptorSender {
    stream: Timed,
    outgoing: Vec<OwnedFd>,
}

impl DescriptorSender {
    /// Uses `stream` as the host's end of a connection.
    pub fn new(stream: impl Into<Timed>) -> Self {
        Self { stream: stream.into(), outgoing: Vec::new() }
    }

    /// The connection, to set a deadline.
    pub fn stream_mut(&mut self) -> &mut Timed {
        &mut self.stream
    }

    /// Sends a descriptor with the next frame.
    pub fn attach(&mut self, descriptor: impl Into<OwnedFd>) {
        self.outgoing.push(descriptor.into());
    }
}

impl Read for DescriptorSender {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The kernel closes received descriptors, because this call provides no space for them.
        self.stream.read(buffer)
    }
}

impl Write for DescriptorSender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let outgoing: Vec<_> = self.outgoing.iter().map(OwnedFd::as_fd).collect();
        if !outgoing.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&outgoing)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one frame"));
        }
        let written = self
            .stream
            .writing()
            .and_then(|stream| Ok(sendmsg(stream, slices, &mut ancillary, SendFlags::NOSIGNAL)?));
        if !written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            // After an error, the frame is not sent again, and the next frame must not carry the descriptors of this
            // one.
            self.outgoing.clear();
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The shim's end.
#[derive(Debug)]
pub struct DescriptorReceiver {
    stream: UnixStream,
    incoming: VecDeque<OwnedFd>,
}

impl DescriptorReceiver {
    /// Uses `stream` as the shim's end of a connection.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, incoming: VecDeque::new() }
    }

    /// Removes and returns the oldest received descriptor.
    ///
    /// The kernel delivers a descriptor with the first byte of its frame, or before.
    pub fn take(&mut self) -> Option<OwnedFd> {
        self.incoming.pop_front()
    }
}

impl Read for DescriptorReceiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(buffer)];
        // Processes that the plugin starts must not inherit the descriptors.
        let received = recvmsg(&self.stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.incoming.extend(descriptors);
            }
        }
        Ok(received.bytes)
    }
}

impl Write for DescriptorReceiver {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
