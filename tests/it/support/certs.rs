//! Certificates of a test's own authority, as files.

#![allow(dead_code, reason = "shared by two test binaries, each of which needs another part")]

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};

fn serial(index: usize) -> SerialNumber {
    SerialNumber::from(1000 + index as u64)
}

/// A CA with one certificate for 127.0.0.1, ::1 and localhost. Removed on drop.
pub(crate) struct Certs {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
    clients: Vec<String>,
}

impl Certs {
    pub(crate) fn make() -> Self {
        Self::with(|_| {})
    }

    /// Valid until the year 2000.
    pub(crate) fn expired() -> Self {
        Self::with(|leaf| leaf.not_after = rcgen::date_time_ymd(2000, 1, 1))
    }

    /// For another name alone.
    pub(crate) fn named(name: &str) -> Self {
        Self::with(|leaf| leaf.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a DNS name"))])
    }

    /// Beside the usual one, a certificate for each client: the name of its file, its common name, its other names.
    pub(crate) fn with_clients(clients: &[(&str, &str, &[SanType])]) -> Self {
        Self::build(|_| {}, clients)
    }

    /// Certificate and key of a client, in the forms that `redis-cli` takes.
    pub(crate) fn client(&self, name: &str) -> [String; 2] {
        ["pem", "key"].map(|ending| self.folder.path().join(format!("{name}.{ending}")).display().to_string())
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::build(change, &[])
    }

    fn build(change: impl FnOnce(&mut CertificateParams), clients: &[(&str, &str, &[SanType])]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // Without a name of its own it would share the leaf's, and OpenSSL would take the leaf for self-signed.
        params.distinguished_name.push(DnType::CommonName, "Redan test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        let key = KeyPair::generate().expect("a key");
        let names = ["127.0.0.1", "::1", "localhost"].map(str::to_owned).to_vec();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let leaf = params.signed_by(&key, &ca).expect("a certificate");
        let names = clients.iter().map(|(name, ..)| (*name).to_owned()).collect();
        let certs = Self { folder, issuer: ca, clients: names };
        let ca = &certs.issuer;
        for (path, text) in [(certs.ca(), ca.pem()), (certs.cert(), leaf.pem()), (certs.key(), key.serialize_pem())] {
            std::fs::write(path, text).expect("writable");
        }
        for (index, (name, common_name, names)) in clients.iter().enumerate() {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, *common_name);
            params.subject_alt_names = names.to_vec();
            params.serial_number = Some(serial(index));
            let leaf = params.signed_by(&key, ca).expect("a certificate");
            let [cert_file, key_file] = certs.client(name);
            std::fs::write(cert_file, leaf.pem()).expect("writable");
            std::fs::write(key_file, key.serialize_pem()).expect("writable");
        }
        certs
    }

    /// Another certificate with another key, for the same addresses or these names.
    pub(crate) fn issue(&self, names: &[&str]) -> [String; 2] {
        let names = if names.is_empty() { vec!["127.0.0.1", "::1", "localhost"] } else { names.to_vec() };
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names.into_iter().map(str::to_owned).collect::<Vec<_>>()).expect("names");
        [params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem()]
    }

    /// Writes the list on which these clients stand, and returns where.
    pub(crate) fn revoke(&self, names: &[&str]) -> PathBuf {
        let number = |name: &&str| self.clients.iter().position(|client| client == name).expect("a client");
        let revoked = names.iter().map(number).map(|index| RevokedCertParams {
            serial_number: serial(index),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.folder.path().join("ca.crl");
        let text = list.signed_by(&self.issuer).expect("a list").pem().expect("text");
        std::fs::write(&path, text).expect("writable");
        path
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.path().join("node.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("node.key")
    }
}
