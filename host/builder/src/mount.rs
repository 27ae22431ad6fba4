//! Mount options of a folder's file system.

use rustix::fs::{StatVfsMountFlags, statvfs};
use std::path::Path;

/// Whether the file system of `folder` is mounted `noexec`, so that its files cannot be run or opened as libraries. The
/// folder need not exist. Returns `false` if the mount options are unknown.
pub fn is_noexec(folder: &Path) -> bool {
    let there = folder.ancestors().find(|above| above.exists());
    there
        .and_then(|folder| statvfs(folder).ok())
        .is_some_and(|stats| stats.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_noexec_accepts_folders_that_do_not_exist() {
        assert!(!is_noexec(Path::new("/usr/bin/not/there/yet")));
        // Most systems mount the kernel's own file systems, such as /proc, with `noexec`.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let noexec = fields.find(|it| it[3].split(',').any(|option| option == "noexec") && it[1] != "/");
        if let Some(mount) = noexec {
            assert!(is_noexec(&Path::new(mount[1]).join("not/there/yet")), "{mount:?}");
        }
    }
}
