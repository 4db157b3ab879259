//! What Redan gives up once its listeners are bound: root, and the files that it does not need.
//!
//! Called before the first thread is started, because both hold for the calling thread and for those it starts. It must
//! never leave Redan with more than was asked for: whatever fails here ends the start.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, path_beneath_rules,
};
use rustix::process::{Gid, Uid, getuid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::config::{Account, Bind};

/// Linux 6.2. What later kernels add is not handled, so that the same holds on all.
const RULES: ABI = ABI::V3;

/// Where names are resolved: the resolver's settings, and the libraries that it loads when it is asked first.
const SYSTEM: [&str; 6] = ["/etc", "/lib", "/lib64", "/usr", "/run/systemd/resolve", "/dev/urandom"];

/// Becomes the user, for good; the sockets become its own.
pub(super) fn become_user(account: &Account, binds: &[Bind]) -> Result<(), String> {
    let (user, group) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    if getuid() == user {
        return Ok(());
    }
    if !getuid().is_root() {
        return Err("`user`: only root can become another user; start Redan as root, or remove `user`".to_owned());
    }
    for bind in binds {
        if let Bind::Unix { path, .. } = bind {
            chown(path, Some(account.uid), Some(account.gid))
                .map_err(|error| format!("`user`: {} cannot be given to it: {error}", path.display()))?;
        }
    }
    let groups: Vec<Gid> = account.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    set_thread_groups(&groups)
        .and_then(|()| set_thread_gid(group))
        .and_then(|()| set_thread_uid(user))
        .map_err(|error| format!("`user`: the system does not let Redan become it: {error}; remove `user`"))?;
    if set_thread_uid(Uid::ROOT).is_ok() {
        return Err("`user`: Redan could become root again: a defect of Redan or of the system".to_owned());
    }
    Ok(())
}

/// From here on only the folders of these files and what the system needs can be read, and nothing can be written but sockets
/// in their folders.
pub(super) fn sandbox<'a>(files: impl Iterator<Item = &'a Path>, binds: &[Bind]) -> Result<(), String> {
    let mut readable: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    for file in files {
        // Where a link leads to now, other files will lie tomorrow.
        let real = file.canonicalize().ok();
        readable.extend([Some(file), real.as_deref()].into_iter().flatten().filter_map(Path::parent).map(folder));
    }
    let sockets = binds.iter().filter_map(|bind| match bind {
        Bind::Unix { path, .. } => path.parent().map(folder),
        Bind::Tcp(_) => None,
    });
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(RULES))
        .and_then(|rules| rules.create())
        .and_then(|rules| rules.add_rules(path_beneath_rules(readable, AccessFs::from_read(RULES))))
        .and_then(|rules| rules.add_rules(path_beneath_rules(sockets, AccessFs::MakeSock | AccessFs::RemoveFile)))
        .and_then(|rules| rules.restrict_self());
    restricted.map(drop).map_err(|error| {
        format!("`sandbox`: the system has no Landlock as Linux 6.2 has it ({error}); set `sandbox = \"off\"`")
    })
}

fn folder(path: &Path) -> PathBuf {
    // The parent of a mere name is empty.
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn in_the_sandbox_only_what_was_named_can_be_read() {
        let [named, other] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        for folder in [&named, &other] {
            fs::write(folder.path().join("file"), "text").expect("writable");
        }
        let inside = || {
            let file = named.path().join("file");
            sandbox(std::iter::once(file.as_path()), &[]).expect("this system has Landlock");
            let read = |folder: &tempfile::TempDir| fs::read(folder.path().join("file")).is_ok();
            let write = fs::write(named.path().join("new"), "text").is_ok();
            (read(&named), read(&other), write, fs::read("/etc/passwd").is_ok())
        };
        let seen = std::thread::scope(|threads| threads.spawn(inside).join().expect("it does not panic"));
        assert_eq!(seen, (true, false, false, true));
        fs::write(other.path().join("new"), "text").expect("other threads are not in it");
    }
}
