//! What one end of a link shows and whom it believes, as it is now, and who has come in by it.
//!
//! Every handshake takes what is here at its moment. `renewal` replaces it when the files change; then everybody who is
//! connected is judged again: whoever is not believed any more loses its connections at once, and whoever has another key loses the
//! network connection alone, and goes on with the new one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::{mpsc, oneshot};

use super::frame::short;
use super::lock;
use crate::config::link::{End, Link, Peer, Trust};
use crate::identity::Identity;
use crate::tls::contents::{Contents, Digest};
use crate::tls::validity::Expiry;
use crate::tls::{TlsError, identity, mutual, pinned};

/// How this end's TLS is set up.
#[derive(Clone, Debug)]
enum Tls {
    Dials(Arc<ClientConfig>),
    Answers(Arc<ServerConfig>),
}

/// Whom this end believes.
#[derive(Debug)]
enum Trusted {
    Keys(Vec<Peer>),
    Certificates(mutual::Judge),
}

/// All of it as it stood in the files at one moment.
#[derive(Debug)]
pub(crate) struct Ring {
    tls: Tls,
    trusted: Trusted,
    /// Of this end, where it has one.
    identity: Option<Identity>,
    digest: Digest,
    pub(crate) expiries: Vec<Expiry>,
}

#[derive(Debug)]
pub(crate) struct Keyring {
    link: ArcSwap<Link>,
    now: ArcSwap<Ring>,
    /// By their numbers.
    guests: Mutex<HashMap<u64, Seat>>,
    next: AtomicU64,
}

/// What whoever is at the other end has proven.
#[derive(Debug)]
pub(super) enum Proof {
    Key(Identity),
    Chain(Vec<CertificateDer<'static>>),
}

#[derive(Debug)]
struct Seat {
    proof: Proof,
    known: Arc<Known>,
    expel: Option<oneshot::Sender<String>>,
    look: mpsc::UnboundedSender<()>,
}

/// The keys of one guest, as they are listed now.
#[derive(Debug)]
pub(super) struct Known(Mutex<Peer>);

impl Known {
    /// Whether whoever has proven this key is the same peer.
    pub(super) fn is(&self, key: &Identity) -> bool {
        lock(&self.0).contains(key)
    }
}

/// Every file of the link.
pub(crate) fn files(link: &Link) -> impl Iterator<Item = &Path> {
    let (pinned, certificates) = match &link.trust {
        Trust::Link(pinned) | Trust::PinnedTls(pinned) => (Some(pinned), None),
        Trust::CaTls(certificates) => (None, Some(certificates)),
    };
    let of_keys = pinned.into_iter().flat_map(|pinned| [Some(&pinned.identity), pinned.peers_file.as_ref()]);
    let of_keys = of_keys.flatten().map(|file| file.as_path());
    of_keys.chain(certificates.into_iter().flat_map(mutual::files))
}

/// The certificate that this end shows, which ends one day; a key does not.
pub(crate) fn own_certificate(link: &Link) -> Option<&Path> {
    match &link.trust {
        Trust::CaTls(files) => Some(&files.cert),
        Trust::Link(_) | Trust::PinnedTls(_) => None,
    }
}

impl Ring {
    /// From the files as they are now.
    pub(crate) fn load(link: &Link) -> Result<Self, TlsError> {
        Self::new(link, &Contents::read(files(link)))
    }

    pub(crate) fn new(link: &Link, contents: &Contents) -> Result<Self, TlsError> {
        let digest = contents.digest();
        match &link.trust {
            Trust::Link(files) | Trust::PinnedTls(files) => {
                let own = identity::of_contents(contents, &files.identity)?;
                let peers = pinned::peers(files, contents)?;
                let (alpn, keys) = (matches!(link.trust, Trust::Link(_)), peers.concat());
                let tls = match link.end {
                    End::Entry { .. } => Tls::Dials(pinned::client_config(&own, &keys, alpn)?),
                    End::Exit { .. } => Tls::Answers(pinned::server_config(&own, &keys, alpn)?),
                };
                let (trusted, identity) = (Trusted::Keys(peers), Some(own.identity));
                Ok(Self { tls, trusted, identity, digest, expiries: Vec::new() })
            }
            Trust::CaTls(files) => {
                let (tls, judge) = match &link.end {
                    End::Entry { to, .. } => {
                        let (config, judge) = mutual::client_config(files, contents, to)?;
                        (Tls::Dials(config), judge)
                    }
                    End::Exit { .. } => {
                        let (config, judge) = mutual::server_config(files, contents)?;
                        (Tls::Answers(config), judge)
                    }
                };
                let (trusted, expiries) = (Trusted::Certificates(judge), mutual::expiries(files, contents)?);
                Ok(Self { tls, trusted, identity: None, digest, expiries })
            }
        }
    }

    /// The keys by which a guest is known from now on; or why it is not believed.
    fn judge(&self, proof: &Proof, known: &[Identity]) -> Result<Peer, String> {
        match (&self.trusted, proof) {
            (Trusted::Keys(peers), Proof::Key(shown)) => {
                let same = |peer: &&Peer| peer.iter().any(|key| known.contains(key));
                let found = peers.iter().find(same).cloned();
                found.ok_or_else(|| format!("its identity {shown} is not in `peers` any more"))
            }
            (Trusted::Keys(peers), Proof::Chain(chain)) => {
                let shown = chain.first().and_then(identity::of_certificate);
                let listed = shown.is_some_and(|shown| peers.iter().any(|peer| peer.contains(&shown)));
                let name = shown.map_or_else(String::new, |shown| format!(" {shown}"));
                listed.then(Vec::new).ok_or_else(|| format!("its identity{name} is not in `peers` any more"))
            }
            (Trusted::Certificates(judge), Proof::Chain(chain)) => judge.accepts(chain).map(|()| Vec::new()),
            (Trusted::Certificates(_), Proof::Key(_)) => Err("it shows no certificate".to_owned()),
        }
    }
}

impl Keyring {
    /// From the files as they are now.
    pub(crate) fn load(link: &Arc<Link>) -> Result<Self, TlsError> {
        let ring = Ring::load(link)?;
        let (guests, next) = (Mutex::default(), AtomicU64::default());
        let (link, now) = (ArcSwap::new(Arc::clone(link)), ArcSwap::from_pointee(ring));
        Ok(Self { link, now, guests, next })
    }

    /// As it is configured now.
    pub(crate) fn link(&self) -> Arc<Link> {
        self.link.load_full()
    }

    /// The same link in another configuration, with what its files say now.
    pub(crate) fn reconfigure(&self, link: Arc<Link>, ring: Ring) {
        self.link.store(link);
        self.replace(ring);
    }

    pub(crate) fn digest(&self) -> Digest {
        self.now.load().digest
    }

    pub(crate) fn expiries(&self) -> Vec<Expiry> {
        self.now.load().expiries.clone()
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.now.load().identity
    }

    /// For an entry's next handshake; `None` at an exit.
    pub(super) fn dials(&self) -> Option<Arc<ClientConfig>> {
        match &self.now.load().tls {
            Tls::Dials(config) => Some(Arc::clone(config)),
            Tls::Answers(_) => None,
        }
    }

    /// For an exit's next handshake; `None` at an entry.
    pub(super) fn answers(&self) -> Option<Arc<ServerConfig>> {
        match &self.now.load().tls {
            Tls::Answers(config) => Some(Arc::clone(config)),
            Tls::Dials(_) => None,
        }
    }

    /// Takes note of who has come in. It is judged once more, because the files may have changed during its handshake.
    pub(super) fn admit(self: &Arc<Self>, proof: Proof) -> Result<Guest, String> {
        let mut guests = lock(&self.guests);
        let shown = match &proof {
            Proof::Key(key) => vec![*key],
            Proof::Chain(_) => Vec::new(),
        };
        // Under the lock: whoever is too late for this ring is there when the next one's judge comes round.
        let known = Arc::new(Known(Mutex::new(self.now.load().judge(&proof, &shown)?)));
        let ((expel, expelled), (look, looks)) = (oneshot::channel(), mpsc::unbounded_channel());
        let number = self.next.fetch_add(1, Relaxed);
        guests.insert(number, Seat { proof, known: Arc::clone(&known), expel: Some(expel), look });
        Ok(Guest { keyring: Arc::clone(self), number, known, expelled, looks })
    }

    /// Uses what the files say now, and judges everybody by it.
    pub(crate) fn replace(&self, new: Ring) {
        let name = &self.link().name;
        let new = Arc::new(new);
        let old = self.now.swap(Arc::clone(&new));
        if let (Some(before), Some(now)) = (old.identity, new.identity)
            && before != now
        {
            tracing::info!("link '{name}': this end is {now} from now on, it was {before}");
        }
        let (mut closed, mut first) = (0_u64, None);
        for seat in lock(&self.guests).values_mut() {
            let mut known = lock(&seat.known.0);
            match new.judge(&seat.proof, &known) {
                Ok(keys) => {
                    *known = keys;
                    // A guest that has just gone does not look.
                    let _ = seat.look.send(());
                }
                Err(why) => {
                    known.clear();
                    if let Some(expel) = seat.expel.take() {
                        closed += 1;
                        first.get_or_insert_with(|| why.clone());
                        let _ = expel.send(why);
                    }
                }
            }
        }
        if let Some(why) = first {
            tracing::warn!(
                "link '{name}': {closed} connections are closed because the other end is not believed any more: {why}"
            );
        }
    }
}

/// Somebody who has come in, for as long as it is connected.
#[derive(Debug)]
pub(super) struct Guest {
    keyring: Arc<Keyring>,
    number: u64,
    known: Arc<Known>,
    expelled: oneshot::Receiver<String>,
    looks: mpsc::UnboundedReceiver<()>,
}

impl Guest {
    pub(super) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known)
    }

    /// What to wait for while it is connected: that it is not believed any more, and that its key may be another.
    pub(super) fn watch(&mut self) -> (Expelled<'_>, KeyChange<'_>) {
        (Expelled(&mut self.expelled), KeyChange { known: &self.known, looks: &mut self.looks })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.keyring.guests).remove(&self.number);
    }
}

pub(super) struct Expelled<'a>(&'a mut oneshot::Receiver<String>);

impl Expelled<'_> {
    /// Completes with the reason, once.
    pub(super) async fn happens(self) -> String {
        match self.0.await {
            Ok(why) => why,
            // The seat, which holds the sender, lives as long as the guest.
            Err(_) => std::future::pending().await,
        }
    }
}

pub(super) struct KeyChange<'a> {
    known: &'a Known,
    looks: &'a mut mpsc::UnboundedReceiver<()>,
}

impl KeyChange<'_> {
    /// Completes when the key that was shown on the present connection is not listed any more, though another one of the same
    /// peer is.
    pub(super) async fn replaces(&mut self, shown: Identity) -> String {
        loop {
            match self.looks.recv().await {
                Some(()) if self.known.is(&shown) => {}
                Some(()) => return format!("the key {} was replaced by another one of this peer", short(&shown)),
                None => std::future::pending().await,
            }
        }
    }
}
