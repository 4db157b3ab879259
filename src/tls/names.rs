//! The names that a client's certificate carries, in the one field that a listener goes by.
//!
//! Used after a handshake, when the certificate has been verified already. It must never judge who a name is.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::CertificateField;

/// None at all from what cannot be read. A subject with several common names has none: which of them was meant?
pub(crate) fn names(certificate: &CertificateDer<'_>, field: CertificateField) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    if field == CertificateField::CommonName {
        let mut common: Vec<&str> =
            certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect();
        return if common.len() == 1 { common.drain(..).map(str::to_owned).collect() } else { Vec::new() };
    }
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let wanted = |name: &GeneralName<'_>| match (field, name) {
        (CertificateField::Dns, GeneralName::DNSName(name)) | (CertificateField::Uri, GeneralName::URI(name)) => {
            Some((*name).to_owned())
        }
        _ => None,
    };
    alternative.value.general_names.iter().filter_map(wanted).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn each_field_has_its_own_names() {
        let mut params = CertificateParams::new(vec!["one.test".to_owned(), "10.0.0.1".to_owned()]).expect("names");
        params.subject_alt_names.push(SanType::DnsName("two.test".try_into().expect("a name")));
        params.subject_alt_names.push(SanType::URI("spiffe://test/app".try_into().expect("a URI")));
        params.distinguished_name.push(DnType::CommonName, "app");
        params.distinguished_name.push(DnType::OrganizationName, "admin");
        let certificate = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        let of = |field| names(certificate.der(), field);
        assert_eq!(of(CertificateField::CommonName), ["app"]);
        assert_eq!(of(CertificateField::Dns), ["one.test", "two.test"]);
        assert_eq!(of(CertificateField::Uri), ["spiffe://test/app"]);
        let bare = CertificateParams::default().self_signed(&KeyPair::generate().expect("a key")).expect("one");
        assert_eq!(names(bare.der(), CertificateField::Dns), Vec::<String>::new());
        assert_eq!(names(&CertificateDer::from(vec![1, 2, 3]), CertificateField::CommonName), Vec::<String>::new());
    }
}
