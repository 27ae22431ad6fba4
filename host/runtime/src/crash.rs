//! What a process that crashed has left, for whoever starts it again, and for tests.

pub use crate::registry::crash_record::{Blame, Crash, End, Suspect, note_end, pass_on, read};
