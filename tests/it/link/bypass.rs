//! `redan check` finds replication and Sentinels that go around a link, and what would lead them there.

use crate::support::link::{Far, Keys};
use crate::support::linked::{Machine, eventually};
use crate::support::network::inside;

/// Both hosts as people set them up after a how-to: servers listen everywhere, links lead to 127.0.0.1:8000 of each other.
fn config(keys: &Keys, own: u8, other: u8, group: &str) -> String {
    let (mine, theirs) = if own == 1 { (&keys.exit, &keys.entry) } else { (&keys.entry, &keys.exit) };
    format!(
        "[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:6380\"\n[[group]]\nname = \"main\"\n{group}\n\
         [[link]]\nname = \"there\"\nentry = \"127.0.0.1:8000\"\nto = \"10.77.0.{other}:7443\"\nidentity = \"{0}\"\npeers = [\"{1}\"]\n\
         [[link]]\nname = \"here\"\nexit = \"0.0.0.0:7443\"\nto = \"127.0.0.1:6379\"\nidentity = \"{0}\"\npeers = [\"{1}\"]\n",
        mine.file, theirs.line
    )
}

const NODES: &str = "nodes = [\"127.0.0.1:6379\", \"link:there\"]\nconnect_timeout = \"1s\"";

fn finds(machine: &Machine, toml: &str, words: &[&str]) {
    machine.check_until(toml, |said, fine| !fine && words.iter().all(|words| said.contains(words)));
}

fn is_fine(machine: &Machine, toml: &str) {
    machine.check_until(toml, |_, fine| fine);
}

#[test]
fn check_finds_replication_that_goes_around_a_link() {
    inside("link::bypass::check_finds_replication_that_goes_around_a_link", |network| {
        let [one, two, three] = [1, 2, 3].map(|number| Machine::new(network, number));
        let keys = Keys::make();
        let [on_one, on_two] = [(1, 2), (2, 1)].map(|(own, other)| config(&keys, own, other, NODES));
        let a = one.host.redis(&[]);
        // Replicas are kept from an empty master with another history, as this one would be to a replica that was promoted.
        a.client().ok(&["SET", "key", "value"]);
        let b = two.host.redis(&["replicaof 127.0.0.1 8000"]);
        let redans = [(&one, &on_one), (&two, &on_two)].map(|(own, toml)| Far::start(&own.host, toml));
        b.wait_for_link();

        // The master sees its replica at its own address, which would mislead a Sentinel.
        let misled = "note:  127.0.0.1:6379 lists a replica as 127.0.0.1:6379, which nobody else finds there";
        one.check_until(&on_one, |said, fine| fine && said.contains(misled) && said.contains("`announce`"));
        let mut replica = b.client();
        let follow = |replica: &mut crate::support::client::Client, host: &str, port: &str| {
            replica.ok(&["REPLICAOF", "NO", "ONE"]);
            replica.ok(&["REPLICAOF", host, port]);
        };
        replica.ok(&["CONFIG", "SET", "replica-announce-ip", "10.77.0.2"]);
        follow(&mut replica, "127.0.0.1", "8000");
        b.wait_for_link();
        is_fine(&one, &on_one);
        is_fine(&two, &on_two);

        // Somebody points it at the master's own address. Both hosts can tell.
        follow(&mut replica, "10.77.0.1", "6379");
        b.wait_for_link();
        finds(
            &two,
            &on_two,
            &[
                "127.0.0.1:6379 follows 10.77.0.1:6379, which is no entry of a link",
                "in plaintext",
                "REPLICAOF 127.0.0.1 8000",
            ],
        );
        finds(&one, &on_one, &["a replica of 127.0.0.1:6379 is connected from 10.77.0.2 and not through link 'here'"]);
        // Where the file has no link to the other host, it may as well be a neighbour.
        let (before, links) = on_one.split_once("[[link]]").expect("two links");
        let (_, exit) = links.split_once("[[link]]").expect("two links");
        let alone = before.replace(", \"link:there\"", "") + "[[link]]" + exit;
        let beside = "note:  a replica of 127.0.0.1:6379 is connected from 10.77.0.2 and not through link 'here'; if another site is there";
        one.check_until(&alone, |said, fine| fine && said.contains(beside));
        follow(&mut replica, "127.0.0.1", "8000");
        b.wait_for_link();
        is_fine(&two, &on_two);

        // A second one by another link, with the same name.
        let third = config(&keys, 2, 1, "nodes = [\"127.0.0.1:6379\", \"link:there\"]");
        let _more = Far::start(&three.host, &third);
        let c = three.host.redis(&["replicaof 127.0.0.1 8000", "replica-announce-ip 10.77.0.2"]);
        c.wait_for_link();
        finds(&one, &on_one, &["lists two replicas as 10.77.0.2:6379"]);
        drop(redans);
    });
}

#[test]
fn check_finds_sentinels_that_would_lead_replication_around_a_link() {
    inside("link::bypass::check_finds_sentinels_that_would_lead_replication_around_a_link", |network| {
        let [one, two] = [1, 2].map(|number| Machine::new(network, number));
        let keys = Keys::make();
        let on_one = config(&keys, 1, 2, NODES);
        let sentinel = "sentinel = { master = \"mymaster\", addresses = [\"10.77.0.1:26379\"] }";
        let watched = config(&keys, 2, 1, &format!("{NODES}\n{sentinel}"));
        let _a = one.host.redis(&[]);
        let b = two.host.redis(&["replicaof 127.0.0.1 8000", "replica-announce-ip 10.77.0.2"]);
        let _redans = [(&one, &on_one), (&two, &watched)].map(|(own, toml)| Far::start(&own.host, toml));
        b.wait_for_link();
        is_fine(&two, &config(&keys, 2, 1, NODES));

        // The Sentinel knows the master by the address that is no link's.
        let lines = |own: &str| {
            format!(
                "bind * -::*\nprotected-mode no\nsentinel monitor mymaster 10.77.0.1 6379 1\n\
                 sentinel down-after-milliseconds mymaster 60000\n{own}\n"
            )
        };
        let _first = one.serve_at("10.77.0.1", 26379, &lines("sentinel announce-ip 10.77.0.1"), &["--sentinel"]);
        finds(
            &two,
            &watched,
            &[
                "the Sentinels call the master 10.77.0.1:6379, and 127.0.0.1:6379 follows 127.0.0.1:8000",
                "+fix-slave-config",
            ],
        );
        // Two that say the same of themselves, and one that says what means every host.
        let same = "sentinel announce-ip 10.77.0.2\nsentinel announce-port 26379";
        let _second = two.serve_at("10.77.0.2", 26379, &lines(same), &["--sentinel"]);
        let _third = two.serve_at("10.77.0.2", 26380, &lines(same), &["--sentinel"]);
        let loopback = "sentinel announce-ip 127.0.0.1\nsentinel announce-port 26381";
        let _fourth = two.serve_at("10.77.0.2", 26381, &lines(loopback), &["--sentinel"]);
        // The second and the third push each other out of the first's list.
        eventually("the first knows the others", || {
            one.ask("10.77.0.1", 26379, &["SENTINEL", "MASTER", "mymaster"]).contains("num-other-sentinels\n2")
        });
        finds(
            &two,
            &watched,
            &[
                "2 Sentinels announce 10.77.0.2:26379",
                "the Sentinel 10.77.0.1:26379 knows another one as 127.0.0.1:26381, which means its own host",
            ],
        );
        eventually("nothing was changed meanwhile", || {
            b.client().ask(&["INFO", "replication"]).contains("master_port:8000")
        });
    });
}
