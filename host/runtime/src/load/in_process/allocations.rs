//! Counts allocations, for benchmarks: those of this program, and those of the libraries in it.
//!
//! A plugin has its own Rust allocator, so a `GlobalAlloc` of the program would not count what the plugin allocates.
//! Both allocators call the functions of the C library in the end, and each library calls them through its own table of
//! addresses, which the loader has filled when it relocated the library. [`count_allocations`] replaces these addresses
//! with the addresses of functions that count, and then call the original function. A program that does not call
//! `count_allocations` is not affected.

use libc::{Elf64_Phdr, Elf64_Rela, Elf64_Sym, c_char, c_int, c_void, dl_phdr_info, size_t};
use parking_lot::Mutex;
use std::{
    cell::Cell,
    ffi::CStr,
    io, mem,
    ops::Range,
    ptr, slice,
    sync::atomic::{AtomicUsize, Ordering},
};

thread_local! {
    /// The allocations of this thread. The value has no destructor, so a thread can count until it exits.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// A function of the C library, and the function that replaces it.
struct Counted {
    name: &'static CStr,
    counting: usize,
    original: &'static AtomicUsize,
}

macro_rules! counted {
    ($($original:ident: $text:literal => $name:ident($($argument:ident: $ty:ty),*) -> $returns:ty;)*) => {
        $(
            static $original: AtomicUsize = AtomicUsize::new(0);

            /// # Safety
            ///
            /// 1. The obligations of the original function.
            unsafe extern "C" fn $name($($argument: $ty),*) -> $returns {
                COUNT.set(COUNT.get() + 1);
                let original = ptr::with_exposed_provenance::<()>($original.load(Ordering::Relaxed));
                // SAFETY: `replace` writes the address of this function only over an address that equals `$original`:
                // that of the function which `dlsym` has found under the name `$text`, and which has this signature.
                let original = unsafe {
                    mem::transmute::<*const (), unsafe extern "C" fn($($ty),*) -> $returns>(original)
                };
                // SAFETY: 1 is the caller's.
                unsafe { original($($argument),*) }
            }
        )*

        fn all_counted() -> Vec<Counted> {
            vec![$(Counted {
                name: $text,
                counting: ($name as *const ()).expose_provenance(),
                original: &$original,
            }),*]
        }
    };
}

counted! {
    MALLOC: c"malloc" => counted_malloc(size: size_t) -> *mut c_void;
    CALLOC: c"calloc" => counted_calloc(count: size_t, size: size_t) -> *mut c_void;
    REALLOC: c"realloc" => counted_realloc(old: *mut c_void, size: size_t) -> *mut c_void;
    POSIX_MEMALIGN: c"posix_memalign" =>
        counted_posix_memalign(result: *mut *mut c_void, align: size_t, size: size_t) -> c_int;
    ALIGNED_ALLOC: c"aligned_alloc" => counted_aligned_alloc(align: size_t, size: size_t) -> *mut c_void;
}

/// The kinds of relocations that write the address of a function.
const KINDS: &[u64] = if cfg!(target_arch = "x86_64") {
    // R_X86_64_64, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT
    &[1, 6, 7]
} else if cfg!(target_arch = "aarch64") {
    // R_AARCH64_ABS64, R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT
    &[257, 1025, 1026]
} else {
    &[]
};

/// Begins to count the allocations of this program and of all libraries that are open now. A library's calls of a
/// function are not counted if the loader has not looked the function up for this library yet, as in a lazily bound
/// library before its first call. Counting does not end. Each allocation takes about a nanosecond longer from now on.
///
/// # Errors
///
/// * The processor is neither x86-64 nor AArch64
/// * The tables of addresses cannot be changed
/// * Another thread has closed a library meanwhile. Some libraries may be counted already; another attempt can succeed
pub fn count_allocations() -> io::Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock();
    if KINDS.is_empty() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let counted = all_counted();
    for function in &counted {
        // SAFETY: the name ends with NUL.
        let original = unsafe { libc::dlsym(libc::RTLD_DEFAULT, function.name.as_ptr()) };
        function.original.store(original.expose_provenance(), Ordering::Relaxed);
    }
    let mut listed = Listed::default();
    // SAFETY: `list` has the required signature, and gets a pointer to a value that outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(list), (&raw mut listed).cast()) };
    wait_for_the_loader();
    let page = rustix::param::page_size() as u64;
    let mut redirection = Redirection { counted, page, listed, result: Ok(()) };
    // SAFETY: `redirect` has the required signature, and gets a pointer to a value that outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(redirect), (&raw mut redirection).cast()) };
    redirection.result
}

/// Waits until each library that another thread is opening now is open. The loader runs one `dlopen` at a time.
fn wait_for_the_loader() {
    // SAFETY: this opens the program itself, which runs no constructor.
    let program = unsafe { libc::dlopen(ptr::null(), libc::RTLD_NOW) };
    if !program.is_null() {
        // SAFETY: the handle was just returned, and is not used again.
        unsafe { libc::dlclose(program) };
    }
}

/// The libraries that the loader has listed.
#[derive(Default)]
struct Listed {
    bases: Vec<u64>,
    /// How many libraries the process has closed so far.
    closed: u64,
}

/// Adds one library to the list. A result other than 0 ends the iteration.
unsafe extern "C" fn list(info: *mut dl_phdr_info, _: size_t, data: *mut c_void) -> c_int {
    // SAFETY: both pointers are valid for this call: the first is the loader's, and the second is the value that
    // `count_allocations` passed. No other reference to this value exists meanwhile.
    let (info, listed) = unsafe { (&*info, &mut *data.cast::<Listed>()) };
    listed.bases.push(info.dlpi_addr);
    listed.closed = info.dlpi_subs;
    0
}

/// How often this thread has allocated since [`count_allocations`]: calls of `malloc`, `calloc`, `realloc`,
/// `posix_memalign` and `aligned_alloc`.
pub fn allocations_of_thread() -> u64 {
    COUNT.get()
}

struct Redirection {
    counted: Vec<Counted>,
    page: u64,
    listed: Listed,
    result: io::Result<()>,
}

/// Redirects the functions of one library. A result other than 0 ends the iteration.
unsafe extern "C" fn redirect(info: *mut dl_phdr_info, _: size_t, data: *mut c_void) -> c_int {
    // SAFETY: both pointers are valid for this call: the first is the loader's, and the second is the value that
    // `count_allocations` passed. No other reference to this value exists meanwhile.
    let (info, redirection) = unsafe { (&*info, &mut *data.cast::<Redirection>()) };
    if info.dlpi_subs != redirection.listed.closed {
        redirection.result =
            Err(io::Error::other("another thread has closed a library meanwhile: try again"));
        return 1;
    }
    if !redirection.listed.bases.contains(&info.dlpi_addr) {
        return 0;
    }
    // SAFETY: the loader's own table has `dlpi_phnum` program headers.
    let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let library = Loaded { base: info.dlpi_addr, headers };
    // SAFETY: 1: the loader lists the library, and unmaps none during the iteration. 2: the library was listed before
    // `wait_for_the_loader`, and no library was closed since, so it is the same one. The `dlopen` that has listed it,
    // which also relocates it, has ended.
    redirection.result = unsafe { library.redirect(&redirection.counted, redirection.page) };
    redirection.result.is_err().into()
}

/// A library, or the program, in memory.
struct Loaded<'a> {
    base: u64,
    headers: &'a [Elf64_Phdr],
}

/// An entry of the dynamic section.
#[repr(C)]
struct Dynamic {
    tag: i64,
    value: u64,
}

const DT_NULL: i64 = 0;
const DT_PLTRELSZ: i64 = 2;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_RELA: i64 = 7;
const DT_RELASZ: i64 = 8;
const DT_JMPREL: i64 = 23;

impl Loaded<'_> {
    /// # Safety
    ///
    /// 1. The library stays mapped during the call.
    /// 2. The loader has relocated it.
    unsafe fn redirect(&self, counted: &[Counted], page: u64) -> io::Result<()> {
        let Some(dynamic) = self.headers.iter().find(|it| it.p_type == libc::PT_DYNAMIC) else {
            return Ok(());
        };
        let mut entry = at::<Dynamic>(self.base + dynamic.p_vaddr);
        let mut values = [0; DT_JMPREL as usize + 1];
        // SAFETY: by 1 and 2, the loader has read this section, which ends with `DT_NULL`.
        while let Dynamic { tag, value } = unsafe { &*entry }
            && *tag != DT_NULL
        {
            if let Some(place) = usize::try_from(*tag).ok().and_then(|tag| values.get_mut(tag)) {
                *place = *value;
            }
            // SAFETY: as above: this entry is not the last one.
            entry = unsafe { entry.add(1) };
        }
        let value = |tag: i64| values[tag as usize];
        let (symbols, names) = (value(DT_SYMTAB), value(DT_STRTAB));
        // In the library that the kernel itself maps (the vDSO), the addresses are not relocated.
        if !self.contains(symbols) || !self.contains(names) {
            return Ok(());
        }
        for (first, bytes) in [(value(DT_RELA), value(DT_RELASZ)), (value(DT_JMPREL), value(DT_PLTRELSZ))] {
            if !self.contains(first) {
                continue;
            }
            let count = bytes as usize / size_of::<Elf64_Rela>();
            // SAFETY: by 1 and 2, the loader has read this table, which has this size.
            for relocation in unsafe { slice::from_raw_parts(at::<Elf64_Rela>(first), count) } {
                let symbol = relocation.r_info >> 32;
                if symbol == 0
                    || relocation.r_addend != 0
                    || !KINDS.contains(&(relocation.r_info & 0xffff_ffff))
                {
                    continue;
                }
                // SAFETY: the loader looks up the symbol by this index, and by the name at this offset, when it
                // relocates the library or at the first call. So both are valid.
                let name = unsafe {
                    let symbol = &*at::<Elf64_Sym>(symbols).add(symbol as usize);
                    CStr::from_ptr(at::<c_char>(names + u64::from(symbol.st_name)))
                };
                if let Some(function) = counted.iter().find(|function| function.name == name) {
                    // SAFETY: 1 and 2 are the caller's. 3: the loader has written an address there.
                    unsafe { self.replace(self.base + relocation.r_offset, function, page) }?;
                }
            }
        }
        Ok(())
    }

    /// Replaces the address at `place` if it is that of the original function. A library can also have its own
    /// allocator with functions of the same names, whose addresses are not replaced.
    ///
    /// # Safety
    ///
    /// 1. and 2. of [`Loaded::redirect`]
    /// 3. A relocation of the library, for the symbol with the name of this function, writes an address to `place`.
    unsafe fn replace(&self, place: u64, function: &Counted, page: u64) -> io::Result<()> {
        if !self.is_writable(place) || !place.is_multiple_of(align_of::<usize>() as u64) {
            return Ok(());
        }
        // SAFETY: by 3, the place is inside the library, and by 1, the library is mapped. The place is aligned. Code
        // reads it as a whole. Only the loader writes to it, as a whole, too.
        let slot = unsafe { &*at::<AtomicUsize>(place) };
        let original = function.original.load(Ordering::Relaxed);
        if original == 0 || slot.load(Ordering::Relaxed) != original {
            return Ok(());
        }
        let first = place & !(page - 1);
        let protect = |protection| {
            // SAFETY: the page is one that the loader has made read-only after the relocation. References may cover
            // other data in it, but only its protection changes: it becomes writable, and then read-only again. Only
            // the atomic is written to.
            match unsafe { libc::mprotect(at::<c_void>(first).cast_mut(), page as usize, protection) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        let is_sealed = self.sealed(page).any(|pages| pages.contains(&place));
        if is_sealed {
            protect(libc::PROT_READ | libc::PROT_WRITE)?;
        }
        slot.store(function.counting, Ordering::Relaxed);
        if is_sealed { protect(libc::PROT_READ) } else { Ok(()) }
    }

    fn segments(&self, kind: u32) -> impl Iterator<Item = (&Elf64_Phdr, Range<u64>)> {
        self.headers.iter().filter(move |it| it.p_type == kind).map(|it| {
            let start = self.base.saturating_add(it.p_vaddr);
            (it, start..start.saturating_add(it.p_memsz))
        })
    }

    fn contains(&self, address: u64) -> bool {
        self.segments(libc::PT_LOAD).any(|(_, range)| range.contains(&address))
    }

    fn is_writable(&self, address: u64) -> bool {
        let mut writable = self.segments(libc::PT_LOAD).filter(|(it, _)| it.p_flags & libc::PF_W != 0);
        writable.any(|(_, range)| range.contains(&address))
    }

    /// The pages that the loader has made read-only after it has relocated the library.
    fn sealed(&self, page: u64) -> impl Iterator<Item = Range<u64>> {
        let whole = move |address| address & !(page - 1);
        self.segments(libc::PT_GNU_RELRO).map(move |(_, range)| whole(range.start)..whole(range.end))
    }
}

/// A pointer to memory that the loader has mapped.
fn at<T>(address: u64) -> *const T {
    ptr::with_exposed_provenance(address as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{hint::black_box, thread};

    #[test]
    fn each_allocation_of_the_thread_is_counted_once() {
        #[repr(align(64))]
        struct Aligned(#[expect(dead_code, reason = "the value is only allocated")] [u8; 64]);

        for _ in 0..2 {
            // It fails if another test closes a library meanwhile.
            while count_allocations().is_err() {}
        }
        let counted = |work: fn()| {
            let before = allocations_of_thread();
            work();
            allocations_of_thread() - before
        };
        assert_eq!(counted(|| {}), 0);
        assert_eq!(counted(|| drop(black_box(Box::new(1)))), 1);
        assert_eq!(counted(|| drop(black_box(vec![0_u8; 100]))), 1, "zeroed");
        assert_eq!(counted(|| drop(black_box(Box::new(Aligned([1; 64]))))), 1, "aligned");
        let grown = || {
            let mut list = black_box(Vec::<u8>::with_capacity(10));
            list.extend_from_slice(&[1; 10]);
            black_box(&mut list).reserve_exact(1_000);
        };
        assert_eq!(counted(grown), 2, "grown");
        let elsewhere = || {
            let thread = thread::spawn(|| (0..1_000).for_each(|_| drop(black_box(Box::new(1)))));
            thread.join().unwrap();
        };
        assert!(counted(elsewhere) < 1_000, "another thread");
    }
}
