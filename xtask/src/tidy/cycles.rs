//! A rule about imports: the top-level modules of a crate import each other in one direction only. The modules of
//! a cycle are in effect one module, because none of them can be read, tested or moved alone.

use super::{
    Problem, Tree,
    paths::{Found, Paths},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    iter,
};

/// The file and the line of an import.
type Place<'a> = (&'a str, usize);

/// For each top-level module, the top-level modules that it imports, each with the place of its first import.
type Imports<'a> = BTreeMap<String, BTreeMap<String, Place<'a>>>;

/// A crate with its files. A program with a folder of its own, such as `src/bin/NAME/main.rs`, is a separate crate.
struct Crate<'a> {
    name: String,
    files: Vec<File<'a>>,
    /// The names that the root of the crate imports, each with the path that it stands for.
    root: BTreeMap<&'a str, &'a [String]>,
    /// The paths from which the root imports all names.
    globs: Vec<&'a [String]>,
    top_level: BTreeSet<&'a str>,
}

struct File<'a> {
    path: &'a str,
    /// The path of the module in its crate, which is empty for the root.
    module: Vec<&'a str>,
    paths: &'a Paths,
}

pub(super) fn no_cycle_spans_top_level_modules(tree: &Tree) -> Vec<Problem> {
    let read: BTreeMap<&str, Paths> =
        tree.rust().map(|(path, _, source)| (path, Paths::of(&source.code))).collect();
    let roots: BTreeSet<&str> = read.keys().filter_map(|path| root_folder(path)).collect();
    roots.iter().flat_map(|root| Crate::of(tree, &read, &roots, root).problems()).collect()
}

/// The folder of the crate whose root this file is.
fn root_folder(path: &str) -> Option<&str> {
    let (folder, file) = path.rsplit_once('/')?;
    let is_root = matches!(file, "lib.rs" | "main.rs")
        && (folder.ends_with("/src")
            || folder.rsplit_once('/').is_some_and(|(above, _)| above.ends_with("/src/bin")));
    is_root.then_some(folder)
}

/// The name of the package, and the name of the program if it has a folder of its own.
fn crate_name(tree: &Tree, folder: &str) -> String {
    let (package, target) = folder.split_once("/src").unwrap_or((folder, ""));
    let manifest = tree.files.get(&format!("{package}/Cargo.toml"));
    let name = manifest.and_then(|file| {
        file.text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
    });
    let name = name.unwrap_or(package);
    match target.strip_prefix("/bin/") {
        Some(target) => format!("{name} (bin {target})"),
        None => name.to_owned(),
    }
}

impl<'a> Crate<'a> {
    fn of(tree: &Tree, read: &'a BTreeMap<&'a str, Paths>, roots: &BTreeSet<&str>, folder: &str) -> Self {
        let inside = format!("{folder}/");
        let mut files: Vec<File<'a>> = read
            .iter()
            .filter(|(path, _)| owner(path, roots) == Some(folder))
            .filter_map(|(path, paths)| Some((path, path.strip_prefix(&inside)?, paths)))
            .map(|(path, relative, paths)| File { path, module: module(relative), paths })
            .collect();
        let uncompiled: Vec<Vec<String>> = files
            .iter()
            .flat_map(|file| file.paths.uncompiled.iter().map(|below| join(&file.module, below)))
            .collect();
        files.retain(|file| {
            !file.module.contains(&"tests")
                && !uncompiled.iter().any(|module| {
                    file.module.len() >= module.len() && iter::zip(&file.module, module).all(|(a, b)| a == b)
                })
        });
        let of_root = || files.iter().filter(|file| file.module.is_empty()).map(|file| file.paths);
        let of_uses = of_root().flat_map(|paths| &paths.found).filter(|found| found.inside.is_empty());
        let (globs, root): (Vec<_>, Vec<_>) = of_uses
            .filter_map(|found| Some((found.name.as_deref()?, found.segments.as_slice())))
            .partition(|(name, _)| *name == "*");
        let inline =
            of_root().flat_map(|paths| &paths.inline).filter_map(|module| module.first()).map(String::as_str);
        let top_level = files.iter().filter_map(|file| file.module.first().copied()).chain(inline).collect();
        Self {
            name: crate_name(tree, folder),
            root: root.into_iter().collect(),
            globs: globs.into_iter().map(|(_, path)| path).collect(),
            files,
            top_level,
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let imports = self.imports();
        imports
            .keys()
            .filter_map(|module| shortest_cycle(&imports, module))
            .map(|cycle| self.problem(&imports, &cycle))
            .collect()
    }

    fn problem(&self, imports: &Imports<'_>, cycle: &[&str]) -> Problem {
        let edges: Vec<_> = iter::zip(cycle, cycle.iter().cycle().skip(1))
            .map(|(from, to)| (*from, *to, imports[*from][*to]))
            .collect();
        let listed: Vec<_> = edges
            .iter()
            .map(|(from, to, (path, line))| format!("`{from}` imports `{to}` at {path}:{line}"))
            .collect();
        let message = format!(
            "modules of the crate `{}` import each other: {}: remove one of these imports, such as by moving what both \
             modules need to a third module",
            self.name,
            listed.join(", ")
        );
        let (path, line) = edges[0].2;
        Problem { path: path.to_owned(), line, message }
    }

    fn imports(&self) -> Imports<'a> {
        let mut imports = Imports::new();
        for file in &self.files {
            for found in &file.paths.found {
                let here = join(&file.module, &found.inside);
                let (Some(from), Some(to)) = (here.first(), self.target(&here, found)) else { continue };
                if from != to {
                    let of = imports.entry(from.clone()).or_default();
                    of.entry(to.to_owned()).or_insert((file.path, found.line));
                }
            }
        }
        imports
    }

    /// The top-level module that a path in the module `here` leads to.
    fn target(&self, here: &[String], found: &Found) -> Option<&'a str> {
        let mut base: Option<usize> = None;
        let mut segments = found.segments.as_slice();
        while let [first, rest @ ..] = segments {
            base = match first.as_str() {
                "crate" => Some(0),
                "self" => Some(here.len()),
                "super" => Some(base.unwrap_or(here.len()).checked_sub(1)?),
                _ => break,
            };
            segments = rest;
        }
        // A path that does not lead to the root stays in the top-level module, or leads to another crate.
        if base != Some(0) {
            return None;
        }
        self.resolve(segments.first()?)
    }

    /// The top-level module that contains the item with the name `name` in the root of the crate.
    fn resolve(&self, name: &str) -> Option<&'a str> {
        let mut name = name;
        // A name that the root imports may lead to another name that the root imports. The bound ends a cycle of such
        // names.
        for _ in 0..=self.root.len() {
            if let Some(module) = self.top_level.get(name) {
                return Some(module);
            }
            let Some(path) = self.root.get(name) else { return self.imported_with_all(name) };
            name = first_name(path)?;
        }
        None
    }

    /// Among the top-level modules from which the root of the crate imports all names, the one that declares `name`.
    fn imported_with_all(&self, name: &str) -> Option<&'a str> {
        let mut modules = self.globs.iter().filter_map(|path| self.top_level.get(first_name(path)?).copied());
        modules.find(|module| {
            let mut files = self.files.iter().filter(|file| file.module.first() == Some(module));
            files.any(|file| file.paths.declared.contains(name))
        })
    }
}

/// The first name of a path in the root of a crate.
fn first_name(path: &[String]) -> Option<&str> {
    path.iter().map(String::as_str).find(|segment| !matches!(*segment, "crate" | "self"))
}

/// The crate that a file belongs to: the root folder that is closest above it.
fn owner<'a>(path: &str, roots: &BTreeSet<&'a str>) -> Option<&'a str> {
    let mut folder = path;
    loop {
        folder = folder.rsplit_once('/')?.0;
        if let Some(root) = roots.get(folder) {
            return Some(root);
        }
        // A program of one file has no modules.
        if folder.ends_with("/src/bin") {
            return None;
        }
    }
}

/// The path of the module in a file of the crate.
fn module(relative: &str) -> Vec<&str> {
    let mut module: Vec<&str> = relative.trim_end_matches(".rs").split('/').collect();
    let of_folder = module.last() == Some(&"mod");
    if of_folder || module == ["lib"] || module == ["main"] {
        module.pop();
    }
    module
}

fn join(module: &[&str], below: &[String]) -> Vec<String> {
    module.iter().map(|name| (*name).to_owned()).chain(below.iter().cloned()).collect()
}

/// The shortest cycle that begins at `start` and visits only modules after it in the order of names. So each cycle is
/// found only from its first module.
fn shortest_cycle<'a>(imports: &'a Imports<'_>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut reached_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(module) = queue.pop_front() {
        for next in imports.get(module).into_iter().flat_map(BTreeMap::keys) {
            let next = next.as_str();
            if next == start {
                let back = iter::successors(Some(module), |at| reached_from.get(at).copied());
                let mut cycle: Vec<_> = back.collect();
                cycle.reverse();
                return Some(cycle);
            }
            if next > start && !reached_from.contains_key(next) {
                reached_from.insert(next, module);
                queue.push_back(next);
            }
        }
    }
    None
}
