//! `[[link]]`: what it comes to, and what is wrong with it.

use std::time::Duration;

use super::super::Bind;
use super::super::link::{Commands, EmptyMaster, End, Replicas, Target, Trust};
use super::Directory;

const PEER: &str = "redan1q8xyjf5skj4rrg3ptng3wg26e3wenwranmpnfqt9zus0qtgu4e95qju4ace";

fn link(lines: &str) -> String {
    format!("[[link]]\nname = \"dc2\"\nidentity = \"keys/dc1.key\"\npeers = [\"{PEER}\"]\n{lines}\n")
}

#[test]
fn links_alone_are_a_configuration() {
    let entry = link("entry = \"127.0.0.1:8000\"\nto = \"dc2:7443\"");
    let exit = link("exit = \"0.0.0.0:7443\"\nto = \"127.0.0.1:6379\"").replace("dc2", "from");
    let config = Directory::new().load(&(entry + &exit)).unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    let [entry, exit] = &config.links[..] else { panic!("two links") };
    assert!(matches!(&entry.end, End::Entry { to, service, announce: None } if to == "dc2:7443" && service == "main"));
    assert_eq!((entry.resume, entry.replay, entry.max_connections), (Duration::from_secs(30), 8 << 20, 1000));
    let usual = Replicas { empty_master: EmptyMaster::Refuse, empty_below: 1, full_syncs: None, rdb_rate: None };
    assert_eq!(entry.replicas, usual);
    assert_eq!(exit.replicas, Replicas { empty_master: EmptyMaster::Allow, ..usual });
    let Trust::Link(pinned) = &entry.trust else { panic!("a link") };
    assert_eq!(pinned.peers, [vec![PEER.parse().unwrap()]]);
    let End::Exit { services, .. } = &exit.end else { panic!("an exit") };
    assert_eq!(services.get("main"), Some(&vec![Target::Tcp("127.0.0.1:6379".to_owned())]));
    assert!(matches!(&exit.bind, Some(Bind::Tcp(address)) if address.port() == 7443));
}

#[test]
fn groups_reach_nodes_and_sentinels_through_links() {
    let group = "[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:6380\"\n[[group]]\nname = \"main\"\n\
                 nodes = [\"link:dc2\", { address = \"link:6379\", weight = 1 }]\nmap = { \"10.0.0.5:1\" = \"link:dc2\" }\n\
                 sentinel = { master = \"m\", addresses = [\"link:dc2\"] }\n";
    let entry = link("entry = \"inside\"\nto = \"dc2:7443\"");
    let config = Directory::new().load(&format!("{group}{entry}")).unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(config.links[0].bind, None);
    let group_read = &config.groups[0];
    assert!(group_read.goes_over("dc2") && !group_read.goes_over("6379"), "a port makes it a host");
    assert_eq!(&*group_read.map[0].dialled, "link:dc2");

    let exit = entry.replace("entry = \"inside\"", "exit = \"0.0.0.0:7443\"");
    for (text, expected) in [
        (group.to_owned(), "no [[link]] with an `entry` is called \"dc2\"; add a [[link]]"),
        (format!("{group}{exit}"), "no [[link]] with an `entry` is called \"dc2\""),
        (format!("{group}{entry}permissions = \"0700\"\n"), "no program connects to an entry that is \"inside\""),
        (group.replace("link:dc2\", {", "link:dc3\", {") + &entry, "called \"dc3\"; write \"link:dc2\""),
    ] {
        let errors = Directory::new().load(&text).expect_err(expected);
        assert!(errors.iter().any(|error| error.contains(expected)), "{expected}\n{errors:#?}");
    }
    let unused = Directory::new().load(&entry).unwrap().warnings;
    assert!(unused[0].contains("nothing can use this link: write \"link:dc2\""), "{unused:?}");
}

#[test]
fn peers_may_stand_in_a_file_and_have_several_keys_and_an_exit_may_choose_its_commands() {
    let directory = Directory::new();
    let text =
        link("exit = \"0.0.0.0:7443\"\nto = \"a:1\"\npeers_file = \"certs/node.pins\"\ncommands = \"read-only\"");
    let config = directory.load(&text.replace("peers = ", "# ")).unwrap();
    let Trust::Link(pinned) = &config.links[0].trust else { panic!("a link") };
    assert!(
        pinned.peers.is_empty() && pinned.peers_file.as_ref().is_some_and(|file| file.ends_with("certs/node.pins"))
    );
    assert!(matches!(config.links[0].end, End::Exit { commands: Commands::ReadOnly, .. }));
    let config = directory.load(&text.replace(PEER, &format!("{PEER} {PEER}"))).unwrap();
    let Trust::Link(pinned) = &config.links[0].trust else { panic!("a link") };
    assert_eq!(pinned.peers, [vec![PEER.parse().unwrap(); 2]]);
    let ca = "exit = \"0.0.0.0:7443\"\nto = \"a:1\"\nmode = \"tls\"\n\
              tls = { ca = \"certs/ca.pem\", cert = \"certs/redan.pem\", key = \"certs/redan.key\", crl = [\"certs/ca.crl\"] }";
    let config = directory.load(&link(ca).replace("peers = ", "# ").replace("identity = ", "# ")).unwrap();
    assert!(matches!(&config.links[0].trust, Trust::CaTls(files) if files.crl[0].ends_with("certs/ca.crl")));
}

#[test]
fn each_mistake_is_named_with_its_line() {
    let wrong_letter = PEER.replace('q', "p");
    let table = [
        (link("to = \"dc2:7443\""), 1, "lacks `entry` or `exit`"),
        (link("entry = \"127.0.0.1:1\"\nexit = \"0.0.0.0:2\"\nto = \"a:1\""), 6, "make two of this one"),
        (link("entry = \"0.0.0.0:8000\"\nto = \"dc2:7443\""), 5, "ask for it by name: `plaintext = \"allow\"`"),
        (link("entry = \"127.0.0.1:8000\""), 1, "lacks `to`"),
        (link("exit = \"0.0.0.0:7443\""), 1, "an exit lacks its target"),
        (link("exit = \"0.0.0.0:7443\"\nto = \"a:1\"\nservices = { x = \"b:1\" }"), 6, "write it into `services`"),
        (link("exit = \"0.0.0.0:7443\"\nservices = { x = 1 }"), 6, "a service is \"host:port\""),
        (link("exit = \"0.0.0.0:7443\"\nservices = { x = [\"a:1\", 2] }"), 6, "a service is \"host:port\""),
        (link("exit = \"0.0.0.0:7443\"\nservices = { x = [] }"), 6, "without a target serves nobody"),
        (link("exit = \"unix:sock\"\nto = \"a:1\""), 5, "an exit is reached over the network"),
        (link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"\ntls = { ca = \"certs/ca.pem\" }"), 7, "lacks `cert`"),
        (link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"").replace(PEER, &wrong_letter), 4, "its checksum is wrong"),
        (link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"").replace(PEER, "redan1qqq"), 4, "instead of 65"),
        (link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"").replace("peers", "#peers"), 1, "lacks `peers`"),
        (
            link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"").replace("identity", "#identity"),
            1,
            "`redan keygen dc1.key`",
        ),
        (link("exit = \"0.0.0.0:7443\"\nto = \"a:1\"\nservice = \"x\""), 7, "`service` is what an entry asks for"),
        (link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"\nfull_syncs = 0"), 7, "`full_syncs` is out of range"),
        (link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"\nrdb_rate = \"1kb\""), 7, "write 100kb to"),
        (link("exit = \"0.0.0.0:7443\"\nto = \"a:1\"\nempty_below = 5"), 7, "write `empty_master = \"refuse\"` too"),
        (
            link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"\nmode = \"tls\"\nfull_syncs = 1"),
            8,
            "`full_syncs` needs `mode = \"link\"`",
        ),
        (link("exit = \"0.0.0.0:7443\"\nto = \"a:1\"\ncommands = \"some\""), 7, "\"read-only\""),
        (
            link("exit = \"0.0.0.0:7443\"\nto = \"a:1\"\ncommands = \"sentinel\"\nmode = \"tls\""),
            7,
            "nobody looks at commands",
        ),
        (link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"\ncommands = \"sentinel\""), 7, "write it at the exit"),
        (link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"\npeers_file = \"none\""), 7, "none cannot be read"),
        (link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"").replace(PEER, " "), 4, "\"\" is no identity"),
        (
            link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"\ncompression = \"gzip\""),
            7,
            "write \"off\" or \"lz4\" or \"zstd\"",
        ),
        (
            link("entry = \"127.0.0.1:8000\"\nto = \"a:1\"\nmode = \"tls\"\ncompression = \"lz4\""),
            8,
            "plain TLS has no compression",
        ),
    ];
    for (text, line, expected) in table {
        let errors = Directory::new().load(&text).expect_err(expected);
        let found =
            errors.iter().any(|error| error.starts_with(&format!("proxy.toml:{line}: ")) && error.contains(expected));
        assert!(found, "{expected} in line {line}\n{text}\n{errors:#?}");
    }
}
