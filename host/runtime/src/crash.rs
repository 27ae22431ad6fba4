//! Reads the crash record of a process that has crashed: for a parent that starts it again, and for tests.

pub use crate::registry::crash_record::{Blame, Crash, End, Suspect, note_end, pass_on, read};
