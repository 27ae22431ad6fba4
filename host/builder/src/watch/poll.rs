//! Recognizes file systems that do not report every change, and determines the interval at which files are polled.

use rustix::fs::statfs;
use std::{path::Path, time::Duration};

/// When files are polled, in addition to the events of the file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poll {
    /// Once a second, if a watched folder is on a file system that does not report every change.
    #[default]
    Auto,
    /// Never.
    Never,
    /// At this interval, on all file systems.
    Every(Duration),
}

impl Poll {
    const USUAL: Duration = Duration::from_secs(1);

    /// The interval at which to poll, or `None` to not poll. `is_silent` is whether a watched file is on a file system
    /// that does not report all changes.
    pub(super) fn interval(self, is_silent: bool) -> Option<Duration> {
        match self {
            Self::Auto => is_silent.then_some(Self::USUAL),
            Self::Never => None,
            Self::Every(interval) => Some(interval),
        }
    }
}

/// The name of the file system of `path`, if that file system does not report every change, because other machines, the
/// host of a virtual machine, or another program can change its files. Returns `None` for all other file systems, and
/// if the file system is unknown. `path` need not exist.
pub fn file_system_without_events(path: &Path) -> Option<&'static str> {
    let found = path.ancestors().find_map(|it| statfs(it).ok())?;
    // On some machines, the type is a signed or a wider integer. Its lower 32 bits are the magic number.
    name_of(found.f_type as u32)
}

/// The name of the file system with this magic number. The numbers are from `statfs(2)` or from the source of the file
/// system.
fn name_of(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => "SMB",
        0x5346_4846 => "WSL drvfs",
        0x786F_4256 => "VirtualBox shared folder",
        0xBACB_ACBC => "VMware shared folder",
        0x00C3_6400 => "Ceph",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x7375_7245 => "Coda",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_polled_and_local_ones_are_not() {
        for (magic, name) in [(0x6969, "NFS"), (0x0102_1997, "9p"), (0x6573_5546, "FUSE")] {
            assert_eq!(name_of(magic), Some(name));
        }
        for (magic, name) in
            [(0xEF53, "ext4"), (0x9123_683E, "btrfs"), (0x0102_1994, "tmpfs"), (0x794C_7630, "overlay")]
        {
            assert_eq!(name_of(magic), None, "{name}");
        }
        assert_eq!(file_system_without_events(Path::new("/proc/self/not/there")), None);
    }

    #[test]
    fn polling_depends_on_the_file_system_only_in_auto_mode() {
        let second = Duration::from_secs(1);
        assert_eq!([Poll::Auto.interval(true), Poll::Auto.interval(false)], [Some(second), None]);
        assert_eq!([Poll::Never.interval(true), Poll::Never.interval(false)], [None, None]);
        let every = Poll::Every(second * 2);
        assert_eq!([every.interval(true), every.interval(false)], [Some(second * 2), Some(second * 2)]);
    }
}
