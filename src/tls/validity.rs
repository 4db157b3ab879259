//! Until when certificates and revocation lists are good.
//!
//! Read from the files by `server` and `nodes`; `renewal` warns by it, admin exports it. What cannot be read has no end here:
//! whoever uses it complains.

use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

/// A file, and when the first thing in it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    pub(crate) file: PathBuf,
    /// In seconds since 1970.
    pub(crate) at: i64,
    /// What is good until then: a certificate, or a revocation list, which counts on after it.
    pub(crate) is_list: bool,
}

impl Expiry {
    /// Of the certificate that ends first.
    pub(super) fn of_certificates(file: &Path, chain: &[CertificateDer<'_>]) -> Option<Self> {
        let at = chain.iter().filter_map(not_after).min()?;
        Some(Self { file: file.to_owned(), at, is_list: false })
    }

    pub(super) fn of_lists(file: &Path, lists: &[CertificateRevocationListDer<'_>]) -> Option<Self> {
        let next = |list: &CertificateRevocationListDer<'_>| {
            let (_, list) = CertificateRevocationList::from_der(list.as_ref()).ok()?;
            Some(list.next_update()?.timestamp())
        };
        let at = lists.iter().filter_map(next).min()?;
        Some(Self { file: file.to_owned(), at, is_list: true })
    }
}

/// When to speak of it, in days before the end: renewals are monthly, weekly, or today's.
const STAGES: [i64; 3] = [30, 7, 1];
const DAY: i64 = 86400;

impl Expiry {
    /// Seconds until the end; negative after it.
    pub(crate) fn left(&self, now: i64) -> i64 {
        self.at.saturating_sub(now)
    }

    /// Which warning is due: 0 is none, and every later one is louder.
    pub(crate) fn stage(&self, now: i64) -> usize {
        let left = self.left(now);
        STAGES.iter().filter(|days| left < **days * DAY).count() + usize::from(left < 0)
    }

    /// In a sentence; `None` when none is due.
    pub(crate) fn warning(&self, now: i64) -> Option<String> {
        let (file, left) = (self.file.display(), self.left(now));
        let days = left / DAY;
        match (self.stage(now), self.is_list) {
            (0, _) => None,
            (_, false) if left < 0 => Some(format!("{file}: a certificate in it has expired; renew it")),
            (_, true) if left < 0 => Some(format!(
                "{file}: a newer list should be there; this one counts on, but what was revoked since is not in it"
            )),
            (_, false) if days > 0 => Some(format!("{file}: a certificate in it expires in {days} days; renew it")),
            (_, false) => Some(format!("{file}: a certificate in it expires in {} hours; renew it", left / 3600)),
            (_, true) => Some(format!("{file}: the list is to be replaced within {} hours", left / 3600)),
        }
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

pub(crate) fn now() -> i64 {
    i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX)
}

/// When a chain that was good at its handshake shall be judged: now, or in its last moment. That it has grown old meanwhile
/// ends no connection; that it was revoked does.
pub(super) fn judged_at(chain: &[CertificateDer<'_>]) -> UnixTime {
    let end = chain.iter().filter_map(not_after).min().and_then(|end| u64::try_from(end).ok());
    let now = UnixTime::now().as_secs();
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(end.map_or(now, |end| end.min(now))))
}
