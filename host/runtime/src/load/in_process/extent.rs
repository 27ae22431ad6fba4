//! Finds the addresses of a loaded library.

use libc::{c_int, c_void, dl_phdr_info, size_t};
use std::{
    ffi::{CStr, OsStr},
    ops::Range,
    os::unix::ffi::OsStrExt,
    path::Path,
    slice,
};

/// The range of addresses from the first to the last byte of an open library; `None` if the library is not open.
pub(super) fn extent(path: &Path) -> Option<Range<u64>> {
    find(&|name| name == path.as_os_str().as_bytes())?.extent
}

/// The ranges of addresses that contain the instructions of an open library; empty if it is not open.
pub(super) fn code(path: &Path) -> Vec<Range<u64>> {
    find(&|name| name == path.as_os_str().as_bytes()).map_or_else(Vec::new, |found| found.code)
}

/// Whether a library whose file has this name is open, in whatever folder.
pub(super) fn is_open(file_name: &OsStr) -> bool {
    find(&|path| Path::new(OsStr::from_bytes(path)).file_name() == Some(file_name)).is_some()
}

/// An open library.
#[derive(Default)]
struct Found {
    extent: Option<Range<u64>>,
    code: Vec<Range<u64>>,
}

/// Finds the first open library for which `is_it` returns `true`. `is_it` gets the path by which the loader knows a
/// library.
fn find(is_it: &dyn Fn(&[u8]) -> bool) -> Option<Found> {
    let mut search = Search { is_it, found: None };
    // SAFETY: `look` has the required signature, and gets a pointer to the search, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}

struct Search<'a> {
    is_it: &'a dyn Fn(&[u8]) -> bool,
    found: Option<Found>,
}

/// Checks one library. A result other than 0 ends the search.
unsafe extern "C" fn look(info: *mut dl_phdr_info, _: size_t, search: *mut c_void) -> c_int {
    // SAFETY: both pointers are valid for this call: the first is the loader's, and the second is the search that
    // `find` passed. No other reference to the search exists meanwhile.
    let (info, search) = unsafe { (&*info, &mut *search.cast::<Search<'_>>()) };
    // SAFETY: the loader gives a NUL-terminated name.
    if info.dlpi_name.is_null() || !(search.is_it)(unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes()) {
        return 0;
    }
    // SAFETY: the loader's own table has `dlpi_phnum` program headers.
    let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let range = |it: &libc::Elf64_Phdr| {
        let start = info.dlpi_addr.saturating_add(it.p_vaddr);
        start..start.saturating_add(it.p_memsz)
    };
    let runs = loaded.clone().filter(|header| header.p_flags & libc::PF_X != 0);
    search.found = Some(Found {
        code: runs.map(range).collect(),
        extent: loaded.map(range).reduce(|all, one| all.start.min(one.start)..all.end.max(one.end)),
    });
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_library_that_is_not_open_has_no_extent() {
        assert_eq!(extent(Path::new("/nowhere/at/all.so")), None);
    }

    #[test]
    fn is_open_finds_a_library_by_the_name_of_its_file() {
        assert!(is_open(path_of_c_library().file_name().unwrap()));
        assert!(!is_open(OsStr::new("all.so")));
    }

    #[test]
    fn the_code_of_a_library_is_a_part_of_its_extent() {
        let path = &path_of_c_library();
        let (extent, code) = (extent(path).unwrap(), code(path));
        assert!(code.iter().any(|it| it.contains(&(libc::getpid as *const () as u64))), "{code:x?}");
        assert!(
            code.iter().all(|it| it.start >= extent.start && it.end <= extent.end),
            "{code:x?} {extent:x?}"
        );
        assert!(code.iter().map(|it| it.end - it.start).sum::<u64>() < extent.end - extent.start);
    }

    #[test]
    fn the_extent_of_the_c_library_contains_its_functions() {
        let function = libc::getpid as *const () as u64;
        let extent = extent(&path_of_c_library()).unwrap();
        assert!(extent.contains(&function), "{extent:x?} {function:x}");
    }

    /// The path under which the loader knows the C library.
    fn path_of_c_library() -> PathBuf {
        let function = libc::getpid as *const () as u64;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path = maps.lines().find_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let number = |hex| u64::from_str_radix(hex, 16).ok();
            (number(start)?..number(end)?).contains(&function).then_some(())?;
            rest.find('/').map(|at| &rest[at..])
        });
        let path = path.unwrap();
        // `/proc` shows the path with all symbolic links resolved. The loader does not resolve them, and `/lib` may be
        // a symbolic link to `/usr/lib`.
        let names = [path, path.strip_prefix("/usr").unwrap_or(path)].map(PathBuf::from);
        names.into_iter().find(|name| extent(name).is_some()).unwrap()
    }
}
