//! What several tests stand on: running servers, running proxies, certificates.

pub(crate) mod certs;
pub(crate) mod proxy;
pub(crate) mod redis;
