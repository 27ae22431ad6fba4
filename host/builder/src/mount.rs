//! Mount options of a folder's file system.

use rustix::fs::{StatVfsMountFlags, statvfs};
use std::path::Path;

/// Whether the mount options of a folder forbid to run its files and to open them as libraries. The folder need not
/// exist.
pub fn is_noexec(folder: &Path) -> bool {
    let there = folder.ancestors().find(|above| above.exists());
    // If the options are unknown, the result is false.
    there
        .and_then(|folder| statvfs(folder).ok())
        .is_some_and(|stats| stats.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_without_execution_is_known_by_folders_that_are_not_there_yet() {
        assert!(!is_noexec(Path::new("/usr/bin/not/there/yet")));
        // Systems usually mount the kernel's own file systems this way.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let noexec = fields.find(|it| it[3].split(',').any(|option| option == "noexec") && it[1] != "/");
        if let Some(mount) = noexec {
            assert!(is_noexec(&Path::new(mount[1]).join("not/there/yet")), "{mount:?}");
        }
    }
}
