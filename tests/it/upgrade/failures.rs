//! Upgrades that come to nothing: the old process goes on as if nothing had been, and says why in one line.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

/// A copy of the program, which tests may spoil.
struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    fn make() -> Self {
        let copy = Self { folder: tempfile::tempdir().expect("a folder") };
        copy.restore();
        copy
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("redan")
    }

    fn restore(&self) {
        let _ = std::fs::remove_file(self.program());
        let original = Path::new(env!("CARGO_BIN_EXE_redan"));
        if std::fs::hard_link(original, self.program()).is_err() {
            std::fs::copy(original, self.program()).expect("room for a copy");
        }
    }

    /// The program is replaced as an installer does it: the running one keeps its file.
    fn replace_by(&self, text: &str) {
        std::fs::remove_file(self.program()).expect("it is there");
        std::fs::write(self.program(), text).expect("writable");
        std::fs::set_permissions(self.program(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
}

/// The line about the `count`-th upgrade that was given up.
fn given_up(proxy: &Proxy, count: usize) -> String {
    let lines = || {
        let said = proxy.said();
        said.lines().filter(|line| line.contains("the upgrade is given up")).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    within(UPGRADE, "the upgrade is given up", || lines().len() >= count);
    assert_eq!(lines().len(), count);
    lines().pop().expect("a line")
}

#[test]
fn whatever_is_wrong_with_the_new_process_the_old_one_goes_on() {
    let (redis, copy) = (Redis::start(), Copy::make());
    let proxy = Proxy::start_program(&copy.program(), &toml("upgrade_timeout = \"5s\"", "", &[&redis]));
    let address = proxy.address(1);
    let mut client = Client::connect(&address);
    client.ok(&["SET", "key", "0"]);
    let good = std::fs::read_to_string(proxy.file()).expect("readable");
    let mut count = 0;
    let mut fails = |proxy: &Proxy, words: &str| {
        count += 1;
        proxy.signal("USR2");
        let line = given_up(proxy, count);
        assert!(line.contains(words), "{line}");
        assert!(line.contains("ERROR") && line.contains("goes on as before"), "{line}");
        assert_eq!(client.ask(&["INCR", "key"]), format!(":{count}\r\n"), "the same connection");
        assert_eq!(Client::connect(&address).ask(&["PING"]), "+PONG\r\n");
    };

    std::fs::write(proxy.file(), good.replace("workers = 2", "wurkers = 2")).expect("writable");
    fails(&proxy, "ended with exit status: 78");
    assert!(proxy.said().contains("wurkers"), "the new process has said what is wrong");

    // It can never be ready.
    std::fs::write(proxy.file(), good.replace(&redis.address(), &free_address())).expect("writable");
    fails(&proxy, "no master of group 'main' was proven");

    let taken = free_address();
    let more = format!("[[listener]]\nname = \"more\"\nbind = \"{taken}\"\n");
    let holder = std::net::TcpListener::bind(&taken).expect("still free");
    std::fs::write(proxy.file(), good.clone() + &more).expect("writable");
    fails(&proxy, "another process listens there");
    drop(holder);

    std::fs::write(proxy.file(), &good).expect("writable");
    copy.replace_by("#!/bin/sh\nexit 3\n");
    fails(&proxy, "ended with exit status: 3");
    copy.replace_by("no program\n");
    fails(&proxy, "cannot be started");
    copy.replace_by("#!/bin/sh\nexec sleep 600\n");
    fails(&proxy, "not ready within 5s");

    // And once all is well again it is replaced.
    copy.restore();
    upgrade(&proxy);
    assert_eq!(client.ask(&["INCR", "key"]), ":7\r\n");
}

#[test]
fn signals_during_an_upgrade() {
    let (redis, copy) = (Redis::start(), Copy::make());
    let mut proxy = Proxy::start_program(&copy.program(), &toml("upgrade_timeout = \"1h\"", "", &[&redis]));
    wait_for_master(&proxy.address(1));
    let marker = copy.program().with_file_name("pid");
    copy.replace_by(&format!("#!/bin/sh\necho $$ > {}\nexec sleep 600\n", marker.display()));
    proxy.signal("USR2");
    let id = || std::fs::read_to_string(&marker).ok().and_then(|text| text.trim().parse::<u32>().ok());
    eventually("the new process runs", || id().is_some());
    proxy.signal("USR2");
    wait_for(&proxy, "SIGUSR2: an upgrade is under way already");
    assert_eq!(Client::connect(&proxy.address(1)).ask(&["PING"]), "+PONG\r\n");
    proxy.signal("TERM");
    assert_eq!(proxy.exit_code(), Some(0));
    eventually("the new process is killed", || !is_running(id().expect("a number")));
    assert!(proxy.said().contains("SIGTERM: the upgrade is given up"), "{}", proxy.said());
}

#[test]
fn two_requests_at_once_are_one_upgrade_and_the_new_process_ends_as_any() {
    let redis = Redis::start();
    let mut proxy = Proxy::start(&toml("", "", &[&redis]));
    let mut client = Client::connect(&proxy.address(1));
    client.ok(&["SET", "key", "1"]);
    proxy.signal("USR2");
    proxy.signal("USR2");
    within(UPGRADE, "another process is in charge", || !proxy.successors().is_empty());
    assert_eq!(proxy.exit_code(), Some(0), "the old process has ended well");
    assert_eq!(client.ask(&["INCR", "key"]), ":2\r\n");
    assert!(proxy.successors().len() <= 1);
    let new = proxy.in_charge();
    proxy.signal("TERM");
    eventually("the new process ends", || !is_running(new));
    assert!(proxy.said().contains("stopped; every client had finished"), "{}", proxy.said());
    assert!(TcpStream::connect(proxy.address(1)).is_err());
}
