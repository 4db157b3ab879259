//! The links of a file as `redan check` compares them with addresses: which of them leads to what is dialled somewhere.
//!
//! Used by the search for what goes around links. Names are resolved, nothing is sent.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use crate::config::link::{End, Link, Target};
use crate::config::{Bind, Group};
use crate::topology::address::{is_loopback, linked, split_host_port};

/// For a name that a resolver does not know at once.
const RESOLVE: Duration = Duration::from_secs(1);

/// The links of a file, with what they need to be compared.
pub(super) struct Links<'a> {
    all: &'a [Arc<Link>],
    pub(super) group: &'a Group,
    /// Where the other ends stand.
    beyond: Vec<(&'a Link, Vec<IpAddr>)>,
}

pub(super) async fn resolve(address: &str) -> Vec<SocketAddr> {
    let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host(address)).await;
    found.ok().and_then(Result::ok).into_iter().flatten().collect()
}

/// Nothing is sent: a socket can only be bound to an address of this host.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

impl<'a> Links<'a> {
    pub(super) async fn of(all: &'a [Arc<Link>], group: &'a Group) -> Self {
        let mut beyond = Vec::new();
        for link in all {
            if let End::Entry { to, .. } = &link.end {
                let ips = resolve(to).await.iter().map(SocketAddr::ip).filter(|ip| !is_local(*ip)).collect();
                beyond.push((&**link, ips));
            }
        }
        Self { all, group, beyond }
    }

    /// The link whose entry listens at this address.
    pub(super) async fn entry_at(&self, address: &str) -> Option<&'a Link> {
        let ats = resolve(address).await;
        let listens = |bind: &Bind| match bind {
            Bind::Tcp(bind) => ats.iter().any(|at| {
                at.port() == bind.port() && (at.ip() == bind.ip() || bind.ip().is_unspecified() && is_local(at.ip()))
            }),
            Bind::Unix { .. } => false,
        };
        let mut entries = self.beyond.iter().map(|(link, _)| *link);
        entries.find(|link| link.bind.as_ref().is_some_and(listens))
    }

    /// The link that leads to what is dialled at this address, or that could.
    pub(super) async fn to(&self, address: &str) -> Option<&'a Link> {
        if let Some(name) = linked(address) {
            return self.beyond.iter().map(|(link, _)| *link).find(|link| link.name == name);
        }
        if let Some(link) = self.entry_at(address).await {
            return Some(link);
        }
        let ats = resolve(address).await;
        let stands_there = |ips: &Vec<IpAddr>| ats.iter().any(|at| ips.contains(&at.ip()));
        self.beyond.iter().find(|(_, ips)| stands_there(ips)).map(|(link, _)| *link)
    }

    /// What is announced so is reached through a link, as the operator says.
    pub(super) fn maps(&self, announced: &str) -> Option<&Arc<str>> {
        self.group.map.iter().find(|mapped| &*mapped.announced == announced).map(|mapped| &mapped.dialled)
    }

    /// The exit that leads to the server which is dialled at this address.
    pub(super) fn exit_to(&self, address: &str) -> Option<&'a Link> {
        let port = |address: &str| split_host_port(address).map(|(_, port)| port);
        let is_it = |target: &Target| match target {
            Target::Tcp(target) => target == address || is_loopback(target) && port(target) == port(address),
            Target::Unix(_) => false,
        };
        let leads_there = |link: &&Arc<Link>| match &link.end {
            End::Exit { services, .. } => services.values().flatten().any(is_it),
            End::Entry { .. } => false,
        };
        self.all.iter().find(leads_there).map(|link| &**link)
    }

    /// What a replica of this host should follow.
    pub(super) fn advice(&self, link: Option<&Link>) -> String {
        let used = self.beyond.iter().map(|(link, _)| *link).find(|link| self.group.goes_over(&link.name));
        let Some(link) = link.or(used).or_else(|| self.beyond.first().map(|(link, _)| *link)) else {
            return "make it follow the entry of a link".to_owned();
        };
        match &link.bind {
            Some(Bind::Tcp(at)) => {
                format!("make it follow the entry of link '{}': REPLICAOF {} {}", link.name, at.ip(), at.port())
            }
            _ => format!("give link '{}' an address (`entry = \"127.0.0.1:8000\"`) and make it follow that", link.name),
        }
    }
}

/// Both mean the same socket to this host.
pub(super) async fn same(one: &str, other: &str) -> bool {
    let (one, other) = (resolve(one).await, resolve(other).await);
    one.iter().any(|at| other.contains(at))
}
