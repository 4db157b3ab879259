//! What several tests stand on: running servers.

pub(crate) mod proxy;
