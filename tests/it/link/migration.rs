//! From stunnel to links, as `docs/guides/from-stunnel.md` has it: with its own configurations, under replication that never begins
//! anew and is never readable.

use std::path::Path;

use super::stunnel::foreign_key;
use crate::support::capture::Capture;
use crate::support::link::{Far, Keys, keygen};
use crate::support::network::{Host, Running, Server, inside};
use crate::support::redis::{eventually, within};

const GUIDE: &str = include_str!("../../../docs/guides/from-stunnel.md");
const MARK: &str = "readable-by-anyone-";

/// The configuration with this number, with the hosts, the key and the lines of this test.
fn of_the_guide(number: usize, identity: &str, lines: &[&str]) -> String {
    let block = GUIDE.split("\n```toml\n").nth(number + 1).and_then(|rest| rest.split("\n```").next());
    let mut text =
        block.expect("it is in the guide").replace("master.example", "10.77.0.1").replace("link.key", identity);
    for line in lines {
        text = text.replacen("redan1…", line, 1);
    }
    assert!(!text.contains('…'), "{text}");
    text
}

fn stunnel(host: &Host, folder: &Path, name: &str, lines: &str) -> Running {
    let file = folder.join(format!("{name}.conf"));
    std::fs::write(&file, format!("foreground = yes\npid =\nsyslog = no\n[link]\nsslVersion = TLSv1.3\n{lines}"))
        .expect("writable");
    Running::start(host.command("stunnel").arg(&file))
}

fn redan(host: &Host, toml: &str) -> Far {
    let far = Far::start(host, toml);
    let links = toml.matches("[[link]]").count();
    eventually("its links are there", || {
        far.said().matches("entry on").count() + far.said().matches("exit on").count() == links
    });
    far
}

fn stat(server: &Server, name: &str) -> u32 {
    let stats = server.client().ask(&["INFO", "stats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|number| number.trim().parse().ok()).expect("a number")
}

/// The replica goes on over this port, with a partial sync, and gets what is written then.
fn goes_on(here: &Host, master: &Server, replica: &Server, port: &str, step: u32) {
    let partial = stat(master, "sync_partial_ok");
    replica.client().ok(&["REPLICAOF", "127.0.0.1", port]);
    within(std::time::Duration::from_secs(60), "the replica goes on", || stat(master, "sync_partial_ok") > partial);
    replica.wait_for_link();
    let value = format!("{step}:{}", MARK.repeat(40));
    let set = here.command("redis-cli").args(["SET", "step", &value]).output().expect("redis-cli runs");
    assert!(set.status.success());
    let mut client = replica.client();
    eventually("it has what is written", || client.text(&["GET", "step"]).as_deref() == Some(&*value));
    assert_eq!(stat(master, "sync_full"), 1, "nothing began anew");
}

#[test]
fn from_stunnel_step_by_step() {
    inside("link::migration::from_stunnel_step_by_step", |network| {
        let [here, there] = [1, 2].map(|number| network.host(number));
        let capture = Capture::start(MARK);
        let folder = tempfile::tempdir().expect("a folder");
        let [of_server, of_client] = ["server", "client"].map(|name| {
            let own = folder.path().join(name);
            std::fs::create_dir(&own).expect("a folder");
            foreign_key(&own)
        });
        let keys = Keys::make();
        let certificate = keygen(&["--certificate", &keys.entry.file]).stdout;
        let read = |file: &str| std::fs::read(file).expect("readable");
        // Both the old client and the new one may come, as the first step says.
        let trusted = folder.path().join("trusted.pem");
        std::fs::write(&trusted, [read(&of_client.0), certificate].concat()).expect("writable");
        let server_lines = format!(
            "accept = 7443\nconnect = 127.0.0.1:6379\ncert = {}\nCAfile = {}\nverifyPeer = yes\n",
            of_server.0,
            trusted.display()
        );
        let client_lines = format!(
            "client = yes\naccept = 127.0.0.1:8000\nconnect = 10.77.0.1:7443\ncert = {}\nCAfile = {}\nverifyPeer = yes\n",
            of_client.0, of_server.0
        );
        let mut tunnels = vec![
            stunnel(&here, folder.path(), "server", &server_lines),
            stunnel(&there, folder.path(), "client", &client_lines),
        ];
        let master = here.redis(&["repl-timeout 60"]);
        let replica = there.redis(&["repl-timeout 60", "replicaof 127.0.0.1 8000"]);
        replica.wait_for_link();

        let (ours, theirs) = (&keys.entry, &keys.exit);
        let first = redan(&there, &of_the_guide(0, &ours.file, &[&of_server.1]));
        goes_on(&here, &master, &replica, "8001", 1);
        tunnels.pop();

        let exit = redan(&here, &of_the_guide(1, &theirs.file, &[&ours.line]));
        drop(first);
        let second = redan(&there, &of_the_guide(2, &ours.file, &[&of_server.1, &theirs.line]));
        goes_on(&here, &master, &replica, "8002", 2);
        tunnels.pop();

        drop(exit);
        let _exits = redan(&here, &of_the_guide(3, &theirs.file, &[&ours.line, &ours.line]));
        drop(second);
        let _third = redan(&there, &of_the_guide(4, &ours.file, &[&theirs.line, &theirs.line]));
        goes_on(&here, &master, &replica, "8000", 3);

        let seen = capture.finish();
        assert!(seen.bytes > 5_000 && seen.of_the_test > 0, "{} bytes, {} readable", seen.bytes, seen.of_the_test);
        assert_eq!(seen.readable, 0, "frames between the hosts are readable");
    });
}
