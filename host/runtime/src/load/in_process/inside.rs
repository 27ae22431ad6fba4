//! Finds the threads that run a library's code, such as threads that the plugin has started itself.
//!
//! The threads on which the host runs the library's code have been joined. The host finds other threads by their return
//! addresses: a thread that runs a library's code, or will return to it, has an address of the library's instructions
//! as its instruction pointer or on its stack. The host can inspect a thread only while the thread waits in a system
//! call. When the host inspects threads, no call can enter the library any more. So a thread that was found outside of
//! the library stays outside.
//!
//! A number on a stack may equal an address by chance, or be left over from an earlier thread that had the same stack (see
//! `call_threads.rs`). In that case the library stays mapped, although it could be unmapped.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// A thread that may run a library's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// The thread runs the library's code, or will return to it.
    Thread { tid: u32, name: String },
    /// The thread never waited in a system call, so the host could not inspect it.
    Running { tid: u32, name: String },
    /// The host cannot inspect threads on this system.
    Unknown { reason: String },
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread { tid, name } => write!(f, "the thread `{name}` ({tid}) runs the library's code"),
            Self::Running { tid, name } => {
                write!(
                    f,
                    "the thread `{name}` ({tid}) never waited in a system call, and may run the library's code"
                )
            }
            Self::Unknown { reason } => write!(f, "the host's threads cannot be inspected: {reason}"),
        }
    }
}

/// Waits until no thread except the calling one runs this code. After `patience`, returns an error with a thread that
/// may still run the code.
pub(super) fn wait_until_left(code: &[Range<u64>], patience: Duration) -> Result<(), Inside> {
    if code.is_empty() {
        return Err(Inside::Unknown {
            reason: "the dynamic loader does not provide the addresses of the library's code".into(),
        });
    }
    let began = Instant::now();
    let own = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    let mut elsewhere = BTreeSet::from([own]);
    loop {
        let found = look(code, (own, &mut elsewhere))
            .map_err(|error| Inside::Unknown { reason: error.to_string() })?;
        match found {
            None => return Ok(()),
            Some(inside) if began.elapsed() >= patience => return Err(inside),
            Some(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Inspects each thread that is not in `elsewhere` once, and returns one that may run the code. Adds the threads that
/// are outside of the code to `elsewhere`.
fn look(code: &[Range<u64>], (own, elsewhere): (u32, &mut BTreeSet<u32>)) -> io::Result<Option<Inside>> {
    let tasks = Path::new("/proc/self/task");
    let tids: BTreeSet<u32> = fs::read_dir(tasks)?
        .map(|entry| {
            entry?
                .file_name()
                .to_str()
                .and_then(|tid| tid.parse().ok())
                .ok_or(io::ErrorKind::InvalidData.into())
        })
        .collect::<io::Result<_>>()?;
    if !tids.contains(&own) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "/proc does not show this process"));
    }
    let mut found = None;
    for tid in tids {
        if elsewhere.contains(&tid) {
            continue;
        }
        let task = tasks.join(tid.to_string());
        let name = || fs::read_to_string(task.join("comm")).unwrap_or_default().trim_end().to_owned();
        match place_of(&task) {
            Ok(None) => found = Some(Inside::Running { tid, name: name() }),
            Ok(Some(at)) if leads_to(at, code)? => found = Some(Inside::Thread { tid, name: name() }),
            Ok(Some(_)) => drop(elsewhere.insert(tid)),
            Err(error) if has_ended(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The position of a waiting thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    instruction: u64,
    stack: u64,
}

/// The position of a thread; `None` if the thread is running.
fn place_of(task: &Path) -> io::Result<Option<At>> {
    read_place(&fs::read_to_string(task.join("syscall"))?)
}

/// Parses `/proc/<pid>/task/<tid>/syscall`: either `running`, or numbers, the last two of which are the stack
/// pointer and the instruction pointer.
fn read_place(text: &str) -> io::Result<Option<At>> {
    if text.trim() == "running" {
        return Ok(None);
    }
    let mut numbers = text.split_whitespace().rev().map(|word| {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        u64::from_str_radix(digits, 16).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    });
    let mut next = || numbers.next().unwrap_or(Err(io::ErrorKind::InvalidData.into()));
    let (instruction, stack) = (next()?, next()?);
    Ok(Some(At { instruction, stack }))
}

/// Whether a thread at this position is in this code, or will return to it.
fn leads_to(at: At, code: &[Range<u64>]) -> io::Result<bool> {
    let is_code = |address: u64| code.iter().any(|range| range.contains(&address));
    if is_code(at.instruction) {
        return Ok(true);
    }
    let maps = fs::read_to_string("/proc/self/maps")?;
    let Some(end) = maps.lines().find_map(|line| end_of_mapping(line, at.stack)) else {
        // The thread's stack is unmapped, so the thread has exited.
        return Ok(false);
    };
    // The stack is read through a file, not through pointers, because the stack is unmapped if the thread exits.
    let memory = File::open("/proc/self/mem")?;
    let mut bytes = [0; 4096];
    let mut place = at.stack & !7;
    while place < end {
        let length = usize::try_from(end - place).map_or(bytes.len(), |left| left.min(bytes.len()));
        match memory.read_exact_at(&mut bytes[..length], place) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(false),
            Err(error) => return Err(error),
        }
        let (words, _) = bytes[..length].as_chunks();
        if words.iter().any(|word| is_code(u64::from_ne_bytes(*word))) {
            return Ok(true);
        }
        place += length as u64;
    }
    Ok(false)
}

/// The end of the mapping that a line of `/proc/<pid>/maps` describes, if the address is in it.
fn end_of_mapping(line: &str, address: u64) -> Option<u64> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let range = number(start)?..number(end)?;
    range.contains(&address).then_some(range.end)
}

fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Waits until the sender of `released` is dropped. No other thread of the tests runs this code.
    #[inline(never)]
    fn wait(released: &mpsc::Receiver<()>) -> usize {
        let error = released.recv().unwrap_err();
        std::hint::black_box(error.to_string()).len()
    }

    #[test]
    fn a_thread_is_reported_until_it_has_returned_from_the_code() {
        let start = wait as *const () as u64;
        // The approximate addresses of `wait`.
        let code = start..start + 256;
        let code = std::slice::from_ref(&code);
        let (release, released) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        let waiting = thread::Builder::new().name("waits-inside".into()).spawn(move || {
            begin.send(()).unwrap();
            wait(&released)
        });
        begun.recv().unwrap();
        let waiting = waiting.unwrap();
        // The thread may not have begun to wait yet.
        loop {
            match wait_until_left(code, Duration::ZERO) {
                Err(Inside::Thread { name, .. }) if name == "waits-inside" => break,
                // Another thread may be in a function next to `wait`.
                other => assert!(!matches!(other, Err(Inside::Unknown { .. })), "{other:?}"),
            }
        }
        drop(release);
        waiting.join().unwrap();
        assert_eq!(wait_until_left(code, Duration::from_secs(600)), Ok(()));
    }

    #[test]
    fn a_library_without_known_code_is_reported_as_unknown() {
        assert!(matches!(wait_until_left(&[], Duration::ZERO), Err(Inside::Unknown { .. })));
    }

    #[test]
    fn read_place_parses_proc_syscall_and_rejects_other_text() {
        assert_eq!(read_place("running\n").unwrap(), None);
        let at = At { instruction: 0x7f12, stack: 0x7ffe };
        assert_eq!(read_place("202 0x1 0x80 0x0 0x0 0x0 0x0 0x7ffe 0x7f12\n").unwrap(), Some(at));
        assert_eq!(read_place("-1 0x7ffe 0x7f12\n").unwrap(), Some(at));
        for wrong in ["", "\n", "0x7f12", "x y"] {
            read_place(wrong).unwrap_err();
        }
    }
}
