//! TLS settings from files: what Redan presents to clients and nodes, and whom among them it trusts.
//!
//! Builds `rustls` configurations; streams are made by `transport` and by the probes. `renewal` builds them anew when the
//! files change. Never logs key material.

pub(crate) mod client;
pub(crate) mod contents;
pub(crate) mod identity;
pub(crate) mod keyring;
pub(crate) mod mutual;
pub(crate) mod names;
mod pem;
pub(crate) mod pinned;
pub(crate) mod pins;
pub(crate) mod server;
mod sni;
pub(crate) mod validity;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// A TLS setting that cannot be used. The operator is at fault; each says which file and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{}: cannot be read: {problem}; check the path and its permissions", .file.display())]
    Unreadable { file: PathBuf, problem: String },
    #[error("{}: cannot be written: {problem}", .file.display())]
    NotWritten { file: PathBuf, problem: String },
    #[error("{}: holds no certificate; it must be PEM with BEGIN CERTIFICATE", .file.display())]
    NoCertificate { file: PathBuf },
    #[error("{}: holds no usable private key ({problem}); it must be unencrypted PEM (PKCS#8, PKCS#1 or SEC1)", .file.display())]
    NoKey { file: PathBuf, problem: String },
    #[error("{}: is not the key of {}; give the key that the certificate was made for", .key.display(), .cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    #[error("{}: is not accepted ({problem}); make a new certificate with an ECDSA P-256 or RSA 2048 key", .file.display())]
    Refused { file: PathBuf, problem: String },
    #[error("{}: is no revocation list ({problem}); it must be one of the CA's, in PEM", .file.display())]
    NoRevocationList { file: PathBuf, problem: String },
    #[error("{}: holds no pins ({problem}); write one a line, as `redan cert pin FILE` prints it", .file.display())]
    NoPins { file: PathBuf, problem: String },
    #[error("{}: is no list of peers ({problem}); write one a line, as `redan keygen` printed it at the other end", .file.display())]
    NoPeers { file: PathBuf, problem: String },
    #[error("{}: has expired; renew it", .file.display())]
    Expired { file: PathBuf },
    #[error("'{name}' is not a DNS name or IP address; set `server_name` in the group's `tls`")]
    Name { name: String },
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// aws-lc-rs with AES-128-GCM before AES-256-GCM: it is secure, and cheaper by four rounds of fourteen. Key
/// exchange is X25519MLKEM768 first (the `prefer-post-quantum` feature).
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    let aes_128 = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite()).contains("AES_128");
    // Stable: what is not AES-128 keeps its order; TLS 1.3 and 1.2 suites never compete with each other.
    provider.cipher_suites.sort_by_key(|suite| !aes_128(suite));
    Arc::new(provider)
}

#[cfg(test)]
mod tests;
