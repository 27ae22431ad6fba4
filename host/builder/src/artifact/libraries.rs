//! The libraries that a shared object needs: where the dynamic loader will search for them, and which of them belong to
//! the object.
//!
//! The search follows ld.so(8), with these differences:
//!
//! * It searches the folders that `/etc/ld.so.conf` and the files in `/etc/ld.so.conf.d` name, instead of reading the
//!   loader's cache.
//! * It prefers the run path for the shared libstd.
//! * It does not expand `$LIB` and `$PLATFORM`, does not search the subfolders `glibc-hwcaps`, and does not use the
//!   `DT_RPATH` of the program.
//!
//! So this search may find a library that the loader does not find, and may miss a library that the loader finds.
//!
//! The *run path* of an object is the folders in its `DT_RUNPATH`, or, if it has none, in its `DT_RPATH` and those that
//! it inherits from the objects through which it is needed.
//!
//! A library is the object's **own** if the loader finds it by the object's run path, outside of the system's folders.
//! Such a library comes with the plugin, changes with it, and is a part of the artifact. A library that a process can
//! have only once, or that a plugin must share with its host, is never the object's own. One of these is the shared
//! libstd, which belongs to the toolchain.

use super::{
    elf::Dynamic,
    inspect::{Lookup, Needed},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    env,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Folders below which no library belongs to a plugin. The last two are the stores of Nix and Guix, which are
/// immutable.
const SYSTEM_DIRS: [&str; 6] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store", "/gnu/store"];

/// The beginnings of the names of some libraries: a process can have such a library only once, or a plugin must share it
/// with its host. Such a library is never the plugin's own, wherever its file is.
const RUNTIME: [&str; 10] = [
    "libc.so.",
    "libm.so.",
    "libdl.so.",
    "librt.so.",
    "libpthread.so.",
    "libutil.so.",
    "libresolv.so.",
    "libgcc_s.so.",
    "libstdc++.so.",
    "ld-linux",
];

/// Whether `name` is the file name of Rust's shared standard library.
pub(super) fn is_std(name: &str) -> bool {
    name.starts_with("libstd-") && name.ends_with(".so")
}

/// The libraries that an object needs, and those of them that belong to it.
#[derive(Debug, Default)]
pub(super) struct Libraries {
    /// The libraries that the object needs directly, in the order of its `DT_NEEDED` entries.
    pub(super) needed: Vec<Needed>,
    /// The libraries that belong to the object, in the order in which the loader opens them (breadth first): the name
    /// by which a library is needed, and its path. A library that is needed under several names is listed once for each
    /// name.
    pub(super) own: Vec<(String, PathBuf)>,
    /// The missing libraries that the libraries in `own` need. Each entry has the path of the library in `own`, and the
    /// missing library with the folders that were searched.
    pub(super) missing: Vec<(PathBuf, Needed)>,
    /// The name and path of the shared standard library, if the object or a library in `own` needs one.
    pub(super) std: Option<(String, PathBuf)>,
    /// The paths outside of the system's folders that the loader would try because of the run paths, whether they exist
    /// or not.
    pub(super) places: BTreeSet<PathBuf>,
}

/// The paths of libraries that need no search, such as the copies in the store, by the name by which a library is
/// needed.
pub(super) type Known = BTreeMap<String, PathBuf>;

impl Libraries {
    /// Finds the libraries that the object at `path` needs, first in `known` and then on disk.
    pub(super) fn of(path: &Path, dynamic: &Dynamic, known: &Known) -> Self {
        let mut found = Self::default();
        let mut names = Known::new();
        let system = System::current();
        let search = Search::new(path, dynamic, (&[], &system));
        found.needed = found.take(&search, dynamic, (known, &mut names));
        // For each library in `found.own`, at the same index: the RPATHs of the objects through which it was first
        // needed.
        let mut inherited = vec![search.rpath; found.own.len()];
        let mut next = 0;
        while let Some((_, path)) = found.own.get(next).cloned() {
            let rpath = &inherited[next];
            next += 1;
            // An unreadable library is skipped here. Its inspection reports the error.
            let Ok(dynamic) = read(&path) else { continue };
            if let Some(soname) = &dynamic.soname {
                names.entry(soname.clone()).or_insert_with(|| path.clone());
            }
            let search = Search::new(&path, &dynamic, (rpath, &system));
            let needed = found.take(&search, &dynamic, (known, &mut names));
            let missing = needed.into_iter().filter(|it| matches!(it.lookup, Lookup::Missing(_)));
            found.missing.extend(missing.map(|needed| (path.clone(), needed)));
            inherited.resize(found.own.len(), search.rpath);
        }
        found
    }

    /// Searches for the libraries that one object needs, and adds those that belong to it to `own`.
    fn take(&mut self, search: &Search, dynamic: &Dynamic, of: (&Known, &mut Known)) -> Vec<Needed> {
        let (known, names) = of;
        let mut needed = Vec::new();
        for name in &dynamic.needed {
            let is_runtime = RUNTIME.iter().any(|runtime| name.starts_with(runtime));
            let (lookup, is_own) = match names.get(name) {
                Some(path) => (Lookup::Found(path.clone()), !is_std(name)),
                None => match known.get(name) {
                    Some(path) => (Lookup::Found(path.clone()), true),
                    None => search.find(name),
                },
            };
            if !is_runtime && !is_std(name) && !name.contains('/') {
                self.places.extend(search.places(name));
            }
            if let (Lookup::Found(path), false) = (&lookup, is_runtime) {
                if is_std(name) {
                    self.std.get_or_insert_with(|| (name.clone(), path.clone()));
                } else if is_own && !self.own.iter().any(|(own, _)| own == name) {
                    names.insert(name.clone(), path.clone());
                    self.own.push((name.clone(), path.clone()));
                }
            }
            needed.push(Needed { name: name.clone(), lookup });
        }
        needed
    }
}

fn read(path: &Path) -> Result<Dynamic, String> {
    Dynamic::of(File::open(path).map_err(|error| error.to_string())?)
}

/// The folders of a search, in order.
struct Search {
    dirs: Vec<PathBuf>,
    /// The folders that the run path names, except the system's folders.
    run_path: Vec<PathBuf>,
    /// The folders of the RPATHs, which also apply to indirectly needed libraries.
    rpath: Vec<PathBuf>,
}

impl Search {
    /// The search for the libraries that the object at `path` needs. `inherited` has the RPATHs of the objects through
    /// which this object itself is needed.
    fn new(path: &Path, dynamic: &Dynamic, (inherited, system): (&[PathBuf], &System)) -> Self {
        let origin = path.canonicalize().ok().and_then(|path| Some(path.parent()?.to_owned()));
        let expand = |dir: &String| {
            let origin = origin.as_deref().unwrap_or(Path::new(".")).to_string_lossy();
            PathBuf::from(dir.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin))
        };
        // A RUNPATH disables every RPATH.
        let rpath: Vec<PathBuf> = match dynamic.runpath.is_empty() {
            true => dynamic.rpath.iter().map(expand).chain(inherited.iter().cloned()).collect(),
            false => Vec::new(),
        };
        let runpath: Vec<PathBuf> = dynamic.runpath.iter().map(expand).collect();
        let mut dirs = rpath.clone();
        if let Some(listed) = env::var_os("LD_LIBRARY_PATH") {
            dirs.extend(env::split_paths(&listed));
        }
        dirs.extend(runpath.iter().cloned());
        dirs.extend(system.configured.iter().cloned());
        let arch = env::consts::ARCH;
        for dir in [format!("/lib/{arch}-linux-gnu"), format!("/usr/lib/{arch}-linux-gnu")] {
            dirs.push(dir.into());
        }
        dirs.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from));
        dirs.retain(|dir| !dir.as_os_str().is_empty());
        let mut seen = HashSet::new();
        dirs.retain(|dir| seen.insert(dir.clone()));
        let run_path = rpath.iter().chain(&runpath).filter(|dir| !system.has(dir)).cloned().collect();
        Self { dirs, run_path, rpath }
    }

    /// Searches for the library `name`, and returns whether it is the object's own.
    fn find(&self, name: &str) -> (Lookup, bool) {
        // A name with a slash is a path, and is not searched for.
        if name.contains('/') {
            let path = PathBuf::from(name);
            let is_own = !path.parent().is_some_and(|dir| System::current().has(dir));
            return match path.is_file() {
                true => (Lookup::Found(path), is_own),
                false => (Lookup::Missing(Vec::new()), false),
            };
        }
        // For the libstd, the run path comes first, because it names the toolchain that has built the object, while
        // `cargo run` puts its own toolchain into LD_LIBRARY_PATH. This order does not contradict the loader: the host
        // opens the libstd before the object, so the loader does not search for it.
        let first: &[PathBuf] = if is_std(name) { &self.run_path } else { &[] };
        if let Some(dir) = first.iter().chain(&self.dirs).find(|dir| dir.join(name).is_file()) {
            return (Lookup::Found(dir.join(name)), self.run_path.contains(dir));
        }
        // If no folder has the library, the loader still finds it if this process has loaded a library of that name.
        // The most important example is the libstd that the host has loaded. The folders come first, although the
        // loader prefers a loaded library: a file there may be the object's own library. A process loads private copies
        // of such libraries, and these copies refer to each other by path.
        match loaded(name) {
            Some(path) => (Lookup::Found(path), false),
            None => (Lookup::Missing(self.dirs.clone()), false),
        }
    }

    /// The paths that the library `name` would have in the folders of the run path.
    fn places(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        self.run_path.iter().map(move |dir| dir.join(name))
    }
}

/// The library folders of the system, according to the configuration of the loader.
struct System {
    /// The folders that the configuration names, in the order in which the loader searches them.
    configured: Vec<PathBuf>,
    /// The same folders, with all links in their paths resolved.
    canonical: Vec<PathBuf>,
}

/// The configuration of the loader, and the loader's cache. The metadata of `/etc/ld.so.conf.d` does not change when a
/// file in it is edited. `ldconfig` replaces the cache when it applies such an edit. So the host notices the edit when
/// it takes effect for the loader.
const CONFIGURATION: [&str; 3] = ["/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.cache"];

/// What identifies one version of the files in [`CONFIGURATION`]: the device, inode, size and change time of each.
type Version = [Option<(u64, u64, u64, (i64, i64))>; CONFIGURATION.len()];

impl System {
    /// The current configuration. Reads it only if it has changed since the last call in this process, because each
    /// reload needs it several times.
    fn current() -> Arc<Self> {
        static LAST: Mutex<Option<(Version, Arc<System>)>> = Mutex::new(None);
        let version = CONFIGURATION.map(|path| {
            let of = fs::metadata(path).ok()?;
            Some((of.dev(), of.ino(), of.size(), (of.ctime(), of.ctime_nsec())))
        });
        let mut last = LAST.lock();
        match &*last {
            Some((read, system)) if *read == version => system.clone(),
            _ => last.insert((version, Arc::new(Self::read()))).1.clone(),
        }
    }

    fn read() -> Self {
        let [file, dir, _] = CONFIGURATION;
        let mut files = vec![PathBuf::from(file)];
        if let Ok(entries) = fs::read_dir(dir) {
            files.extend(entries.flatten().map(|entry| entry.path()));
        }
        let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
        let configured: Vec<PathBuf> = texts
            .flat_map(|text| text.lines().map(str::trim).map(str::to_owned).collect::<Vec<_>>())
            .filter(|line| line.starts_with('/'))
            .map(PathBuf::from)
            .collect();
        let canonical = configured.iter().filter_map(|dir| dir.canonicalize().ok()).collect();
        Self { configured, canonical }
    }

    /// Whether the libraries in the folder `dir` belong to the system.
    fn has(&self, dir: &Path) -> bool {
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        SYSTEM_DIRS.iter().any(|system| dir.starts_with(system)) || self.canonical.contains(&dir)
    }
}

fn loaded(name: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines()
        .filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])))
        .find(|path| path.file_name().is_some_and(|found| found == name))
        .map(Path::to_owned)
}
