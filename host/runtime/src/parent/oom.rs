//! Counts how many processes the kernel has killed for lack of memory, in this process's cgroup or in the system.

use std::{fs, path::Path};

/// How many processes the kernel has killed for lack of memory. If this process's cgroup has a counter, counts the
/// processes in this cgroup and those below it; otherwise, those in the whole system.
pub(super) fn kills() -> Option<u64> {
    own_group().or_else(|| count(&fs::read_to_string("/proc/vmstat").ok()?))
}

fn own_group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    count(&fs::read_to_string(Path::new("/sys/fs/cgroup").join(own).join("memory.events")).ok()?)
}

/// The number that follows the name `oom_kill` in a table.
fn count(table: &str) -> Option<u64> {
    let mut rows = table.lines().filter_map(|line| line.split_once(' '));
    rows.find(|(name, _)| *name == "oom_kill")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oom_kill_count_is_found_among_similar_names() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(count(events), Some(2));
        assert_eq!(count("nr_free_pages 7\noom_kill 40\n"), Some(40));
        assert_eq!(count("oom 3\n"), None);
        assert_eq!(count("oom_kill x\n"), None);
    }

    #[test]
    fn this_system_has_a_count_of_oom_kills() {
        assert!(kills().is_some());
    }
}
