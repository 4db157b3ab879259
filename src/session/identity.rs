//! Who a session is: what its client said of itself, and what Redan says of it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Instant;

use crate::throttle::Source;

/// Where a client connects from.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Tcp { remote: SocketAddr, local: SocketAddr },
    Unix { path: Box<str>, uid: u32 },
}

impl Peer {
    pub(super) fn source(&self) -> Source {
        match self {
            Self::Tcp { remote, .. } => remote.ip().into(),
            Self::Unix { uid, .. } => Source::Unix { uid: *uid },
        }
    }

    /// As in `addr=` and `laddr=` of CLIENT INFO.
    pub(super) fn remote(&self) -> String {
        match self {
            Self::Tcp { remote, .. } => remote.to_string(),
            Self::Unix { path, .. } => format!("{path}:0"),
        }
    }

    /// The part of `addr=` before the port.
    pub(super) fn ip(&self) -> String {
        match self {
            Self::Tcp { remote, .. } => remote.ip().to_string(),
            Self::Unix { path, .. } => path.to_string(),
        }
    }

    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Unix { .. })
    }

    pub(super) fn local(&self) -> String {
        match self {
            Self::Tcp { local, .. } => local.to_string(),
            Self::Unix { path, .. } => format!("{path}:0"),
        }
    }
}

/// Kept apart from the session, and small: most clients set at most a name.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) id: u64,
    pub(super) peer: Peer,
    pub(super) since: Instant,
    /// The listener's user whom its certificate names: what it is again after RESET.
    pub(super) by_certificate: Option<Box<str>>,
    /// The user it authenticated as; `default` until then.
    pub(super) user: Cow<'static, str>,
    pub(super) name: Box<str>,
    pub(super) library: Box<str>,
    pub(super) library_version: Box<str>,
    /// CLIENT NO-EVICT and NO-TOUCH: kept, and shown again.
    pub(super) no_evict: bool,
    pub(super) no_touch: bool,
    /// CLIENT CAPA REDIRECT: kept and shown too. Redan follows the master itself and never sends a client elsewhere.
    pub(super) takes_redirects: bool,
}

impl Identity {
    pub(super) fn new(id: u64, peer: Peer, since: Instant) -> Self {
        Self {
            id,
            peer,
            since,
            by_certificate: None,
            user: "default".into(),
            name: "".into(),
            library: "".into(),
            library_version: "".into(),
            no_evict: false,
            no_touch: false,
            takes_redirects: false,
        }
    }

    /// As in `capa=`.
    pub(super) fn capabilities(&self) -> &'static str {
        if self.takes_redirects { "r" } else { "" }
    }
}
