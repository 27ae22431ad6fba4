//! Resolves paths for inotify, and finds the links in them.

use super::{Inputs, content::is_ignored};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The path with all links resolved, as far as the path exists. The watcher must use one path for each folder, because
/// inotify has one watch for all paths of a folder.
pub(super) fn canonical(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| resolve(path))
}

/// Like [`canonical`], but does not resolve the last part if that part is a link.
pub(super) fn resolve(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => match fs::canonicalize(parent) {
            Ok(parent) => parent.join(name),
            Err(_) => resolve(parent).join(name),
        },
        _ => path.to_owned(),
    }
}

/// The nearest existing folder above `path`. If `path` does not exist, it cannot appear without a change in this
/// folder, unless the path leads through a dangling link.
pub(super) fn nearest_folder(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|it| it.is_dir())
}

/// All files below `inputs.dirs`. Ignored files and folders, those in `inputs.except`, and links to folders are left
/// out. Calls `enter` with each folder before listing it.
pub(super) fn files_below<E>(
    inputs: &Inputs,
    mut enter: impl FnMut(&Path) -> Result<(), E>,
) -> Result<BTreeSet<PathBuf>, E> {
    let mut files = BTreeSet::new();
    let mut open: Vec<PathBuf> = inputs.dirs.iter().cloned().collect();
    while let Some(dir) = open.pop() {
        enter(&dir)?;
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if is_ignored(&entry.file_name().to_string_lossy()) || inputs.except.contains(&path) {
                continue;
            }
            // Links to folders are not followed, because they may form cycles.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(_) if path.is_dir() => {}
                _ => drop(files.insert(path)),
            }
        }
    }
    Ok(files)
}

/// The symbolic links in the path, including those in the targets of other links. A change of any of these links can
/// change the file to which the path leads.
pub fn links_on(path: &Path) -> BTreeSet<PathBuf> {
    let mut links = BTreeSet::new();
    follow(path, &mut links);
    links
}

fn follow(path: &Path, links: &mut BTreeSet<PathBuf>) {
    let mut walked = PathBuf::new();
    for part in path.components() {
        walked.push(part);
        // The folder of the link is resolved, so that the link has only one path.
        let Ok(target) = fs::read_link(&walked) else { continue };
        let link = resolve(&walked);
        let target = link.parent().map(|folder| folder.join(&target)).unwrap_or(target);
        // Links may form cycles.
        if links.insert(link) {
            follow(&target, links);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_on_finds_links_in_the_targets_of_other_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("releases/1/plugins")).unwrap();
        symlink("releases/1", root.join("newest")).unwrap();
        symlink("newest", root.join("current")).unwrap();
        symlink("round", root.join("round")).unwrap();
        let links = links_on(&root.join("current/plugins"));
        assert_eq!(links, [root.join("current"), root.join("newest")].into());
        assert_eq!(links_on(&root.join("releases/1/plugins")), BTreeSet::new());
        assert_eq!(links_on(&root.join("round/x")), [root.join("round")].into());
    }

    #[test]
    fn nearest_folder_skips_folders_that_do_not_exist() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        assert_eq!(nearest_folder(&folder.path().join("a/b/c.txt")), Some(&*folder.path().join("a")));
        assert_eq!(nearest_folder(&folder.path().join("a/c.txt")), Some(&*folder.path().join("a")));
    }
}
