//! What several tests stand on: running servers, running proxies, certificates.

pub(crate) mod beside;
pub(crate) mod capture;
pub(crate) mod certs;
pub(crate) mod client;
pub(crate) mod endpoint;
pub(crate) mod fake;
pub(crate) mod group;
pub(crate) mod lagging;
pub(crate) mod left_out;
pub(crate) mod link;
pub(crate) mod linked;
pub(crate) mod network;
pub(crate) mod operator;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod relay;
pub(crate) mod sentinels;
pub(crate) mod sources;
pub(crate) mod stop;
pub(crate) mod tls;
pub(crate) mod value;
