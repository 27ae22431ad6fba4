//! What the process still says when it ends: which signal, and which thread.
//!
//! The handlers are installed once, by the first host that keeps a record. They allocate nothing and take no lock; they
//! note what they see, put the action before them back and let the same happen again, so that the standard library's
//! word on an overflowing stack, a core dump and the exit status are what they would be without them.
//!
//! A program whose own handlers are to see faults first (as those of a WebAssembly runtime do) installs them after the
//! first host is built, and passes on what is not for them.

use super::{
    layout::{ADDRESSES, Kind},
    memory, output,
};
use crate::registry::{mark::Mark, thread_slot::ThreadSlot};
use libc::{c_int, c_void, sigaction, siginfo_t};
use std::{
    mem::zeroed,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    process,
    ptr::{null, null_mut},
    sync::{
        Once, OnceLock,
        atomic::{AtomicI32, AtomicU32, Ordering},
    },
};

const SIGNALS: [c_int; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];

/// `si_code` of a signal that one thread sent to another: that of `abort` and `raise`.
const SI_TKILL: c_int = -6;
/// `si_code` of a SIGBUS that tells of bad memory which no one has touched yet.
const BUS_MCEERR_AO: c_int = 5;

/// What was to be done about each signal before.
static BEFORE: [OnceLock<sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

/// This process: a child that it forks has the same handlers and the same record, which is not about it.
static PID: AtomicU32 = AtomicU32::new(0);

/// The file that the record is written to when the process ends, or [`NO_FILE`].
static FILE: AtomicI32 = AtomicI32::new(NO_FILE);
const NO_FILE: RawFd = -1;

/// Has the record written to this file when the process ends, for as long as the file stays open.
pub(super) fn write_to(file: Option<BorrowedFd<'_>>) {
    FILE.store(file.map_or(NO_FILE, |file| file.as_raw_fd()), Ordering::Release);
}

/// Whether this process was forked from the one that the record is about.
pub(super) fn is_in_child() -> bool {
    ![0, process::id()].contains(&PID.load(Ordering::Relaxed))
}

/// Watches over the end of this process from now on.
pub(super) fn watch() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        PID.store(process::id(), Ordering::Relaxed);
        for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
            install(signal, before);
        }
        // SAFETY: `left` is a function of this program's, which is never unmapped. Without room for it, an exit in the
        // middle of a call is not told from the end of `main`.
        unsafe { libc::atexit(left) };
    });
}

fn install(signal: c_int, before: &OnceLock<sigaction>) {
    // SAFETY: an all-zero `sigaction` is a valid value of a C struct; both calls get places to read from or write to,
    // or null. The handler is a function of the signature that SA_SIGINFO asks for, and async-signal-safe: see `on_signal`.
    unsafe {
        let mut old: sigaction = zeroed();
        // A program that ignores a signal goes on after it: there is no end to be told of.
        if sigaction(signal, null(), &mut old) != 0 || old.sa_sigaction == libc::SIG_IGN {
            return;
        }
        // Kept before the handler that needs it can run.
        let _ = before.set(old);
        let mut new: sigaction = zeroed();
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_signal;
        new.sa_sigaction = handler as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        sigaction(signal, &new, null_mut());
    }
}

/// Only does what POSIX allows in a signal handler: atomics, `sigaction`, `getpid`, `gettid`, `pwrite`, `raise`,
/// what `output.rs` does; and reads a thread-local without a destructor.
extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO, the kernel passes the information and the context of this signal.
    let (code, sender, address) = unsafe { ((*info).si_code, (*info).si_pid(), address_in(context)) };
    // SAFETY: as above.
    let by_itself = || sender.cast_unsigned() == process::id() && unsafe { is_raising(signal, context) };
    let kind = if code > 0 || (code == SI_TKILL && by_itself()) { Kind::Raised } else { Kind::Sent };
    let of_no_instruction = (signal, code) == (libc::SIGBUS, BUS_MCEERR_AO);
    // An instruction at fault is run again, and is at fault again. What does not come from an instruction, or comes
    // after it, comes no second time by itself: it waits, blocked, until this handler returns.
    let recurs = code > 0 && !matches!(signal, libc::SIGTRAP | libc::SIGSYS) && !of_no_instruction;
    // The kernel leaves a thread at a breakpoint of aarch64's, and after one of x86-64's.
    let is_there = recurs || cfg!(target_arch = "aarch64") && signal == libc::SIGTRAP && code > 0;
    let instruction = match (of_no_instruction, is_there) {
        (true, _) => 0,
        (false, true) => address,
        (false, false) => address.saturating_sub(1),
    };
    note(kind, signal, &[instruction]);
    if !is_in_child() {
        output::give_back();
    }

    let place = SIGNALS.iter().position(|known| *known == signal);
    let Some(before) = place.and_then(|place| BEFORE[place].get()) else { return };
    // SAFETY: `before` is what `sigaction` gave for this signal.
    unsafe {
        sigaction(signal, before, null_mut());
        if !recurs {
            libc::raise(signal);
        }
    }
}

/// Called by `exit`, on the thread that called it.
extern "C" fn left() {
    if PID.load(Ordering::Relaxed) != process::id() {
        return;
    }
    output::give_back();
    // Without a mark, it may be a thread of a plugin's own. That is found out by whoever reads where it came from.
    let kind = ThreadSlot::present_mark().read().map_or(Kind::Left, |_| Kind::Exit);
    note(kind, 0, &callers());
}

/// The addresses to which this thread would return, the innermost first, and zeros.
fn callers() -> [u64; ADDRESSES] {
    let mut addresses = [null_mut::<c_void>(); ADDRESSES];
    // SAFETY: there is room for as many as are asked for.
    unsafe { libc::backtrace(addresses.as_mut_ptr(), ADDRESSES as c_int) };
    addresses.map(|address| address.addr() as u64)
}

/// Notes the end, unless what is known of it already says more.
fn note(kind: Kind, signal: c_int, addresses: &[u64]) {
    if PID.load(Ordering::Relaxed) != process::id() {
        return;
    }
    let Some(cell) = memory::fault() else { return };
    let better = |known: u32| {
        Kind::of(known).filter(|known| *known < Kind::Exit && *known < kind).map(|_| Kind::Claimed as u32)
    };
    if cell.kind.fetch_update(Ordering::AcqRel, Ordering::Relaxed, better).is_ok() {
        let Mark(mark) = if kind == Kind::Sent { Mark::NOBODY } else { ThreadSlot::present_mark() };
        cell.signal.store(signal.cast_unsigned(), Ordering::Relaxed);
        cell.mark.store(mark, Ordering::Relaxed);
        for (cell, address) in cell.addresses.iter().zip(addresses) {
            cell.store(*address, Ordering::Relaxed);
        }
        cell.kind.store(kind as u32, Ordering::Release);
    }
    // Whoever holds the memory writes it down again afterwards, with what comes after this.
    let file = FILE.load(Ordering::Acquire);
    if file != NO_FILE {
        memory::write_to(file);
    }
}

/// The instruction at which the thread is, on machines that are known; otherwise 0.
///
/// # Safety
///
/// 1. `context` is what the kernel passed to a signal handler.
unsafe fn address_in(context: *mut c_void) -> u64 {
    let context = context.cast::<libc::ucontext_t>();
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: it is a `ucontext_t`, by 1.
        unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize].cast_unsigned() }
    }
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: it is a `ucontext_t`, by 1.
        unsafe { (*context).uc_mcontext.pc }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = context;
        0
    }
}

/// Whether the thread has just sent itself this signal, as `raise` and `abort` do: by the system call that it is in. A
/// signal that another thread has sent finds it elsewhere.
///
/// # Safety
///
/// 1. `context` is what the kernel passed to a signal handler.
#[cfg(target_arch = "x86_64")]
unsafe fn is_raising(signal: c_int, context: *mut c_void) -> bool {
    /// How many bytes a set of signals takes for the kernel.
    const SIGNAL_SET_BYTES: c_int = 8;
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: it is a `ucontext_t`, by 1.
    let register = |name: c_int| unsafe { (*context).uc_mcontext.gregs[name as usize] } as c_int;
    // What the kernel answered last, and what it was asked with.
    let result = register(libc::REG_RAX);
    let arguments = [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX].map(register);
    // SAFETY: neither reads or writes memory of this program's.
    let sends = arguments == unsafe { [libc::getpid(), libc::gettid(), signal] };
    // `raise` of glibc before 2.34 blocks all signals meanwhile: this one comes when it restores the mask.
    let unblocks = arguments[0] == libc::SIG_SETMASK && register(libc::REG_R10) == SIGNAL_SET_BYTES;
    result == 0 && (sends || unblocks)
}

/// On other machines that is not known: a signal of this process's own counts as raised.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn is_raising(_: c_int, _: *mut c_void) -> bool {
    true
}
