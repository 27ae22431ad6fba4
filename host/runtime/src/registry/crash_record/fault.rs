//! Records in the crash record how this process terminates: the signal, and the thread that caused it.
//!
//! The first host that keeps a crash record installs the signal handlers, once. They allocate nothing and take no lock.
//! They record what they see, restore the previous action and let the same signal happen again. So the handlers change
//! neither the exit status, nor a core dump, nor the standard library's message about a stack overflow.
//!
//! A program may have handlers that must get faults first, such as those of a WebAssembly runtime. Such a program must
//! install its handlers after its first host is built, and its handlers must pass on the faults that they do not
//! handle.

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

/// The signals that terminate a process because of a fault in its own code.
pub(crate) const SIGNALS: [c_int; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];

/// `si_code` of a signal that was sent to one particular thread. `abort` and `raise` send one to their own thread.
const SI_TKILL: c_int = -6;
/// `si_code` of a SIGBUS that reports bad memory which no thread has accessed yet.
const BUS_MCEERR_AO: c_int = 5;

/// The previous action of each signal.
static BEFORE: [OnceLock<sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

/// The pid of the process that the crash record describes, or 0. A forked child inherits the handlers and the record,
/// but the record does not describe the child.
static PID: AtomicU32 = AtomicU32::new(0);

/// The file to which the crash record is written when the process terminates, or [`NO_FILE`].
static FILE: AtomicI32 = AtomicI32::new(NO_FILE);
const NO_FILE: RawFd = -1;

/// Sets the file to which the crash record is written when the process terminates. The file must stay open until the
/// next call of this function.
pub(super) fn write_to(file: Option<BorrowedFd<'_>>) {
    FILE.store(file.map_or(NO_FILE, |file| file.as_raw_fd()), Ordering::Release);
}

/// Whether this process was forked from the process that the crash record describes.
pub(super) fn is_in_child() -> bool {
    ![0, process::id()].contains(&PID.load(Ordering::Relaxed))
}

/// Installs the handlers that record how this process terminates.
pub(super) fn install_handlers() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        PID.store(process::id(), Ordering::Relaxed);
        for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
            install(signal, before);
        }
        // SAFETY: `left` is a function of this program, which is never unmapped. If the C library has no memory to
        // register it, an exit during a call cannot be distinguished from a return from `main`.
        unsafe { libc::atexit(left) };
    });
}

fn install(signal: c_int, before: &OnceLock<sigaction>) {
    // SAFETY: an all-zero `sigaction` is a valid value of a C struct; both calls get places to read from or write
    // to, or null. The handler has the signature that SA_SIGINFO requires, and is async-signal-safe: see `on_signal`.
    unsafe {
        let mut old: sigaction = zeroed();
        // A program that ignores the signal continues after it, so there is nothing to record.
        if sigaction(signal, null(), &mut old) != 0 || old.sa_sigaction == libc::SIG_IGN {
            return;
        }
        // The previous action is stored before the handler, which needs it, can run.
        let _ = before.set(old);
        let mut new: sigaction = zeroed();
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_signal;
        new.sa_sigaction = handler as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        sigaction(signal, &new, null_mut());
    }
}

/// Uses only what is safe in a signal handler: atomics, `sigaction`, `getpid`, `gettid`, `pwrite`, `raise`, the system
/// calls of `output.rs`, and a thread-local without a destructor.
extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO, the kernel passes the information and the context of this signal.
    let (code, sender, address) = unsafe { ((*info).si_code, (*info).si_pid(), address_in(context)) };
    // SAFETY: as above.
    let by_itself = || sender.cast_unsigned() == process::id() && unsafe { is_raising(signal, context) };
    let kind = if code > 0 || (code == SI_TKILL && by_itself()) { Kind::Raised } else { Kind::Sent };
    let of_no_instruction = (signal, code) == (libc::SIGBUS, BUS_MCEERR_AO);
    // When this handler returns, a faulting instruction runs again and raises the same signal. Other signals do not
    // recur: no instruction raised them, or the kernel reports them after the instruction. The handler raises such a
    // signal again, which stays blocked until the handler returns.
    let recurs = code > 0 && !matches!(signal, libc::SIGTRAP | libc::SIGSYS) && !of_no_instruction;
    // At a breakpoint, the program counter is at the instruction on aarch64, and after the instruction on x86-64.
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
    // SAFETY: `before` is the action that `sigaction` returned for this signal.
    unsafe {
        sigaction(signal, before, null_mut());
        if !recurs {
            libc::raise(signal);
        }
    }
}

/// The `atexit` handler: `exit` calls it on the thread that called `exit`.
extern "C" fn left() {
    if PID.load(Ordering::Relaxed) != process::id() {
        return;
    }
    output::give_back();
    // A plugin may have started this thread itself; such a thread has no mark. The reader of the record recognizes it
    // by the return addresses.
    let kind = ThreadSlot::present_mark().read().map_or(Kind::Left, |_| Kind::Exit);
    note(kind, 0, &callers());
}

/// The return addresses of this thread, the innermost first, then zeros.
fn callers() -> [u64; ADDRESSES] {
    let mut addresses = [null_mut::<c_void>(); ADDRESSES];
    // SAFETY: there is room for as many addresses as are requested.
    unsafe { libc::backtrace(addresses.as_mut_ptr(), ADDRESSES as c_int) };
    addresses.map(|address| address.addr() as u64)
}

/// Records how the process terminates, unless the record already has a more precise cause.
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
    // This write matters only if the parent and the recorder end, too. Otherwise, one of them writes the file again after
    // this process has terminated, with everything that was recorded until then.
    let file = FILE.load(Ordering::Acquire);
    if file != NO_FILE {
        memory::write_to(file);
    }
}

/// The address of the thread's current instruction, on supported machines; otherwise 0.
///
/// # Safety
///
/// 1. `context` is the pointer that the kernel passed to a signal handler.
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

/// Whether the thread has just sent itself this signal, as `raise` and `abort` do. If so, the registers are those of
/// the system call that sends signals.
///
/// # Safety
///
/// 1. `context` is the pointer that the kernel passed to a signal handler.
#[cfg(target_arch = "x86_64")]
unsafe fn is_raising(signal: c_int, context: *mut c_void) -> bool {
    /// The size of a signal set for the kernel, in bytes.
    const SIGNAL_SET_BYTES: c_int = 8;
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: it is a `ucontext_t`, by 1.
    let register = |name: c_int| unsafe { (*context).uc_mcontext.gregs[name as usize] } as c_int;
    // The result of the last system call, and its arguments.
    let result = register(libc::REG_RAX);
    let arguments = [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX].map(register);
    // SAFETY: neither call reads or writes memory of this program.
    let sends = arguments == unsafe { [libc::getpid(), libc::gettid(), signal] };
    // `raise` of glibc before 2.34 blocks all signals while it runs: the signal arrives when `raise` restores the mask.
    let unblocks = arguments[0] == libc::SIG_SETMASK && register(libc::REG_R10) == SIGNAL_SET_BYTES;
    result == 0 && (sends || unblocks)
}

/// On other machines, the cause is unknown: a signal that this process sent itself counts as raised.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn is_raising(_: c_int, _: *mut c_void) -> bool {
    true
}
