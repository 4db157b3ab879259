//! Who a client is by the certificate it has shown: one of the listener's users, or nobody yet.
//!
//! Used once for each TLS client, after its handshake. It must never take a name for a user that the users file does not.

use rustls::pki_types::CertificateDer;

use crate::config::{Listener, User};
use crate::tls::names::names;

/// What becomes of a client.
#[derive(Debug)]
pub(super) enum Standing<'a> {
    /// It is this user.
    Known(&'a User),
    /// It begins as any client does. What its certificate says, if that ought to have been enough.
    Unknown(Option<String>),
    /// There is no other way to log in.
    Refused(String),
}

/// `shown` is the first certificate of its chain, which the listener's CA has signed.
pub(super) fn standing<'a>(listener: &'a Listener, shown: Option<&CertificateDer<'_>>) -> Standing<'a> {
    let (Some(field), Some(users)) = (listener.tls.as_ref().and_then(|tls| tls.user), &listener.users) else {
        return Standing::Unknown(None);
    };
    let names = shown.map(|certificate| names(certificate, field)).unwrap_or_default();
    if let Some(user) = users.by_certificate(&names) {
        return Standing::Known(user);
    }
    let what = match (shown, names.is_empty()) {
        (None, _) => "it shows no certificate".to_owned(),
        (Some(_), true) => "its certificate names nobody where `user` of the listener's `tls` looks".to_owned(),
        (Some(_), false) => {
            let quoted: Vec<String> = names.iter().map(|name| format!("\"{}\"", name.escape_default())).collect();
            format!(
                "its certificate names {}, and not exactly one user of the listener goes by that",
                quoted.join(", ")
            )
        }
    };
    if users.has_passwords() {
        return Standing::Unknown(shown.map(|_| what));
    }
    Standing::Refused(format!("{what}; no user has a password to log in with instead"))
}
