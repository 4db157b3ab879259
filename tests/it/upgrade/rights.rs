//! Upgrades of a process that has given up rights: root, and the files that it does not need.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::*;
use crate::support::certs::Certs;
use crate::support::left_out::left_out;
use crate::support::tls::{TlsClient, pings};

/// Of `nobody`, as Debian has it.
fn nobody() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().find(|line| line.starts_with("nobody:"))?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Everything in it can be read by everybody, and changed by its owner.
fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("ours");
    for file in fs::read_dir(folder).expect("readable") {
        fs::set_permissions(file.expect("a file").path(), fs::Permissions::from_mode(0o644)).expect("ours");
    }
}

fn status(id: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    status.lines().find_map(|line| line.strip_prefix(field)).expect("a field").trim().to_owned()
}

fn keeps_its_place(process: &str) {
    let Some((uid, gid)) = nobody().filter(|_| rustix::process::getuid().is_root()) else {
        return left_out("upgrades of a process that was root", "not root, or there is no user nobody");
    };
    let (redis, certs, folder) = (Redis::start(), Certs::make(), tempfile::tempdir().expect("a folder"));
    let sockets = folder.path().join("sockets");
    fs::create_dir(&sockets).expect("ours");
    std::os::unix::fs::chown(&sockets, Some(uid), Some(gid)).expect("root");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    open_to_all(certs.cert().parent().expect("a folder"));
    let (program, unix, orders) = (folder.path().join("redan"), sockets.join("clients"), sockets.join("orders"));
    fs::copy(env!("CARGO_BIN_EXE_redan"), &program).expect("room for a copy");
    let process = format!("user = \"nobody\"\nadmin_socket = \"unix:{}\"\n{process}", orders.display());
    let more = format!(
        "[[listener]]\nname = \"unix\"\nbind = \"unix:{}\"\n[[listener]]\nname = \"tls\"\nbind = \"127.0.0.1:0\"\ntls = {{ cert = {:?}, key = {:?} }}\n",
        unix.display(),
        certs.cert().display().to_string(),
        certs.key().display().to_string()
    );
    let proxy = Proxy::start_program(&program, &(toml(&process, "", &[&redis]) + &more));
    let mut client = Client::connect(&proxy.address(1));
    client.ok(&["SET", "key", "0"]);

    // What only root may read stops the new process, which says so, and nothing else.
    let home = proxy.file().parent().expect("a folder").to_owned();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("ours");
    proxy.signal("USR2");
    wait_for(&proxy, "the upgrade is given up");
    assert!(proxy.said().contains("Permission denied"), "{}", proxy.said());
    assert_eq!(client.ask(&["INCR", "key"]), ":1\r\n");

    open_to_all(&home);
    for round in 2..=4 {
        upgrade(&proxy);
        assert_eq!(client.ask(&["INCR", "key"]), format!(":{round}\r\n"));
        let id = proxy.in_charge();
        assert_eq!(status(id, "Uid:").split_whitespace().collect::<Vec<_>>(), [uid.to_string().as_str(); 4]);
        assert_eq!(status(id, "CapEff:"), "0000000000000000");
        // New connections, at every door.
        assert_eq!(Client::connect(&proxy.address(1)).ask(&["PING"]), "+PONG\r\n");
        std::os::unix::net::UnixStream::connect(&unix).expect("it listens");
        pings(&mut TlsClient::new(&certs, None).connect(&proxy.address(2))).expect("it has the certificate");
        let asked =
            std::process::Command::new(&program).args(["status", "--socket"]).arg(&orders).output().expect("it runs");
        assert!(String::from_utf8_lossy(&asked.stdout).contains(&format!("process {id}")), "{asked:?}");
        assert_eq!(fs::metadata(&orders).expect("there").uid(), uid);
    }
    // By the operator's command as well, which root gives to a process that is not.
    let asked =
        std::process::Command::new(&program).args(["upgrade", "--socket"]).arg(&orders).output().expect("it runs");
    assert!(asked.status.success(), "{asked:?}");
    assert_eq!(client.ask(&["INCR", "key"]), ":5\r\n");
}

#[test]
fn the_new_process_is_the_user_that_the_old_one_became() {
    keeps_its_place("");
}

#[test]
fn and_in_the_sandbox_as_well() {
    keeps_its_place("sandbox = \"on\"");
}
