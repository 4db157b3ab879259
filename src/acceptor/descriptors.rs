//! File descriptors: every client takes one, so their limit is the real limit of clients.
//!
//! Called once at the start of the process, and for the words of the error when they run out after all.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::limits::LINK_HANDSHAKES;

/// Descriptors that are not clients: listeners, the runtimes' own, log, admin connections, lanes (three a worker and
/// node), with room to spare.
const OVERHEAD: u64 = 256;

/// Raises the soft limit to the hard one: the soft one, 1024 on most systems, protects programs that use `select`, and
/// Redan does not. Returns the limit; `None` is no limit.
pub(crate) fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // The old one still holds, and whoever needs more is warned by `shortage`.
        Err(_) => limit.current,
    }
}

/// Connections to a master that each worker keeps for the next client that needs one of its own.
const KEPT_PINS: u64 = 64;

/// A connection over a link has two sides here: the program's or target's, and the network's.
const SIDES_OF_A_LINK: u64 = 2;

/// What the configuration allows at once.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    clients: u64,
    /// Kept connections to masters.
    kept: u64,
    /// Connections over links.
    linked: u64,
    /// Who knocks at exits and has proven nothing yet.
    strangers: u64,
}

/// A sentence for the operator when the configured clients, and connections over links, do not fit the limit.
pub(crate) fn shortage(config: &Config, limit: Option<u64>) -> Option<String> {
    let exits = config.links.iter().filter(|link| link.is_exit()).count();
    let allowed = Allowed {
        clients: config.listeners.iter().map(|listener| listener.max_clients as u64).sum(),
        kept: (config.workers * config.groups.len()) as u64 * KEPT_PINS,
        linked: config.links.iter().map(|link| link.max_connections as u64).sum(),
        strangers: (exits * LINK_HANDSHAKES) as u64,
    };
    allowed.beyond(limit?)
}

impl Allowed {
    fn beyond(self, limit: u64) -> Option<String> {
        let Self { clients, kept, linked, strangers } = self;
        let of_links = linked.saturating_mul(SIDES_OF_A_LINK).saturating_add(strangers);
        let needed = clients.saturating_add(kept).saturating_add(of_links).saturating_add(OVERHEAD);
        let advice = advice();
        (needed > limit).then(|| match linked {
            0 => format!(
                "the listeners allow {clients} clients, but this process may open only {limit} files, and a client that \
                 blocks or has a transaction open takes two; {advice}, or lower `max_clients`"
            ),
            _ => format!(
                "the listeners allow {clients} clients and the links {linked} connections, each of which takes two files, but \
                 this process may open only {limit}; {advice}, or lower `max_clients` and the links' `max_connections`"
            ),
        })
    }
}

pub(super) fn advice() -> &'static str {
    "raise the limit of open files (LimitNOFILE= under systemd, --ulimit nofile= in a container, ulimit -n in a shell)"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_limit();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(limit, now.current);
        assert_eq!(now.current, now.maximum);
    }

    #[test]
    fn both_sides_of_links_and_strangers_at_exits_are_counted() {
        let clients = Allowed { clients: 1000, kept: 64, linked: 0, strangers: 0 };
        assert_eq!(clients.beyond(1320), None);
        assert!(clients.beyond(1319).is_some_and(|words| words.contains("1000 clients, but")));
        let links = Allowed { clients: 1000, kept: 0, linked: 500, strangers: 256 };
        assert_eq!(links.beyond(1000 + 2 * 500 + 256 + 256), None);
        assert!(links.beyond(2511).is_some_and(|words| words.contains("the links 500 connections")));
        assert!(Allowed { linked: u64::MAX, ..links }.beyond(u64::MAX - 1).is_some());
    }
}
