//! Reads the crash record of a crashed process: for the parent, which restarts the program, and for tests.

pub use crate::registry::crash_record::{Attribution, Crash, End, Suspect, note_end, pass_on, read};
