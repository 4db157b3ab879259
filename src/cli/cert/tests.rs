//! An authority in a folder: what it issues is believed, what it revokes is not, and nothing is written over.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use clap::Parser;

use super::*;
use crate::config::{Identity, ListenerTls};
use crate::tls::server;

#[derive(Debug, Parser)]
struct Words {
    #[command(subcommand)]
    command: Cert,
}

fn cert(words: &str, folder: &Path) -> Result<String, String> {
    let words = words.replace("certs/", &format!("{}/", folder.display()));
    let words = Words::try_parse_from(std::iter::once("cert").chain(words.split(' ')));
    words.map_err(|error| error.to_string()).and_then(|words| carry_out(words.command))
}

#[test]
fn what_is_issued_is_believed_until_it_is_revoked() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let done = |words: &str| cert(words, folder.path()).unwrap_or_else(|error| panic!("{words}: {error}"));
    let refused = |words: &str| cert(words, folder.path()).expect_err(words);
    done("ca --out certs/");
    done("issue --ca certs/ca.pem --name redis.internal --name 10.0.0.1 --out certs/redis.internal");
    done("issue --ca certs/ca.pem --ca-key certs/ca.key --client app --days 7");
    done("issue --ca certs/ca.pem --client other");
    for (file, mode) in [("ca.key", 0o600), ("redis.internal.key", 0o600), ("app.key", 0o600), ("app.pem", 0o644)] {
        let metadata = std::fs::metadata(at(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(metadata.permissions().mode() & 0o777 & !0o022, mode, "{file}");
    }
    let before = std::fs::read(at("app.key")).expect("a key");
    assert!(refused("issue --ca certs/ca.pem --client app").contains("exists already and is kept"));
    assert!(refused("ca --out certs/").contains("exists already and is kept"));
    assert_eq!(std::fs::read(at("app.key")).expect("a key"), before);

    let tls = ListenerTls {
        certificates: vec![Identity { cert: at("redis.internal.pem"), key: at("redis.internal.key") }],
        only_tls13: false,
        handshake_timeout: Duration::from_secs(1),
        client_ca: Some(at("ca.pem")),
        client_crl: vec![at("ca.crl")],
        client_may_show_none: false,
        user: None,
    };
    let accepts = |name: &str| {
        let shown = certificate(&at(name)).expect("a certificate");
        server::load(&tls).expect("good files").accepts(Some(&[shown]))
    };
    assert_eq!((accepts("app.pem"), accepts("other.pem")), (Ok(()), Ok(())));
    done("revoke --ca certs/ca.pem certs/app.pem");
    assert!(accepts("app.pem").expect_err("revoked").to_string().contains("Revoked"));
    assert_eq!(accepts("other.pem"), Ok(()));
    done("crl --ca certs/ca.pem");
    assert!(accepts("app.pem").is_err(), "it stays revoked");
    assert_eq!(accepts("redis.internal.pem"), Ok(()), "a server is a client of others");
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = tempfile::tempdir().expect("a folder");
    for folder in [&folder, &other] {
        cert("ca --out certs/ --name Another", folder.path()).expect("made");
        cert("issue --ca certs/ca.pem --client app", folder.path()).expect("made");
    }
    let theirs = other.path().display();
    for (words, expected) in [
        (format!("revoke --ca certs/ca.pem {theirs}/app.pem"), "was it issued by another authority?"),
        (format!("issue --ca certs/ca.pem --ca-key {theirs}/ca.key --client b"), "is not the key of"),
        ("issue --ca certs/ca.pem --name a..b".to_owned(), "neither a host name nor an IP address"),
        ("issue --ca certs/ca.pem --name *.b".to_owned(), "makes no name of a file"),
        ("issue --ca certs/ca.pem".to_owned(), "--name"),
        ("issue --ca certs/absent.pem --client b".to_owned(), "cannot be read"),
        ("pin certs/ca.key".to_owned(), "holds no certificate"),
    ] {
        let said = cert(&words, folder.path()).expect_err(&words);
        assert!(said.contains(expected), "{words}: {said}");
    }
    let pin = cert("pin certs/app.pem", folder.path()).expect("a pin");
    assert!(crate::config::pin(&pin).is_ok(), "{pin}");
}
