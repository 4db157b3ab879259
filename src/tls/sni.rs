//! Which of a listener's certificates a client is shown: the one that carries the name it dials.
//!
//! Asked by rustls within a handshake, so it must stay cheap: a listener has a handful of certificates.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::names::names;
use crate::config::CertificateField;

#[derive(Debug)]
pub(super) struct ByName {
    /// At least one; the first is the default.
    certificates: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    /// In lower case, `*.` included.
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl ByName {
    pub(super) fn new(keys: Vec<CertifiedKey>) -> Self {
        let named =
            |key: CertifiedKey| Named { names: key.cert.first().map(dns_names).unwrap_or_default(), key: key.into() };
        Self { certificates: keys.into_iter().map(named).collect() }
    }

    /// The whole name counts before a wildcard; of several, the first whose key the client can check; the default where none
    /// carries the name, so that the client says what it misses.
    fn choose(&self, dialled: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let dialled = dialled.map(str::to_ascii_lowercase);
        let whole = |name: &str| dialled.as_deref() == Some(name);
        let wild = |name: &str| {
            let parent = dialled.as_deref().and_then(|dialled| dialled.split_once('.')).map(|(_, parent)| parent);
            parent.is_some() && name.strip_prefix("*.") == parent
        };
        let usable = |named: &&Named| named.key.key.choose_scheme(schemes).is_some();
        let of = |carries: &dyn Fn(&str) -> bool| {
            self.certificates.iter().filter(usable).find(|named| named.names.iter().any(|name| carries(name)))
        };
        let chosen = of(&whole).or_else(|| of(&wild)).or_else(|| self.certificates.iter().find(usable));
        chosen.or_else(|| self.certificates.first()).map(|named| Arc::clone(&named.key))
    }
}

fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    names(certificate, CertificateField::Dns).iter().map(|name| name.to_ascii_lowercase()).collect()
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
    use rustls::pki_types::PrivateKeyDer;

    use super::*;
    use crate::tls::provider;

    fn certified(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> CertifiedKey {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).expect("names").self_signed(&key).expect("a certificate");
        let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        CertifiedKey::from_der(vec![certificate.der().clone()], private, &provider()).expect("a pair")
    }

    #[test]
    fn whole_names_before_wildcards_before_the_default() {
        let p256 = &PKCS_ECDSA_P256_SHA256;
        let sets: [&[&str]; 4] = [&["default.test"], &["*.apps.test"], &["One.apps.test", "10.0.0.1"], &["*.test"]];
        let by_name = ByName::new(sets.iter().map(|names| certified(names, p256)).collect());
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        for (dialled, expected) in [
            (None, 0),
            (Some("default.test"), 0),
            (Some("two.apps.test"), 1),
            (Some("one.apps.test"), 2),
            (Some("ONE.apps.TEST"), 2),
            (Some("other.test"), 3),
            (Some("a.b.apps.test"), 0),
            (Some("apps.test"), 3),
            (Some("test"), 0),
            (Some("elsewhere.org"), 0),
            (Some("10.0.0.1"), 0),
        ] {
            let chosen = by_name.choose(dialled, &schemes).expect("one");
            assert!(Arc::ptr_eq(&chosen, &by_name.certificates[expected].key), "{dialled:?}");
        }
    }

    #[test]
    fn of_two_with_one_name_the_client_gets_the_one_it_can_check() {
        let keys = vec![certified(&["a.test"], &PKCS_ED25519), certified(&["a.test"], &PKCS_ECDSA_P256_SHA256)];
        let by_name = ByName::new(keys);
        for (scheme, expected) in [(SignatureScheme::ED25519, 0), (SignatureScheme::ECDSA_NISTP256_SHA256, 1)] {
            for dialled in [Some("a.test"), None] {
                let chosen = by_name.choose(dialled, &[scheme]).expect("one");
                assert!(Arc::ptr_eq(&chosen, &by_name.certificates[expected].key), "{scheme:?} {dialled:?}");
            }
        }
    }
}
