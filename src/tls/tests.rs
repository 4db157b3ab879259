//! Handshakes in memory between the two configurations, and what their errors say.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::config::{ListenerTls, NodeTls};

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

    fn listener(&self) -> ListenerTls {
        ListenerTls {
            cert: self.at("leaf.pem"),
            key: self.at("leaf.key"),
            client_ca: None,
            client_may_show_none: false,
            user: None,
        }
    }

    fn node(&self) -> NodeTls {
        NodeTls { ca: self.at("ca.pem"), server_name: Some("redis.test".into()), identity: None }
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
    let mut c = ClientConnection::new(client::client_config(node).expect("client"), name)?;
    let mut s = ServerConnection::new(server::server_config(listener).expect("server"))?;
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
    let identity = Some((files.at("leaf.pem"), files.at("leaf.key")));
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
    let says = |listener: ListenerTls| server::server_config(&listener).expect_err("refused").to_string();
    let named = |text: &str, file: &str, words: &str| {
        assert!(text.contains(Path::new(file).to_str().expect("utf-8")) && text.contains(words), "{text}");
    };
    named(&says(ListenerTls { cert: files.at("absent.pem"), ..files.listener() }), "absent.pem", "cannot be read");
    named(&says(ListenerTls { cert: files.at("empty.pem"), ..files.listener() }), "empty.pem", "no certificate");
    named(&says(ListenerTls { key: files.at("empty.pem"), ..files.listener() }), "empty.pem", "private key");
    named(&says(ListenerTls { key: files.at("other.key"), ..files.listener() }), "other.key", "not the key of");
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
