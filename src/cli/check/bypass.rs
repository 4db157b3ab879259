//! The part of `redan check` about links: whether replication and Sentinels keep to them, or go around them in plaintext.
//!
//! It judges what this host can know: where its own replicas get their data, who is connected to its own masters, and which
//! addresses servers and Sentinels hand on. Each finding is one sentence that says what is wrong and what to do. It must never
//! take a guess for a finding: what it cannot see it leaves to `redan check` at the other end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::links::{Links, resolve, same};
use super::{Report, Seen};
use crate::config::Group;
use crate::config::link::Link;
use crate::control::order::Line;
use crate::net::Shortcuts;
use crate::topology::Role;
use crate::topology::address::{is_loopback, linked};
use crate::topology::observe::Observation;
use crate::topology::succession::Station;
use crate::topology::tracker::Tracker;

/// A node that answered.
struct Place<'a> {
    address: &'a Arc<str>,
    said: &'a Observation,
    /// Beyond a link of this file.
    far: bool,
    /// The server encrypts by itself, so nothing is in plaintext.
    tls: bool,
}

impl Report {
    pub(super) async fn around_links(&mut self, all: &[Arc<Link>], group: &Group, seen: &Seen, shortcuts: &Shortcuts) {
        let links = Links::of(all, group).await;
        let mut places = Vec::new();
        for (address, answer) in &seen.answers {
            let Ok(answer) = answer else { continue };
            let (said, tls) = (&answer.observation, answer.tls.is_some());
            places.push(Place { address, said, far: links.to(address).await.is_some(), tls });
        }
        let is_linked = places.iter().any(|place| place.far || links.exit_to(place.address).is_some());
        self.listed_twice(&places);
        if !is_linked {
            return;
        }
        for place in places.iter().filter(|place| !place.far && !place.tls) {
            self.follows_around(&links, seen, &places, place).await;
            self.followed_around(&links, &places, place, shortcuts).await;
        }
        self.listed_as_loopback(seen, &places, &links);
        self.sentinels_around(seen, &places).await;
    }

    /// A replica of this host whose stream comes from elsewhere than a link.
    async fn follows_around(&mut self, links: &Links<'_>, seen: &Seen, places: &[Place<'_>], replica: &Place<'_>) {
        let Some(parent) = replica.said.parent.as_deref().filter(|_| replica.said.role == Role::Replica) else {
            return;
        };
        let at = seen.tracker.place(replica.address, parent);
        let is_known_here = places.iter().any(|place| !place.far && at.as_ref() == Some(place.address))
            || links.group.seeds.iter().any(|seed| at.as_ref() == Some(&seed.address));
        let way = links.to(parent).await;
        let over_link = match links.maps(parent) {
            Some(dialled) => linked(dialled).is_some() || links.entry_at(dialled).await.is_some(),
            None => is_loopback(parent) || links.entry_at(parent).await.is_some(),
        };
        // Without anything far there is nothing that it should reach over a link.
        if over_link || way.is_none() && (is_known_here || !places.iter().any(|place| place.far)) {
            return;
        }
        self.wrong.push(format!(
            "{} follows {parent}, which is no entry of a link: what it replicates goes around the link, in plaintext; {}",
            replica.address,
            links.advice(way)
        ));
    }

    /// Replicas that are connected to a server of this host from elsewhere than its exit.
    async fn followed_around(
        &mut self,
        links: &Links<'_>,
        places: &[Place<'_>],
        node: &Place<'_>,
        shortcuts: &Shortcuts,
    ) {
        let Some(exit) = links.exit_to(node.address) else { return };
        if node.said.replicas.iter().flatten().next().is_none() {
            return;
        }
        let Some(peers) = peers(node.address, links.group, shortcuts).await else {
            self.notes.push(format!(
                "{} does not say where its replicas connect from, so whether all of them come over link '{}' is unknown: grant +client|list",
                node.address, exit.name
            ));
            return;
        };
        let mut own = BTreeSet::new();
        for place in places.iter().filter(|place| !place.far && linked(place.address).is_none()) {
            own.extend(resolve(place.address).await.iter().map(SocketAddr::ip));
        }
        let (beside, around): (Vec<IpAddr>, Vec<IpAddr>) = peers.into_iter().partition(|ip| own.contains(ip));
        // It may well be of this site.
        self.notes.extend(beside.iter().map(|ip| {
            format!(
                "a replica of {} is connected from {ip} and not through link '{}'; if another site is there, make it follow the entry of the link \
                 on its host",
                node.address, exit.name
            )
        }));
        for ip in around {
            self.wrong.push(format!(
                "a replica of {} is connected from {ip} and not through link '{}': what it replicates goes around the link, in plaintext; \
                 make it follow the entry of the link on its host, and have {} listen on 127.0.0.1 alone (`bind`)",
                node.address, exit.name, node.address
            ));
        }
    }

    /// The second one cannot be found by anybody.
    fn listed_twice(&mut self, places: &[Place<'_>]) {
        for place in places {
            let mut once = BTreeSet::new();
            let mut twice: Vec<&str> = place.said.replicas.iter().flatten().map(|replica| &*replica.address).collect();
            twice.retain(|address| !once.insert(*address));
            twice.dedup();
            for address in twice {
                self.wrong.push(format!(
                    "{} lists two replicas as {address}: Redan and Sentinels find one of them at most; give each a name of its own, by \
                     `announce` at the entry of its link or replica-announce-ip and replica-announce-port on the replica",
                    place.address
                ));
            }
        }
    }

    /// What means the master's own host to whoever hears it. That misleads Sentinels; for Redan alone it is a note, and where it cannot
    /// be taken for another server it is one already.
    fn listed_as_loopback(&mut self, seen: &Seen, places: &[Place<'_>], links: &Links<'_>) {
        for place in places {
            for listed in place.said.replicas.iter().flatten().map(|replica| &*replica.address) {
                let at = seen.tracker.place(place.address, listed);
                let is_found =
                    at.is_some_and(|at| places.iter().any(|other| *other.address == at && at != *place.address));
                if !is_loopback(listed) || links.maps(listed).is_some() || is_found {
                    continue;
                }
                let list = match links.group.sentinel {
                    Some(_) => &mut self.wrong,
                    None if place.far => continue,
                    None => &mut self.notes,
                };
                list.push(format!(
                    "{} lists a replica as {listed}, which nobody else finds there: give it a name that holds everywhere, by `announce` at the \
                     entry of its link or replica-announce-ip and replica-announce-port on the replica",
                    place.address
                ));
            }
        }
    }

    /// What Sentinels would do to replication that goes over links.
    async fn sentinels_around(&mut self, seen: &Seen, places: &[Place<'_>]) {
        let mut told = BTreeSet::new();
        for view in seen.tracker.sentinels() {
            let Some(subject) = view.said.and_then(|said| said.subject.as_ref()) else { continue };
            for peer in subject.sentinels.iter().filter(|peer| is_loopback(&peer.address) && !is_loopback(view.address))
            {
                told.insert(format!(
                    "the Sentinel {} knows another one as {}, which means its own host: set `sentinel announce-ip` there to an address that \
                     holds on every host",
                    view.address, peer.address
                ));
            }
            for replica in places.iter().filter(|place| place.said.role == Role::Replica) {
                let Some(parent) = replica.said.parent.as_deref() else { continue };
                let at = seen.tracker.place(replica.address, parent);
                let is_chained =
                    places.iter().any(|other| at.as_ref() == Some(other.address) && other.said.role == Role::Replica);
                if is_chained || parent == subject.master || same(parent, &subject.master).await {
                    continue;
                }
                told.insert(format!(
                    "the Sentinels call the master {}, and {} follows {parent}: after `failover-timeout` they make it follow {} \
                     (+fix-slave-config), around the link; use one address for the master on every host, where each host's entry listens",
                    subject.master, replica.address, subject.master
                ));
            }
        }
        told.extend(announced_twice(&seen.tracker));
        self.wrong.extend(told);
    }
}

/// Addresses at which Sentinels know more than one of them.
fn announced_twice(tracker: &Tracker) -> Vec<String> {
    let mut known: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
    for view in tracker.sentinels() {
        let Some(said) = view.said else { continue };
        let own = said.id.clone().map(|id| (Arc::clone(view.address), id));
        let others = said.subject.iter().flat_map(|subject| &subject.sentinels);
        let others = others.filter_map(|peer| Some((tracker.place(view.address, &peer.address)?, peer.id.clone()?)));
        for (address, id) in own.into_iter().chain(others) {
            known.entry(address).or_default().insert(id);
        }
    }
    let twice = known.into_iter().filter(|(_, ids)| ids.len() > 1);
    let words = |(address, ids): (Arc<str>, BTreeSet<Arc<str>>)| {
        format!(
            "{} Sentinels announce {address}: they push each other out of the others' lists, and there is no quorum when it is needed; give each \
             its own `sentinel announce-ip` and `announce-port`",
            ids.len()
        )
    };
    twice.map(words).collect()
}

/// The hosts from which replicas are connected, save the server's own. `None` where that is not said.
async fn peers(address: &Arc<str>, group: &Group, shortcuts: &Shortcuts) -> Option<BTreeSet<IpAddr>> {
    let station = Station { address: Arc::clone(address), follow_word: "REPLICAOF" };
    let mut line = Line::open(&station, group, shortcuts).await.ok()?;
    let replies = line.ask(&[&["CLIENT", "LIST", "TYPE", "replica"]]).await.ok()?;
    let list = replies.first()?.text()?;
    let ip = |client: &str, key: &str| {
        let address = client.split(' ').find_map(|field| field.strip_prefix(key))?;
        address.parse::<SocketAddr>().ok().map(|address| address.ip().to_canonical())
    };
    // What an exit of the same host opens comes from the address at which it reaches the server.
    let comes_from = |client: &str| {
        let from = ip(client, "addr=")?;
        (!from.is_loopback() && Some(from) != ip(client, "laddr=")).then_some(from)
    };
    Some(list.lines().filter_map(comes_from).collect())
}
