//! The libraries that a shared object needs: where the dynamic loader will look for them, and which of them are its own.
//!
//! The search follows ld.so(8), but for the cache: the folders that fill the cache are read instead. To find a library is
//! not to prove that it loads; to miss one that the loader would find must not happen.
//!
//! A library is the object's **own** if its run path leads to it and it is not the system's: it comes with the plugin,
//! changes with it, and is a part of the artifact. The shared libstd is not: it is the toolchain's, and there must be one of
//! it in a process.

use super::{
    elf::Dynamic,
    inspect::{Lookup, Needed},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    env, fs,
    path::{Path, PathBuf},
};

/// Folders below which nothing is a plugin's own. What packages of Nix and Guix hold never changes.
const SYSTEM_DIRS: [&str; 6] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store", "/gnu/store"];

/// What a process can have once only, or must share with its host, wherever it was found.
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

/// Whether that is the name of Rust's shared standard library.
pub(super) fn is_std(name: &str) -> bool {
    name.starts_with("libstd-") && name.ends_with(".so")
}

/// What an object needs, and what of that comes with it.
#[derive(Debug, Default)]
pub(super) struct Libraries {
    /// What it needs itself, in the order in which that is sought.
    pub(super) needed: Vec<Needed>,
    /// What comes with it, in the order in which the loader comes to it: each name that one is asked for by, with its file.
    pub(super) own: Vec<(String, PathBuf)>,
    /// What those need that is not there, each with the folders in which it was sought.
    pub(super) missing: Vec<(PathBuf, Needed)>,
    /// The shared standard library that it or one of those needs.
    pub(super) std: Option<(String, PathBuf)>,
    /// Where the run paths would have the loader find what is not the system's, whether it is there or not.
    pub(super) places: BTreeSet<PathBuf>,
}

/// Libraries that are known to be somewhere, by the name that is asked for.
pub(super) type Known = BTreeMap<String, PathBuf>;

impl Libraries {
    /// Finds what the object at `path` needs, which says that of itself, among what is known and then on disk.
    pub(super) fn of(path: &Path, dynamic: &Dynamic, known: &Known) -> Self {
        let mut found = Self::default();
        let mut names = Known::new();
        let system = System::read();
        let search = Search::new(path, dynamic, (&[], &system));
        found.needed = found.take(&search, dynamic, (known, &mut names));
        // The RPATHs of what needs each of them.
        let mut inherited = vec![search.rpath; found.own.len()];
        let mut next = 0;
        while let Some((_, path)) = found.own.get(next).cloned() {
            let rpath = &inherited[next];
            next += 1;
            // What cannot be read is found out by whoever looks into it.
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

    /// Looks for what one object needs.
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
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    Dynamic::read(bytes.as_slice())
}

/// The folders of a search, in their order.
struct Search {
    dirs: Vec<PathBuf>,
    /// Those of them that the run path names.
    run_path: Vec<PathBuf>,
    /// Those that go for what is needed by what it needs, too.
    rpath: Vec<PathBuf>,
}

impl Search {
    /// The search for what the object at `path` needs. `inherited` is the RPATH of what needs it.
    fn new(path: &Path, dynamic: &Dynamic, (inherited, system): (&[PathBuf], &System)) -> Self {
        let origin = path.canonicalize().ok().and_then(|path| Some(path.parent()?.to_owned()));
        let expand = |dir: &String| {
            let origin = origin.as_deref().unwrap_or(Path::new(".")).to_string_lossy();
            PathBuf::from(dir.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin))
        };
        // With a RUNPATH, no RPATH counts.
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

    /// Looks for the library of that name, and says whether it is the object's own.
    fn find(&self, name: &str) -> (Lookup, bool) {
        // A name with a slash is a path, and is not sought.
        if name.contains('/') {
            let path = PathBuf::from(name);
            let is_own = !path.parent().is_some_and(|dir| System::read().has(dir));
            return match path.is_file() {
                true => (Lookup::Found(path), is_own),
                false => (Lookup::Missing(Vec::new()), false),
            };
        }
        if let Some(dir) = self.dirs.iter().find(|dir| dir.join(name).is_file()) {
            return (Lookup::Found(dir.join(name)), self.run_path.contains(dir));
        }
        // One that is loaded already is taken wherever it came from: the libstd that the host holds open, above all.
        match loaded(name) {
            Some(path) => (Lookup::Found(path), false),
            None => (Lookup::Missing(self.dirs.clone()), false),
        }
    }

    /// Where the run path would have it.
    fn places(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        self.run_path.iter().map(move |dir| dir.join(name))
    }
}

/// The folders that are the system's, as its configuration is now.
struct System {
    /// Those that the loader's configuration names, in the order in which they are searched.
    configured: Vec<PathBuf>,
}

impl System {
    fn read() -> Self {
        let mut files = vec![PathBuf::from("/etc/ld.so.conf")];
        if let Ok(entries) = fs::read_dir("/etc/ld.so.conf.d") {
            files.extend(entries.flatten().map(|entry| entry.path()));
        }
        let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
        let configured = texts
            .flat_map(|text| text.lines().map(str::trim).map(str::to_owned).collect::<Vec<_>>())
            .filter(|line| line.starts_with('/'))
            .map(PathBuf::from)
            .collect();
        Self { configured }
    }

    /// Whether the libraries of that folder are the system's.
    fn has(&self, dir: &Path) -> bool {
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        SYSTEM_DIRS.iter().any(|system| dir.starts_with(system))
            || self.configured.iter().any(|configured| configured.canonicalize().is_ok_and(|it| it == dir))
    }
}

fn loaded(name: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines()
        .filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])))
        .find(|path| path.file_name().is_some_and(|found| found == name))
        .map(Path::to_owned)
}
