//! Uses the files of TLS anew when they change: certificates, keys, authorities, revocation lists, pins.
//!
//! Runs on a thread of its own, because a network file system may let it wait. It looks at what stands in the files every two
//! seconds, and at once when somebody wants that (SIGHUP). What cannot be used is refused and said once; what was used before goes
//! on serving. It must never hand on anything that was not built whole.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};

use crate::config::Listener;
use crate::link;
use crate::metrics::Counter;
use crate::notify;
use crate::tls::TlsError;
use crate::tls::client::{self, Reaching};
use crate::tls::contents::{Contents, Digest};
use crate::tls::keyring::Keyring;
use crate::tls::server::{self, Serving};
use crate::tls::validity::{self, Expiry};
use crate::worker::Mailbox;

/// Reading a handful of small files costs nothing; certificates are renewed days before they end.
const INTERVAL: Duration = Duration::from_secs(2);

/// Something that is refused may become good without a change of its files: when its first day has come.
const TRY_AGAIN: u32 = 30;

/// What is known of all files, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    /// By whose they are: `listener`, `group` or `link`, and its name.
    pub(crate) expiries: ArcSwap<Vec<(Owner, Expiry)>>,
    pub(crate) succeeded: Counter,
    pub(crate) failed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

/// What the thread works with.
pub(crate) struct Setup {
    /// Those with TLS, by their numbers.
    pub(crate) listeners: Vec<(usize, Arc<Listener>, Arc<Serving>)>,
    /// Of each group, and whom to tell to look at its nodes.
    pub(crate) groups: Vec<(usize, String, Arc<Keyring>, Arc<Notify>)>,
    pub(crate) links: Vec<Arc<link::Keyring>>,
    pub(crate) workers: Vec<Mailbox>,
    /// Somebody wants them read now.
    pub(crate) now: Arc<Notify>,
    pub(crate) changes: mpsc::UnboundedReceiver<Change>,
    pub(crate) renewals: Arc<Renewals>,
}

/// Another configuration: what is watched from now on under a number or name, or `None` where nothing is.
#[derive(Debug)]
pub(crate) enum Change {
    Listener(usize, Option<(Arc<Listener>, Arc<Serving>)>),
    /// A listener whose files are as they were.
    Policy(usize, Arc<Listener>),
    Group(usize, Option<(String, Arc<Keyring>, Arc<Notify>)>),
    Link(String, Option<Arc<link::Keyring>>),
}

/// Whether files are to be used anew.
#[derive(Debug)]
struct Watched {
    /// What is in use.
    used: Digest,
    /// What the last look saw.
    seen: Digest,
    /// What could not be used, and how many looks ago it was tried.
    refused: Option<(Digest, u32)>,
}

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Nothing,
    Use,
    /// Use it if that goes now; it was refused before, and everybody knows.
    Retry,
}

impl Watched {
    fn new(used: Digest) -> Self {
        Self { used, seen: used, refused: None }
    }

    /// A change counts when it is seen twice: a file that is being written, or a key that comes a moment after its certificate,
    /// is whole the second time. Whoever sends SIGHUP has finished writing.
    fn look(&mut self, digest: Digest, urgent: bool) -> Verdict {
        let settled = self.seen == digest || urgent;
        self.seen = digest;
        if digest == self.used {
            self.refused = None;
            return Verdict::Nothing;
        }
        match &mut self.refused {
            Some((refused, looks)) if *refused == digest && !urgent => {
                *looks += 1;
                if looks.is_multiple_of(TRY_AGAIN) { Verdict::Retry } else { Verdict::Nothing }
            }
            _ if settled => Verdict::Use,
            _ => Verdict::Nothing,
        }
    }

    fn accepted(&mut self, digest: Digest) {
        (self.used, self.refused) = (digest, None);
    }

    fn refused(&mut self, digest: Digest) {
        if self.refused.is_none_or(|(refused, _)| refused != digest) {
            self.refused = Some((digest, 0));
        }
    }
}

/// Watches until the process ends.
pub(crate) async fn run(setup: Setup) {
    let mut renewal = Renewal::new(setup);
    renewal.speak_of_ends();
    loop {
        // A signal that comes during a look is kept for the next one.
        let urgent = tokio::select! {
            biased;
            Some(change) = renewal.changes.recv() => {
                renewal.change(change);
                continue;
            }
            () = renewal.now.notified() => true,
            () = tokio::time::sleep(INTERVAL) => false,
        };
        let used = renewal.look(urgent);
        if urgent {
            // The last step of a reload.
            notify::ready();
            tracing::info!("reload: read all files of TLS again, {used} have changed");
        }
        renewal.speak_of_ends();
    }
}

struct OfListener {
    index: usize,
    listener: Arc<Listener>,
    serving: Arc<Serving>,
    watched: Watched,
}

struct OfGroup {
    number: usize,
    name: String,
    keyring: Arc<Keyring>,
    look: Arc<Notify>,
    /// One for each entry of the keyring.
    watched: Vec<Watched>,
}

struct OfLink {
    keyring: Arc<link::Keyring>,
    watched: Watched,
}

impl OfListener {
    fn new(index: usize, listener: Arc<Listener>, serving: Arc<Serving>) -> Self {
        let watched = Watched::new(serving.digest());
        Self { index, listener, serving, watched }
    }
}

impl OfGroup {
    fn new(number: usize, name: String, keyring: Arc<Keyring>, look: Arc<Notify>) -> Self {
        let watched = keyring.digests().into_iter().map(Watched::new).collect();
        Self { number, name, keyring, look, watched }
    }
}

impl OfLink {
    fn new(keyring: Arc<link::Keyring>) -> Self {
        Self { watched: Watched::new(keyring.digest()), keyring }
    }
}

struct Renewal {
    listeners: Vec<OfListener>,
    groups: Vec<OfGroup>,
    links: Vec<OfLink>,
    workers: Vec<Mailbox>,
    now: Arc<Notify>,
    changes: mpsc::UnboundedReceiver<Change>,
    renewals: Arc<Renewals>,
    /// How loudly the end of each file was spoken of.
    spoken: HashMap<(Owner, PathBuf, i64), usize>,
}

impl Renewal {
    fn new(setup: Setup) -> Self {
        let Setup { listeners, groups, links, workers, now, changes, renewals } = setup;
        let listener = |(index, listener, serving)| OfListener::new(index, listener, serving);
        let group = |(number, name, keyring, look)| OfGroup::new(number, name, keyring, look);
        let listeners = listeners.into_iter().map(listener).collect();
        let groups = groups.into_iter().map(group).collect();
        let links = links.into_iter().map(OfLink::new).collect();
        Self { listeners, groups, links, workers, now, changes, renewals, spoken: HashMap::new() }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Listener(number, now) => {
                self.listeners.retain(|of| of.index != number);
                if let Some((listener, serving)) = now {
                    // What was built of the old setting a moment ago may have come to them after the new one.
                    self.workers.iter().for_each(|worker| worker.serving(number, Arc::clone(&serving)));
                    self.listeners.push(OfListener::new(number, listener, serving));
                }
            }
            Change::Policy(number, listener) => {
                let known = self.listeners.iter_mut().find(|of| of.index == number);
                if let Some(known) = known {
                    known.listener = listener;
                }
            }
            Change::Group(number, now) => {
                self.groups.retain(|of| of.number != number);
                self.groups.extend(now.map(|(name, keyring, look)| OfGroup::new(number, name, keyring, look)));
            }
            Change::Link(name, now) => {
                self.links.retain(|of| of.keyring.link().name != name);
                self.links.extend(now.map(OfLink::new));
            }
        }
    }

    /// Looks at everything; returns how many settings are used anew.
    fn look(&mut self, urgent: bool) -> usize {
        let mut used = 0;
        for OfListener { index, listener, serving, watched } in &mut self.listeners {
            let Some(tls) = &listener.tls else { continue };
            let what = format!("listener '{}'", listener.name);
            let build = |contents: &Contents| {
                let new = Serving::new(tls, contents)?;
                fresh(&new.expiries, tls.certificates.iter().map(|identity| identity.cert.as_path()))?;
                Ok(new)
            };
            let new = renewed(watched, &self.renewals, &what, urgent, server::files(tls), build);
            if let Some(new) = new.map(Arc::new) {
                *serving = Arc::clone(&new);
                self.workers.iter().for_each(|worker| worker.serving(*index, Arc::clone(&new)));
                used += 1;
            }
        }
        for OfGroup { number, name, keyring, look, watched } in &mut self.groups {
            let what = format!("group '{name}'");
            let mut others = false;
            for (index, (tls, watched)) in keyring.settings().zip(watched).enumerate() {
                let build = |contents: &Contents| {
                    let new = Reaching::new(tls, contents)?;
                    fresh(&new.expiries, tls.identity.iter().map(|identity| identity.cert.as_path()))?;
                    Ok(new)
                };
                if let Some(new) = renewed(watched, &self.renewals, &what, urgent, client::files(tls), build) {
                    others |= keyring.replace(index, new);
                    used += 1;
                }
            }
            if others {
                self.workers.iter().for_each(|worker| worker.keyring(*number));
                look.notify_one();
            }
        }
        used + self.look_at_links(urgent)
    }

    fn look_at_links(&mut self, urgent: bool) -> usize {
        let mut used = 0;
        for OfLink { keyring, watched } in &mut self.links {
            let link = &keyring.link();
            let what = format!("link '{}'", link.name);
            let build = |contents: &Contents| {
                let new = link::Ring::new(link, contents)?;
                fresh(&new.expiries, link::own_certificate(link).into_iter())?;
                Ok(new)
            };
            if let Some(new) = renewed(watched, &self.renewals, &what, urgent, link::files(link), build) {
                keyring.replace(new);
                used += 1;
            }
        }
        used
    }

    /// Publishes when everything ends, and says what ends soon: once for each stage.
    fn speak_of_ends(&mut self) {
        let mut all = Vec::new();
        for OfListener { listener, serving, .. } in &self.listeners {
            let owner = Owner { kind: "listener", name: listener.name.clone() };
            all.extend(serving.expiries.iter().map(|expiry| (owner.clone(), expiry.clone())));
        }
        for OfGroup { name, keyring, .. } in &self.groups {
            let owner = Owner { kind: "group", name: name.clone() };
            all.extend(keyring.expiries().map(|expiry| (owner.clone(), expiry)));
        }
        for OfLink { keyring, .. } in &self.links {
            let owner = Owner { kind: "link", name: keyring.link().name.clone() };
            all.extend(keyring.expiries().into_iter().map(|expiry| (owner.clone(), expiry)));
        }
        // One file may be named twice: one series for each.
        let mut known = std::collections::HashSet::new();
        all.retain(|(owner, expiry)| known.insert((owner.clone(), expiry.file.clone())));
        let now = validity::now();
        let key = |owner: &Owner, expiry: &Expiry| (owner.clone(), expiry.file.clone(), expiry.at);
        self.spoken.retain(|spoken, _| all.iter().any(|(owner, expiry)| key(owner, expiry) == *spoken));
        for (owner, expiry) in &all {
            let stage = expiry.stage(now);
            let spoken = self.spoken.entry(key(owner, expiry)).or_default();
            if stage > *spoken
                && let Some(words) = expiry.warning(now)
            {
                tracing::warn!("{} '{}': {words}", owner.kind, owner.name);
            }
            *spoken = stage.max(*spoken);
        }
        self.renewals.expiries.store(Arc::new(all));
    }
}

/// Looks at the files of one setting; what was built of them if they are to be used now.
fn renewed<'a, T>(
    watched: &mut Watched,
    renewals: &Renewals,
    what: &str,
    urgent: bool,
    files: impl Iterator<Item = &'a Path>,
    build: impl Fn(&Contents) -> Result<T, TlsError>,
) -> Option<T> {
    let contents = Contents::read(files);
    let digest = contents.digest();
    let verdict = watched.look(digest, urgent);
    if verdict == Verdict::Nothing {
        return None;
    }
    match build(&contents) {
        Ok(new) => {
            watched.accepted(digest);
            renewals.succeeded.increment();
            tracing::info!("{what}: its certificates, keys or lists have changed and are used from now on");
            Some(new)
        }
        Err(error) => {
            watched.refused(digest);
            if verdict == Verdict::Use {
                renewals.failed.increment();
                tracing::error!(
                    "{what}: what stands in its files now is not used, what was there before goes on: {error}"
                );
            }
            None
        }
    }
}

/// A certificate of Redan's own that has ended would only be refused by the other side.
fn fresh<'a>(expiries: &[Expiry], own: impl Iterator<Item = &'a Path>) -> Result<(), TlsError> {
    let own: Vec<&Path> = own.collect();
    let ended = |expiry: &&Expiry| own.contains(&expiry.file.as_path()) && expiry.left(validity::now()) < 0;
    match expiries.iter().find(ended) {
        Some(expiry) => Err(TlsError::Expired { file: expiry.file.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Digest = [0; 32];
    const NEW: Digest = [1; 32];
    const NEWER: Digest = [2; 32];

    #[test]
    fn a_change_counts_when_it_is_seen_twice_or_by_a_signal() {
        let mut watched = Watched::new(OLD);
        assert_eq!(watched.look(OLD, false), Verdict::Nothing);
        assert_eq!(watched.look(NEW, false), Verdict::Nothing, "it may be half of it");
        assert_eq!(watched.look(NEWER, false), Verdict::Nothing);
        assert_eq!(watched.look(NEWER, false), Verdict::Use);
        watched.accepted(NEWER);
        assert_eq!(watched.look(NEWER, false), Verdict::Nothing);
        assert_eq!(watched.look(NEW, true), Verdict::Use, "who sends a signal has finished writing");
    }

    #[test]
    fn what_is_refused_is_said_once_and_tried_again_rarely() {
        let mut watched = Watched::new(OLD);
        assert_eq!([watched.look(NEW, false), watched.look(NEW, false)], [Verdict::Nothing, Verdict::Use]);
        watched.refused(NEW);
        let mut verdicts: Vec<Verdict> = (0..TRY_AGAIN - 1).map(|_| watched.look(NEW, false)).collect();
        verdicts.dedup();
        assert_eq!(verdicts, [Verdict::Nothing]);
        assert_eq!(watched.look(NEW, false), Verdict::Retry);
        watched.refused(NEW);
        assert_eq!(watched.look(NEW, false), Verdict::Nothing);
        assert_eq!(watched.look(NEW, true), Verdict::Use, "a signal wants an answer");
        watched.refused(NEW);
        assert_eq!(watched.look(OLD, false), Verdict::Nothing);
        assert_eq!([watched.look(NEW, false), watched.look(NEW, false)], [Verdict::Nothing, Verdict::Use]);
    }
}
