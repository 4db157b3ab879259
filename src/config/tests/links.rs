//! `[[link]]`: what it comes to, and what is wrong with it.

use std::time::Duration;

use super::super::Bind;
use super::super::link::{End, Target, Trust};
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
    let Trust::Link(pinned) = &entry.trust else { panic!("a link") };
    assert_eq!(pinned.peers, [PEER.parse().unwrap()]);
    let End::Exit { services } = &exit.end else { panic!("an exit") };
    assert_eq!(services.get("main"), Some(&Target::Tcp("127.0.0.1:6379".to_owned())));
    assert!(matches!(&exit.bind, Bind::Tcp(address) if address.port() == 7443));
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
