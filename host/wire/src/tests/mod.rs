//! Tests the protocol without a process, with frames in memory.

mod client;
mod corpus;
mod frames;
mod messages;

use super::*;
use std::io::{self, Cursor, Read, Write};

/// A stream with two separate directions: written data does not come back.
#[derive(Debug, Default)]
struct Memory {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
    /// The maximum number of bytes of one read or write; 0 for no limit.
    at_once: usize,
}

impl Memory {
    fn of(input: impl Into<Vec<u8>>) -> Self {
        Self { input: Cursor::new(input.into()), ..Self::default() }
    }

    fn bound(&self, len: usize) -> usize {
        if self.at_once == 0 { len } else { len.min(self.at_once) }
    }
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.bound(buffer.len());
        self.input.read(&mut buffer[..len])
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.bound(bytes.len());
        self.output.write(&bytes[..len])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of a frame on the wire.
fn frame(kind: u8, id: u64, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(9 + payload.len()).unwrap();
    [&len.to_le_bytes()[..], &[kind], &id.to_le_bytes(), payload].concat()
}
