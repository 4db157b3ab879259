//! How much memory this process may use: the machine's, or less where a control group bounds it (containers, systemd).
//!
//! Used for the default of `max_memory` alone. What cannot be read is taken for no bound.

use std::path::{Path, PathBuf};

/// In bytes; `None` where the system does not say.
pub(super) fn memory() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    least(&read)
}

fn least(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).as_deref().and_then(total);
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let bounds = groups.lines().flat_map(files).filter_map(|file| read(&file)?.trim().parse::<u64>().ok());
    // Without a bound version 2 says `max` and version 1 nearly 2^63, which loses against the machine.
    machine.into_iter().chain(bounds).min()
}

/// `MemTotal:       24105 kB`
fn total(meminfo: &str) -> Option<u64> {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files that bound a group, `hierarchy:controllers:/path`, and its parents: each bound holds for all below. Inside a
/// container the path may be that of the host, of which only the root is there to be read.
fn files(line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (root, name) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        list if list.split(',').any(|one| one == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let below = Path::new(path.trim_start_matches('/'));
    below.ancestors().map(|group| Path::new(root).join(group).join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files with their texts, and the bound that they come to.
    type Row<'a> = (&'a [(&'a str, &'a str)], Option<u64>);

    #[test]
    fn the_least_bound_counts() {
        let machine = ("/proc/meminfo", "MemFree: 1 kB\nMemTotal:       1024 kB\n");
        let v2 = ("/proc/self/cgroup", "0::/a/b\n");
        let v1 = ("/proc/self/cgroup", "5:cpu,memory:/a\n4:pids:/a\n");
        let table: &[Row<'_>] = &[
            (&[], None),
            (&[machine], Some(1 << 20)),
            (&[machine, v2, ("/sys/fs/cgroup/a/b/memory.max", "max\n")], Some(1 << 20)),
            (&[machine, v2, ("/sys/fs/cgroup/a/b/memory.max", "4096\n")], Some(4096)),
            (&[machine, v2, ("/sys/fs/cgroup/a/memory.max", "8192\n")], Some(8192)),
            (&[machine, v2, ("/sys/fs/cgroup/memory.max", "8192\n")], Some(8192)),
            (&[machine, v1, ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n")], Some(1 << 20)),
            (&[machine, v1, ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n")], Some(4096)),
        ];
        for (files, expected) in table {
            let read = |path: &Path| {
                files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
            };
            assert_eq!(least(&read), *expected, "{files:?}");
        }
        assert!(memory().is_some(), "this machine says how much memory it has");
    }
}
