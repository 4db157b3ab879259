//! File descriptors: every client takes one, so their limit is the real limit of clients.
//!
//! Called once at the start of the process, and for the words of the error when they run out after all.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

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

/// A sentence for the operator when the configured clients do not fit the limit.
pub(crate) fn shortage(config: &Config, limit: Option<u64>) -> Option<String> {
    let limit = limit?;
    let clients: u64 = config.listeners.iter().map(|listener| listener.max_clients as u64).sum();
    let needed = clients.saturating_add(OVERHEAD);
    (needed > limit).then(|| {
        format!(
            "the listeners allow {clients} clients, but this process may open only {limit} files, and a client that \
             blocks or has a transaction open takes two; {}, or lower `max_clients`",
            advice()
        )
    })
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
}
