//! Addresses of nodes, `host:port`: taking them apart, and judging what another node's word for one is worth.
//!
//! Pure text; no name is resolved here.

use std::collections::BTreeMap;
use std::sync::Arc;

/// `host` and `port` of `host:port`; an IPv6 host stands in brackets and is returned without them.
pub(crate) fn split_host_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then_some((host, port))
}

/// The name in `link:dc2`, a node that is reached through a link of this process. What is a port makes it an address as
/// any other, of a host that is called `link`.
pub(crate) fn linked(address: &str) -> Option<&str> {
    let name = address.strip_prefix("link:")?;
    (!name.is_empty() && !name.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// Puts `host` and `port` together, with brackets where an IPv6 address needs them.
pub(crate) fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether the address can only mean the host it is used on.
pub(crate) fn is_loopback(address: &str) -> bool {
    let host = split_host_port(address).map_or(address, |(host, _)| host);
    host == "localhost" || host == "::1" || host.starts_with("127.")
}

/// Where Redan dials what others announce: the operator's `map`, and what needs none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(BTreeMap<String, Arc<str>>);

impl Places {
    /// Pairs of an announced address and the one to dial.
    pub(crate) fn new<'a>(map: impl IntoIterator<Item = (&'a Arc<str>, &'a Arc<str>)>) -> Self {
        Self(map.into_iter().map(|(announced, dialled)| (announced.to_string(), Arc::clone(dialled))).collect())
    }

    /// Where to dial what `speaker` calls `address`; `None` when it means nothing here.
    pub(crate) fn place(&self, speaker: &str, address: &str) -> Option<Arc<str>> {
        match self.0.get(address) {
            Some(dialled) => Some(Arc::clone(dialled)),
            None => is_meaningful(speaker, address).then(|| address.into()),
        }
    }

    /// What the node at `speaker` calls what is dialled here at `address`; `None` when that is not known.
    pub(super) fn name<'a>(&'a self, speaker: &str, address: &'a str) -> Option<&'a str> {
        let announced = self.0.iter().find(|(_, dialled)| &***dialled == address).map(|(announced, _)| &**announced);
        announced.or_else(|| is_meaningful(speaker, address).then_some(address))
    }
}

/// Whether an address that the node at `speaker` gave means the same server to Redan. A node on another host
/// that names 127.0.0.1 means its own host, a tunnel's entry for instance; dialling it here would reach
/// a stranger.
fn is_meaningful(speaker: &str, address: &str) -> bool {
    split_host_port(address).is_some() && (!is_loopback(address) || is_loopback(speaker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_split_and_joined() {
        for (text, want) in [
            ("redis:6379", Some(("redis", 6379))),
            ("[::1]:6379", Some(("::1", 6379))),
            ("::1:6379", None),
            ("redis", None),
            (":6379", None),
            ("redis:66000", None),
            ("[::1:6379", None),
        ] {
            assert_eq!(split_host_port(text), want, "{text}");
            if let Some((host, port)) = want {
                assert_eq!(join_host_port(host, port), text);
            }
        }
    }

    #[test]
    fn a_link_is_told_from_a_host_that_is_called_so() {
        for (text, want) in [
            ("link:dc2", Some("dc2")),
            ("link:6379", None),
            ("link:", None),
            ("links:a", None),
            ("link:2.dc", Some("2.dc")),
        ] {
            assert_eq!(linked(text), want, "{text}");
            assert!(want.is_none() || split_host_port(text).is_none() && !is_loopback(text), "{text}");
        }
        assert_eq!(split_host_port("link:6379"), Some(("link", 6379)));
    }

    #[test]
    fn a_loopback_address_means_something_only_from_a_node_on_this_host() {
        for (speaker, address, want) in [
            ("127.0.0.1:1", "127.0.0.1:2", true),
            ("localhost:1", "[::1]:2", true),
            ("10.0.0.2:1", "127.0.0.1:8000", false),
            ("redis-1:1", "localhost:8000", false),
            ("10.0.0.2:1", "10.0.0.3:2", true),
            ("127.0.0.1:1", "nonsense", false),
        ] {
            assert_eq!(is_meaningful(speaker, address), want, "{speaker} says {address}");
        }
    }

    #[test]
    fn what_is_mapped_is_dialled_elsewhere_whoever_says_it() {
        let places = Places::new([(&"10.0.0.5:1".into(), &"127.0.0.1:8001".into())]);
        for (address, want) in
            [("10.0.0.5:1", Some("127.0.0.1:8001")), ("10.0.0.6:1", Some("10.0.0.6:1")), ("127.0.0.1:8001", None)]
        {
            assert_eq!(places.place("10.0.0.2:1", address).as_deref(), want, "{address}");
        }
    }
}
