//! The user that Redan shall run as, from the files of the system.
//!
//! `/etc/passwd` and `/etc/group` only: asking the name service would need threads and libraries before anything is dropped.

use std::path::Path;

/// As the kernel knows a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Beside `gid`.
    pub(crate) groups: Vec<u32>,
}

pub(super) fn find(name: &str) -> Result<Account, String> {
    let read = |file: &str| {
        std::fs::read_to_string(Path::new(file))
            .map_err(|error| format!("{file} cannot be read: {error}; remove `user`"))
    };
    let account = parse(name, &read("/etc/passwd")?, &read("/etc/group")?);
    let account = account.ok_or_else(|| format!("/etc/passwd has no user \"{name}\"; create it, or name another"))?;
    if account.uid == 0 { Err("this user is root; name one that may do less".to_owned()) } else { Ok(account) }
}

fn parse(name: &str, passwd: &str, group: &str) -> Option<Account> {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let user = passwd.lines().map(fields).find(|fields| fields.first().is_some_and(|first| first == name))?;
    let (uid, gid) = (user.get(2)?.parse().ok()?, user.get(3)?.parse().ok()?);
    let member = |fields: &Vec<String>| fields.get(3).is_some_and(|members| members.split(',').any(|one| one == name));
    let groups = group.lines().map(fields).filter(member).filter_map(|fields| fields.get(2)?.parse().ok());
    Some(Account { uid, gid, groups: groups.filter(|other| *other != gid).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_its_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nredan:x:110:120::/nonexistent:/usr/sbin/nologin\nbad:x:y:1::\n";
        let group = "ssl-cert:x:115:other,redan\nredan:x:120:redan\nadm:x:4:redanx\n";
        assert_eq!(parse("redan", passwd, group), Some(Account { uid: 110, gid: 120, groups: vec![115] }));
        assert_eq!((parse("bad", passwd, group), parse("redanx", passwd, group)), (None, None));
        assert!(find("root").is_err() && find("no such user").is_err());
    }
}
