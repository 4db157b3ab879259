//! The authority of `redan cert`: its key signs, its index remembers what was issued and what is revoked.
//!
//! The index is text, one line a certificate: serial number, last second, second of its revocation or `-`, name.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::{self, PUBLIC, SECRET};

const DAY: u64 = 86400;

/// Clocks of machines differ.
const BEFORE: u64 = 3600;

/// Redan goes on using a list that is older; others may not.
const LIST_DAYS: u64 = 365;

pub(super) enum Purpose {
    /// By these names and addresses. Servers of a group are clients of each other, so it is good for both.
    Server(Vec<String>),
    /// With this common name.
    Client(String),
}

pub(super) struct Authority {
    cert: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new one in the folder.
    pub(super) fn found(folder: &Path, name: &str, days: u32) -> Result<(), String> {
        std::fs::create_dir_all(folder).map_err(|error| files::unwritable(folder, &error))?;
        let [cert, key, list, index] = ["ca.pem", "ca.key", "ca.crl", "ca.index"].map(|name| folder.join(name));
        files::refuse_existing(&[&cert, &key, &list, &index])?;
        let pair = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
        validity(&mut params, days);
        let certificate = params.self_signed(&pair).map_err(failed)?;
        files::create(&key, &pair.serialize_pem(), SECRET)?;
        files::create(&cert, &certificate.pem(), PUBLIC)?;
        files::create(&index, "", PUBLIC)?;
        Self::open(&cert, None)?.write_list().map(drop)
    }

    pub(super) fn open(cert: &Path, key: Option<&Path>) -> Result<Self, String> {
        let key = key.map_or_else(|| cert.with_extension("key"), Path::to_owned);
        let wrong = |path: &Path, error: rcgen::Error| format!("{}: cannot be used: {error}", path.display());
        let pair = KeyPair::from_pem(&files::read(&key)?).map_err(|error| wrong(&key, error))?;
        let text = files::read(cert)?;
        let certificate = super::certificate(cert)?;
        let is_its_own = X509Certificate::from_der(&certificate).is_ok_and(|(_, certificate)| {
            certificate.public_key().subject_public_key.data.as_ref() == pair.public_key_raw()
        });
        if !is_its_own {
            return Err(format!("{} is not the key of {}; say which with --ca-key", key.display(), cert.display()));
        }
        let issuer = Issuer::from_ca_cert_pem(&text, pair).map_err(|error| wrong(cert, error))?;
        Ok(Self { cert: cert.to_owned(), issuer })
    }

    /// Certificate and key in files that begin with `out`.
    pub(super) fn issue(&self, purpose: &Purpose, out: &Path, days: u32) -> Result<[PathBuf; 2], String> {
        let [cert, key] = ["pem", "key"].map(|ending| files::with_ending(out, ending));
        files::refuse_existing(&[&cert, &key])?;
        let serial = random_serial()?;
        let (mut params, name, usages) = match purpose {
            Purpose::Server(names) => {
                names.iter().try_for_each(|name| usable(name))?;
                let params = CertificateParams::new(names.clone()).map_err(failed)?;
                let both = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
                (params, names[0].as_str(), both)
            }
            Purpose::Client(name) => {
                let bad = name.is_empty() || name.len() > 64 || name.chars().any(char::is_control);
                if bad {
                    return Err(format!("\"{}\" is no name of a client; write 1 to 64 letters", name.escape_debug()));
                }
                (CertificateParams::default(), name.as_str(), vec![ExtendedKeyUsagePurpose::ClientAuth])
            }
        };
        // A common name has at most 64 letters; servers are known by their other names anyway.
        params.distinguished_name = common_name(&name.chars().take(64).collect::<String>());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let last = validity(&mut params, days);
        let pair = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&pair, &self.issuer).map_err(failed)?;
        // Noted before it exists: what is not in the index could not be revoked.
        let mut entries = self.entries()?;
        entries.push(Entry { serial: hex(&serial), last, revoked: None, name: name.to_owned() });
        self.write_entries(&entries)?;
        files::create(&key, &pair.serialize_pem(), SECRET)?;
        files::create(&cert, &certificate.pem(), PUBLIC)?;
        Ok([cert, key])
    }

    /// Where the list is on which it stands now.
    pub(super) fn revoke(&self, certificate: &CertificateDer<'_>, file: &Path) -> Result<PathBuf, String> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|_| format!("{}: is no certificate that can be read", file.display()))?;
        let serial = hex(parsed.raw_serial());
        let mut entries = self.entries()?;
        let Some(entry) = entries.iter_mut().find(|entry| same_serial(&entry.serial, &serial)) else {
            return Err(format!(
                "{}: its serial number {serial} is not in {}; was it issued by another authority?",
                file.display(),
                self.index().display()
            ));
        };
        entry.revoked.get_or_insert_with(now);
        self.write_entries(&entries)?;
        self.write_list()
    }

    pub(super) fn write_list(&self) -> Result<PathBuf, String> {
        let revoked = |entry: &Entry| {
            Some(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&unhex(&entry.serial)?),
                revocation_time: moment(entry.revoked?),
                reason_code: None,
                invalidity_date: None,
            })
        };
        let list = CertificateRevocationListParams {
            this_update: moment(now()),
            next_update: moment(now() + LIST_DAYS * DAY),
            // It must grow, as time does.
            crl_number: SerialNumber::from(now()),
            issuing_distribution_point: None,
            revoked_certs: self.entries()?.iter().filter_map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let text = list.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(failed)?;
        let path = self.cert.with_extension("crl");
        files::replace(&path, &text, PUBLIC)?;
        Ok(path)
    }

    fn index(&self) -> PathBuf {
        self.cert.with_extension("index")
    }

    fn entries(&self) -> Result<Vec<Entry>, String> {
        let path = self.index();
        let text = files::read(&path)?;
        let read = |(number, line): (usize, &str)| {
            Entry::read(line).ok_or_else(|| format!("{}:{}: cannot be read; restore it", path.display(), number + 1))
        };
        text.lines().enumerate().map(read).collect()
    }

    fn write_entries(&self, entries: &[Entry]) -> Result<(), String> {
        let text: String = entries.iter().map(Entry::line).collect();
        files::replace(&self.index(), &text, PUBLIC)
    }
}

struct Entry {
    serial: String,
    last: u64,
    revoked: Option<u64>,
    name: String,
}

impl Entry {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let (serial, last, revoked, name) = (words.next()?, words.next()?, words.next()?, words.next()?);
        unhex(serial)?;
        let revoked = if revoked == "-" { None } else { Some(revoked.parse().ok()?) };
        Some(Self { serial: serial.to_owned(), last: last.parse().ok()?, revoked, name: name.to_owned() })
    }

    fn line(&self) -> String {
        let revoked = self.revoked.map_or_else(|| "-".to_owned(), |second| second.to_string());
        format!("{} {} {revoked} {}\n", self.serial, self.last, self.name)
    }
}

fn failed(error: rcgen::Error) -> String {
    format!("the certificate cannot be made: {error}")
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// A name that clients can dial: an address, or labels, of which the first may be `*`.
fn usable(name: &str) -> Result<(), String> {
    let label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        letters && (1..=63).contains(&label.len())
    };
    let host = name.strip_prefix("*.").unwrap_or(name);
    if name.parse::<IpAddr>().is_ok() || (name.len() <= 253 && host.split('.').all(label)) {
        return Ok(());
    }
    Err(format!("\"{}\" is neither a host name nor an IP address", name.escape_debug()))
}

/// Returns the last second.
fn validity(params: &mut CertificateParams, days: u32) -> u64 {
    let last = now() + u64::from(days) * DAY;
    params.not_before = moment(now() - BEFORE);
    params.not_after = moment(last);
    last
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().max(BEFORE)
}

/// In the type that rcgen takes.
fn moment(second: u64) -> time::OffsetDateTime {
    rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(second)
}

/// 127 random bits, which nobody can guess and which never meet.
fn random_serial() -> Result<[u8; 16], String> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| "the operating system gives no random bytes".to_owned())?;
    // Positive, and of the same length always.
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|letter| Some(letter.to_digit(16)? as u8)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2) && !digits.is_empty())?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn same_serial(one: &str, other: &str) -> bool {
    one.trim_start_matches('0') == other.trim_start_matches('0')
}
