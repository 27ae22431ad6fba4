//! Where the dynamic loader will look for a needed library.
//!
//! It follows ld.so(8), but for the cache: the folders that fill the cache are read instead. To find a library is
//! not to prove that it loads; to miss one that the loader would find must not happen.

use super::inspect::Lookup;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folders of a search, in their order.
pub(super) struct Search {
    dirs: Vec<PathBuf>,
}

impl Search {
    /// The search for what the object at `path` needs.
    pub(super) fn new(path: &Path, rpath: &[String], runpath: &[String]) -> Self {
        let origin = path.canonicalize().ok().and_then(|path| Some(path.parent()?.to_owned()));
        let expand = |dir: &String| {
            let origin = origin.as_deref().unwrap_or(Path::new(".")).to_string_lossy();
            PathBuf::from(dir.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin))
        };
        let mut dirs: Vec<PathBuf> = Vec::new();
        if runpath.is_empty() {
            dirs.extend(rpath.iter().map(expand));
        }
        if let Some(listed) = std::env::var_os("LD_LIBRARY_PATH") {
            dirs.extend(std::env::split_paths(&listed));
        }
        dirs.extend(runpath.iter().map(expand));
        dirs.extend(configured_dirs());
        let arch = std::env::consts::ARCH;
        for dir in [format!("/lib/{arch}-linux-gnu"), format!("/usr/lib/{arch}-linux-gnu")] {
            dirs.push(dir.into());
        }
        dirs.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from));
        dirs.retain(|dir| !dir.as_os_str().is_empty());
        let mut seen = std::collections::HashSet::new();
        dirs.retain(|dir| seen.insert(dir.clone()));
        Self { dirs }
    }

    /// Looks for the library of that name.
    pub(super) fn find(&self, name: &str) -> Lookup {
        // A name with a slash is a path, and is not sought.
        if name.contains('/') {
            let path = PathBuf::from(name);
            return if path.is_file() { Lookup::Found(path) } else { Lookup::Missing(Vec::new()) };
        }
        let found = self.dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
        // One that is loaded already is taken wherever it came from: the libstd that the host holds open, above all.
        match found.or_else(|| loaded(name)) {
            Some(path) => Lookup::Found(path),
            None => Lookup::Missing(self.dirs.clone()),
        }
    }
}

fn configured_dirs() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/ld.so.conf")];
    if let Ok(entries) = fs::read_dir("/etc/ld.so.conf.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| text.lines().map(str::trim).map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| line.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn loaded(name: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines()
        .filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])))
        .find(|path| path.file_name().is_some_and(|found| found == name))
        .map(Path::to_owned)
}
