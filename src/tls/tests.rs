//! Handshakes in memory between the two configurations, and what their errors say.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConnection, ServerConnection};

use super::contents::Contents;
use super::*;
use crate::config::{Identity, ListenerTls, NodeTls, NodeTrust};

struct Files {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Files {
    /// `ca.pem`, `leaf.pem` + `leaf.key` for "redis.test", `other.key`, `empty.pem`.
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().to_owned();
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("ca");
        let key = KeyPair::generate().expect("key");
        let leaf =
            CertificateParams::new(vec!["redis.test".to_owned()]).expect("params").signed_by(&key, &ca).expect("leaf");
        let write = |name: &str, text: String| std::fs::write(path.join(name), text).expect("write");
        write("ca.pem", ca.pem());
        write("leaf.pem", leaf.pem());
        write("leaf.key", key.serialize_pem());
        write("other.key", KeyPair::generate().expect("key").serialize_pem());
        write("empty.pem", String::new());
        Self { _folder: folder, path }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn identity(&self, cert: &str, key: &str) -> Identity {
        Identity { cert: self.at(cert), key: self.at(key) }
    }

    fn listener(&self) -> ListenerTls {
        ListenerTls {
            certificates: vec![self.identity("leaf.pem", "leaf.key")],
            only_tls13: false,
            handshake_timeout: Duration::from_secs(10),
            client_ca: None,
            client_crl: Vec::new(),
            client_may_show_none: false,
            user: None,
        }
    }

    fn node(&self) -> NodeTls {
        NodeTls {
            trust: NodeTrust::Ca { ca: self.at("ca.pem"), crl: Vec::new() },
            server_name: Some("redis.test".into()),
            identity: None,
        }
    }
}

/// Moves bytes between the two until neither has any, and returns the first complaint.
fn shake(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
    let mut wire = Vec::new();
    loop {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        let to_server = wire.len();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("memory");
            server.process_new_packets()?;
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        let to_client = wire.len();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("memory");
            client.process_new_packets()?;
        }
        if to_server == 0 && to_client == 0 {
            return Ok(());
        }
    }
}

fn connect(listener: &ListenerTls, node: &NodeTls) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = client::server_name(node, "127.0.0.1:6379").expect("name");
    let mut c = ClientConnection::new(client::load(node).expect("client").config, name)?;
    let mut s = ServerConnection::new(server::load(listener).expect("server").config)?;
    shake(&mut c, &mut s).map(|()| (c, s))
}

#[test]
fn a_handshake_chooses_tls13_the_hybrid_key_exchange_and_aes_128() {
    let files = Files::make();
    let (mut client, mut server) = connect(&files.listener(), &files.node()).expect("handshake");
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(client.negotiated_key_exchange_group().expect("group").name(), rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(client.negotiated_cipher_suite().expect("suite").suite(), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    client.writer().write_all(b"PING").expect("write");
    shake(&mut client, &mut server).expect("data");
    let mut got = [0; 4];
    server.reader().read_exact(&mut got).expect("read");
    assert_eq!(&got, b"PING");
}

#[test]
fn a_client_without_certificate_is_refused_where_one_is_required() {
    let files = Files::make();
    let listener = ListenerTls { client_ca: Some(files.at("ca.pem")), ..files.listener() };
    assert!(connect(&listener, &files.node()).is_err());
    let identity = Some(files.identity("leaf.pem", "leaf.key"));
    let (_, server) = connect(&listener, &NodeTls { identity, ..files.node() }).expect("with a certificate");
    assert!(server.peer_certificates().is_some());
}

#[test]
fn a_wrong_name_and_a_wrong_ca_are_explained() {
    let files = Files::make();
    let says = |node: &NodeTls| {
        let error = connect(&files.listener(), node).map(|_| ()).expect_err("refused");
        client::handshake_trouble(&std::io::Error::other(error))
    };
    assert!(says(&NodeTls { server_name: None, ..files.node() }).contains("set `server_name`"));
    let strangers = Files::make();
    assert!(says(&strangers.node()).contains("not signed by the configured `ca`"));
}

#[test]
fn errors_name_the_file() {
    let files = Files::make();
    let says = |listener: ListenerTls| server::load(&listener).expect_err("refused").to_string();
    let named = |text: &str, file: &str, words: &str| {
        assert!(text.contains(Path::new(file).to_str().expect("utf-8")) && text.contains(words), "{text}");
    };
    named(
        &says(ListenerTls { certificates: vec![files.identity("absent.pem", "leaf.key")], ..files.listener() }),
        "absent.pem",
        "cannot be read",
    );
    named(
        &says(ListenerTls { certificates: vec![files.identity("empty.pem", "leaf.key")], ..files.listener() }),
        "empty.pem",
        "no certificate",
    );
    named(
        &says(ListenerTls { certificates: vec![files.identity("leaf.pem", "empty.pem")], ..files.listener() }),
        "empty.pem",
        "private key",
    );
    named(
        &says(ListenerTls { certificates: vec![files.identity("leaf.pem", "other.key")], ..files.listener() }),
        "other.key",
        "not the key of",
    );
    named(
        &says(ListenerTls { client_ca: Some(files.at("empty.pem")), ..files.listener() }),
        "empty.pem",
        "no certificate",
    );
}

#[test]
fn the_name_to_verify_is_the_host_unless_set() {
    let files = Files::make();
    let plain = NodeTls { server_name: None, ..files.node() };
    let text = |tls: &NodeTls, address: &str| client::server_name(tls, address).map(|name| name.to_str().into_owned());
    assert_eq!(text(&plain, "redis.internal:6379").expect("name"), "redis.internal");
    assert_eq!(text(&plain, "[::1]:6379").expect("address"), "::1");
    assert_eq!(text(&files.node(), "10.0.0.1:6379").expect("set"), "redis.test");
    assert!(text(&plain, "not a name:6379").is_err());
}

/// The client's certificate is asked for in the first handshake alone; the tickets of other files are void.
#[test]
fn a_ticket_does_not_outlive_the_files_it_was_given_under() {
    let files = Files::make();
    let listener = ListenerTls { client_ca: Some(files.at("ca.pem")), ..files.listener() };
    let node = NodeTls { identity: Some(files.identity("leaf.pem", "leaf.key")), ..files.node() };
    let client = client::load(&node).expect("client").config;
    let kind = |server: &Arc<rustls::ServerConfig>| {
        let name = client::server_name(&node, "127.0.0.1:6379").expect("name");
        let mut c = ClientConnection::new(Arc::clone(&client), name).expect("client");
        let mut s = ServerConnection::new(Arc::clone(server)).expect("server");
        shake(&mut c, &mut s).expect("handshake");
        assert!(s.peer_certificates().is_some(), "also when it resumes");
        s.handshake_kind().expect("finished")
    };
    let server = server::load(&listener).expect("server").config;
    assert_eq!(kind(&server), rustls::HandshakeKind::Full);
    assert_eq!(kind(&server), rustls::HandshakeKind::Resumed);
    let other = server::load(&listener).expect("server").config;
    assert_eq!(kind(&other), rustls::HandshakeKind::Full);
}

#[test]
fn a_pinned_node_needs_the_key_and_nothing_else() {
    let files = Files::make();
    let leaf =
        pem::certificates(&Contents::read([files.at("leaf.pem").as_path()]), &files.at("leaf.pem")).expect("leaf");
    let right = pins::of(&leaf[0]).expect("a key");
    let wrong = [7; 32];
    let pinned = |pins: &[crate::config::Pin], file: Option<PathBuf>| NodeTls {
        trust: NodeTrust::Pins { pins: pins.to_vec(), file },
        server_name: None,
        identity: None,
    };
    for tls in [pinned(&[right], None), pinned(&[wrong, right], None)] {
        connect(&files.listener(), &tls).expect("the address is not in the certificate, and need not be");
    }
    let error = connect(&files.listener(), &pinned(&[wrong], None)).map(|_| ()).expect_err("another key");
    let said = client::handshake_trouble(&std::io::Error::other(error));
    assert!(said.contains(&pins::show(&right)) && said.contains("none of the pins"), "{said}");
    // The right certificate in the hands of somebody who has not its key.
    let forged = rustls::sign::CertifiedKey::new(leaf, other_key(&files));
    let mut config = (*server::load(&files.listener()).expect("server").config).clone();
    config.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(forged));
    let mut c = ClientConnection::new(
        client::load(&pinned(&[right], None)).expect("client").config,
        client::server_name(&pinned(&[right], None), "127.0.0.1:6379").expect("name"),
    )
    .expect("client");
    let mut s = ServerConnection::new(Arc::new(config)).expect("server");
    assert!(shake(&mut c, &mut s).is_err(), "whoever shows the certificate must hold its key");

    let listed = files.at("pins");
    for (text, expected) in [("", "it is empty"), ("sha256:12", "is not a pin"), ("# none\n\n", "it is empty")] {
        std::fs::write(&listed, text).expect("writable");
        let error = client::load(&pinned(&[right], Some(listed.clone()))).expect_err("refused").to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    std::fs::write(&listed, format!("{}  # the node\n", pins::show(&right))).expect("writable");
    connect(&files.listener(), &pinned(&[], Some(listed))).expect("listed in the file");
}

fn other_key(files: &Files) -> Arc<dyn rustls::sign::SigningKey> {
    use rustls::pki_types::pem::PemObject;
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(files.at("other.key")).expect("a key");
    provider().key_provider.load_private_key(key).expect("a key")
}

#[test]
fn warnings_come_in_stages() {
    const DAY: i64 = 86400;
    let expiry = validity::Expiry { file: "a.pem".into(), at: 100 * DAY, is_list: false };
    for (now, stage, words) in [
        (69 * DAY, 0, None),
        (71 * DAY, 1, Some("expires in 29 days")),
        (94 * DAY, 2, Some("expires in 6 days")),
        (99 * DAY + 3600, 3, Some("expires in 23 hours")),
        (101 * DAY, 4, Some("has expired")),
    ] {
        assert_eq!(expiry.stage(now), stage);
        let warning = expiry.warning(now);
        assert_eq!(warning.is_some(), words.is_some());
        assert!(warning.unwrap_or_default().contains(words.unwrap_or_default()), "{now}");
    }
}
