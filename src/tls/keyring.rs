//! What Redan presents to the nodes of one group and whom among them it believes, as it is now.
//!
//! Shared by whatever dials: lanes, pins, subscriptions, probes. `renewal` replaces entries while they are used; whoever holds
//! an old one finishes its handshake with it and asks [`Keyring::still_accepts`] afterwards.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;

use super::TlsError;
use super::client::{self, Reaching};
use super::contents::Digest;
use super::validity::Expiry;
use crate::config::{Access, Group, NodeTls};

#[derive(Debug)]
pub(crate) struct Keyring {
    group: Arc<Group>,
    /// One for each access with TLS of the group.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    access: Arc<Access>,
    now: ArcSwap<Reaching>,
}

impl Keyring {
    /// From the files as they are now.
    pub(crate) fn load(group: &Arc<Group>) -> Result<Self, TlsError> {
        let mut entries: Vec<Entry> = Vec::new();
        for access in group.accesses() {
            if let (Some(tls), false) = (&access.tls, entries.iter().any(|entry| Arc::ptr_eq(&entry.access, access))) {
                entries.push(Entry { access: Arc::clone(access), now: ArcSwap::from_pointee(client::load(tls)?) });
            }
        }
        Ok(Self { group: Arc::clone(group), entries })
    }

    /// For the node at this address; `None` is plaintext.
    pub(crate) fn to(&self, address: &str) -> Option<(&NodeTls, Arc<Reaching>)> {
        let access = self.group.access_to(address);
        let entry = self.entries.iter().find(|entry| Arc::ptr_eq(&entry.access, access))?;
        Some((access.tls.as_ref()?, entry.now.load_full()))
    }

    /// Whether the node at this address, which was believed when it showed this chain, is believed now.
    pub(crate) fn still_accepts(&self, address: &str, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        // Without TLS there is nothing to believe.
        let Some((tls, reaching)) = self.to(address) else { return Ok(()) };
        let name = client::server_name(tls, address).map_err(|error| error.to_string())?;
        reaching.accepts(&name, chain).map_err(|error| client::certificate_trouble(&error))
    }

    /// The settings of each entry, by which their files are found.
    pub(crate) fn settings(&self) -> impl Iterator<Item = &NodeTls> {
        self.entries.iter().filter_map(|entry| entry.access.tls.as_ref())
    }

    /// Of the files behind each entry.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.entries.iter().map(|entry| entry.now.load().digest()).collect()
    }

    /// Puts a new one into the place of the entry with this number; whether other nodes are believed now.
    pub(crate) fn replace(&self, index: usize, new: Reaching) -> bool {
        let new = Arc::new(new);
        let old = self.entries[index].now.swap(Arc::clone(&new));
        !old.trusts_as(&new)
    }

    pub(crate) fn expiries(&self) -> impl Iterator<Item = Expiry> + '_ {
        self.entries.iter().flat_map(|entry| entry.now.load().expiries.clone())
    }
}
