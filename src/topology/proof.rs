//! Who the master is: proven by witnesses, never believed.
//!
//! Pure: members, memory and the Sentinels' votes in, a [`Verdict`] out. The tracker calls it after every event. The
//! rules, with the reasons for each, are in `docs/design/0001-proof-of-the-master.md`; what Sentinels add, where a group
//! has any, is in [`voted`]. In short:
//!
//! 1. Only a node that says *master* in its last answer, and has loaded its data, can be it. One that says otherwise is dropped at once.
//! 2. An empty node with a new history is not accepted while a reachable node holds data of another history.
//! 3. The incumbent stays while it goes on claiming in the same history and somebody follows it or nobody
//!    follows a rival. A detached replica (`REPLICAOF NO ONE`, nothing else) is a rival nobody moved to.
//! 4. A rival that continues the incumbent's history and to which replicas have *moved*, while none follows
//!    the incumbent any more, is its successor: this is a failover whose last step is still to come.
//! 5. A newcomer without rivals needs most of the other reachable nodes behind it, or the known history, or all others to
//!    be there, new and empty.
//! 6. Rivals without an incumbent: the only one with followers; else the newest by lineage; else the one with
//!    clearly more followers; else nobody.

mod voted;

use std::time::Duration;

use super::member::{Member, follows};
use super::past::Past;
use super::votes::Votes;
use super::{NodeId, Role};

/// Answers of different nodes are not simultaneous: a replica that moved may be seen before the promotion it
/// moved for. 10 s cover twenty probe intervals, and a Sentinel that re-points one replica after the other.
pub(super) const MOVE_SLACK: Duration = Duration::from_secs(10);

/// The outcome: a master or none, with the reason as one sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) master: Option<NodeId>,
    pub(super) reason: String,
    /// Something an operator has to put right even though the decision stands.
    pub(super) alarm: Option<String>,
    /// The master's epoch is higher than this, by the word of the Sentinel that promoted it.
    pub(super) beyond: u64,
}

impl Verdict {
    fn hold(reason: String) -> Self {
        Self { master: None, reason, alarm: None, beyond: 0 }
    }

    fn accept(member: &Member, why: &str) -> Self {
        let reason = format!("{} says it is the master and {why}", member.address);
        Self { master: Some(member.id), reason, alarm: None, beyond: 0 }
    }
}

/// A node that says it is the master, with the number of reachable nodes that follow it.
#[derive(Clone, Copy)]
struct Claim<'a> {
    member: &'a Member,
    followers: usize,
}

/// What a decision is made from.
#[derive(Clone, Copy)]
struct Case<'a> {
    members: &'a [Member],
    past: Option<&'a Past>,
    votes: &'a Votes,
}

/// Decides.
pub(super) fn decide(members: &[Member], past: Option<&Past>, votes: &Votes) -> Verdict {
    let case = Case { members, past, votes };
    let claims = members.iter().filter(|member| member.claims()).map(|member| Claim {
        member,
        followers: members.iter().filter(|other| other.id != member.id && follows(members, other, member)).count(),
    });
    let (empty, claims): (Vec<_>, Vec<_>) = claims.partition(|claim| case.holder_of_other_data(claim).is_some());
    let incumbent = claims.iter().find(|claim| past.is_some_and(|past| past.goes_on(claim.member)));
    if let Some(verdict) = case.by_vote(&claims, incumbent) {
        return verdict;
    }
    if let Some(incumbent) = incumbent {
        return case.against_rivals(incumbent, &claims);
    }
    match claims.as_slice() {
        [] => Verdict::hold(case.why_nobody(&empty)),
        [only] => case.newcomer(only),
        several => case.contest(several),
    }
}

impl Case<'_> {
    /// Rule 2: the node whose data would be wiped if this empty one became their master.
    fn holder_of_other_data(&self, claim: &Claim) -> Option<&Member> {
        let said = claim.member.said.as_ref()?;
        if said.keys != Some(0) {
            return None;
        }
        let same_process =
            |past: &Past| past.node == claim.member.id && past.run_id.is_some() && past.run_id == said.run_id;
        if self.past.is_some_and(same_process) {
            // It did not restart: somebody flushed it, and replicas hear of that a moment later.
            return None;
        }
        self.members.iter().filter(|other| other.id != claim.member.id).find(|other| {
            let Some(theirs) = &other.said else { return false };
            let foreign = match (&theirs.replid, &said.replid) {
                (Some(theirs), Some(own)) => theirs != own && said.replid2.as_ref() != Some(theirs),
                _ => theirs.link_up != Some(true),
            };
            theirs.keys.is_some_and(|keys| keys > 0) && foreign
        })
    }

    /// Rules 3 and 4.
    fn against_rivals(&self, incumbent: &Claim, claims: &[Claim]) -> Verdict {
        let mut successors = Vec::new();
        for rival in claims.iter().filter(|claim| claim.member.id != incumbent.member.id) {
            if incumbent.followers > 0 || rival.followers == 0 || is_newer(claims, incumbent, rival) {
                continue;
            }
            if !is_newer(claims, rival, incumbent) {
                if self.keeps(incumbent, rival) {
                    continue;
                }
                let (old, new) = (&incumbent.member.address, &rival.member.address);
                return Verdict::hold(format!(
                    "{old} and {new} both say they are the master, the replicas left {old}, and {new} does not continue its history: make one of them a replica with REPLICAOF"
                ));
            }
            if self.has_moved_followers(rival) {
                successors.push(*rival);
            }
        }
        match successors.as_slice() {
            [] => Verdict {
                alarm: second_claim(incumbent, claims),
                ..Verdict::accept(incumbent.member, "goes on with the history it had")
            },
            [one] => Verdict {
                alarm: second_claim(one, claims),
                ..Verdict::accept(one.member, &format!("the replicas moved to it from {}", incumbent.member.address))
            },
            several => self.contest(several),
        }
    }

    /// Rule 5.
    fn newcomer(&self, claim: &Claim) -> Verdict {
        let member = claim.member;
        let others = self.others(claim);
        let most = claim.followers * 2 > others;
        let shares = format!("{} of {others} other reachable nodes follow it", claim.followers);
        let Some(past) = self.past else {
            // All known others, not only those that answered so far: no need to wait for the slow ones.
            if claim.followers * 2 > self.members.len() - 1 {
                return Verdict::accept(member, &shares);
            }
            if let Some(waiting) = self.waiting() {
                return waiting;
            }
            let alone = others == 0 && self.members.iter().filter(|member| member.seed).count() == 1;
            return match (most, alone, others) {
                (true, ..) => Verdict::accept(member, &shares),
                _ if self.has_all_data(claim) => Verdict::accept(member, "is the only node that has data"),
                (_, true, _) => Verdict::accept(member, "no other node is configured"),
                (_, _, 0) => Verdict::hold(format!(
                    "{} says it is the master, but no other configured node can be reached to confirm it: start one of them, or remove from `nodes` what no longer exists",
                    member.address
                )),
                _ => Verdict::hold(format!(
                    "{} says it is the master, but only {shares}: point the others at it with REPLICAOF",
                    member.address
                )),
            };
        };
        if past.is_continued_by(member) {
            return Verdict::accept(member, &format!("continues the history of {}", past.address));
        }
        let stood_by =
            !member.is_at(&past.address) && member.replid().is_some() && member.role_since + MOVE_SLACK < past.seen_at;
        if stood_by && !self.has_moved_followers(claim) {
            return Verdict::hold(format!(
                "{} was a master of its own beside {} and nobody moved to it: it may belong to another group",
                member.address, past.address
            ));
        }
        if most {
            return Verdict::accept(member, &shares);
        }
        if others == 0 && member.id == past.node {
            return match (has_no_keys(member), self.members.len()) {
                (false, _) => Verdict::accept(member, "came back with data, and no other node can be reached"),
                (true, 1) => Verdict::accept(member, "came back empty, and there is no other node"),
                (true, _) => Verdict::hold(format!(
                    "{} says it is the master but came back empty, and no node that may hold its data can be reached: bring one back, or remove from `nodes` what no longer exists",
                    member.address
                )),
            };
        }
        Verdict::hold(format!(
            "{} says it is the master, but only {shares} and it does not continue the history of {}: point the others at it with REPLICAOF",
            member.address, past.address
        ))
    }

    /// Rule 6.
    fn contest(&self, claims: &[Claim]) -> Verdict {
        if self.past.is_none()
            && let Some(waiting) = self.waiting()
        {
            return waiting;
        }
        let names = claims.iter().map(|claim| &*claim.member.address).collect::<Vec<_>>().join(" and ");
        let rivals = |claim: &Claim| {
            let id = claim.member.id;
            claims.iter().filter(move |other| other.member.id != id)
        };
        let alone_followed = |claim: &&Claim| claim.followers > 0 && rivals(claim).all(|other| other.followers == 0);
        let newest = |claim: &&Claim| {
            rivals(claim).all(|other| is_newer(claims, claim, other) && claim.followers >= other.followers)
        };
        let outnumbers =
            |claim: &&Claim| claim.followers > 0 && rivals(claim).all(|other| claim.followers >= 2 * other.followers);
        let found = (claims.iter().find(alone_followed).map(|claim| (claim, "is the only one with followers")))
            .or_else(|| claims.iter().find(newest).map(|claim| (claim, "continues the other's history")))
            .or_else(|| claims.iter().find(outnumbers).map(|claim| (claim, "has clearly more followers")));
        let Some((claim, why)) = found else {
            return Verdict::hold(format!(
                "{names} all say they are the master and nothing tells which is right: make all but one replicas with REPLICAOF"
            ));
        };
        let most = claim.followers * 2 > self.others(claim);
        if self.past.is_some_and(|past| !most && !past.is_continued_by(claim.member)) {
            return Verdict::hold(format!(
                "{names} all say they are the master and neither continues the known history: make all but one replicas with REPLICAOF"
            ));
        }
        Verdict { alarm: second_claim(claim, claims), ..Verdict::accept(claim.member, &format!("of {names} it {why}")) }
    }

    /// Every other node is there, and is a new and empty master: there is nothing that this one could be behind.
    fn has_all_data(&self, claim: &Claim) -> bool {
        let is_new = |other: &Member| {
            other.claims() && has_no_keys(other) && other.replid2().is_none() && other.replid() != claim.member.replid()
        };
        let mut others = self.members.iter().filter(|other| other.id != claim.member.id).peekable();
        let has_keys = claim.member.said.as_ref().is_some_and(|said| said.keys.is_some_and(|keys| keys > 0));
        has_keys && !self.votes.configured && others.peek().is_some() && others.all(is_new)
    }

    /// Reachable nodes beside the claiming one that say what they are.
    fn others(&self, claim: &Claim) -> usize {
        self.members
            .iter()
            .filter(|other| other.id != claim.member.id && (other.says(Role::Master) || other.says(Role::Replica)))
            .count()
    }

    /// A follower that came to this node about when it began to claim, or later; or the last master itself.
    fn has_moved_followers(&self, claim: &Claim) -> bool {
        self.members.iter().any(|other| {
            let moved = other.moved && other.parent_since + MOVE_SLACK >= claim.member.role_since;
            (moved || self.past.is_some_and(|past| other.is_at(&past.address)))
                && follows(self.members, other, claim.member)
        })
    }

    fn waiting(&self) -> Option<Verdict> {
        let slow = self.members.iter().find(|member| !member.tried)?;
        Some(Verdict::hold(format!("waiting for the first answer of {}", slow.address)))
    }

    fn why_nobody(&self, empty: &[Claim]) -> String {
        if let Some((claim, holder)) = empty.iter().find_map(|claim| Some((claim, self.holder_of_other_data(claim)?))) {
            let (empty, holder) = (&claim.member.address, &holder.address);
            return format!(
                "{empty} says it is the master but is empty, and {holder} still holds data that it would wipe: promote {holder} with REPLICAOF NO ONE, or flush {holder} if the data may go"
            );
        }
        if let Some(loading) = self.members.iter().find(|member| member.says(Role::Master)) {
            return format!("{} says it is a master but is still loading its data", loading.address);
        }
        if let Some(why) = self.why_elected_is_not() {
            return why;
        }
        let Some(past) = self.past else {
            return match self.waiting() {
                Some(waiting) => waiting.reason,
                None if self.members.is_empty() && self.votes.configured => {
                    self.awaits_sentinels().unwrap_or_else(|| {
                        "no Sentinel names a node, and none is configured: see what each of them says".to_owned()
                    })
                }
                None if self.members.iter().all(|member| member.said.is_none()) => self.all_unreachable(),
                None => "no reachable node says it is the master: promote one with REPLICAOF NO ONE".to_owned(),
            };
        };
        let past_node = self.members.iter().find(|member| member.id == past.node);
        match past_node.map(|member| (&member.said, &member.failure)) {
            Some((Some(_), _)) => {
                format!("{} is no longer a master, and no other node says it is one yet", past.address)
            }
            Some((None, Some(failure))) => {
                format!(
                    "the master {} cannot be asked ({}), and no other node has taken over",
                    past.address, failure.text
                )
            }
            _ => format!("the master {} is gone, and no other node has taken over", past.address),
        }
    }

    fn all_unreachable(&self) -> String {
        let first = self.members.iter().find_map(|member| Some((&member.address, member.failure.as_ref()?)));
        match first {
            Some((address, failure)) => format!("no node can be asked; {address}: {}", failure.text),
            None => "no node is configured".to_owned(),
        }
    }
}

/// The alarm about everyone else who claims; the same sentence however the decision came about, so that it is
/// logged once.
fn second_claim(kept: &Claim, claims: &[Claim]) -> Option<String> {
    let others = claims.iter().filter(|claim| claim.member.id != kept.member.id);
    let others = others.map(|claim| &*claim.member.address).collect::<Vec<_>>().join(" and ");
    let kept = &kept.member.address;
    (!others.is_empty()).then(|| {
        format!(
            "{others} says it is a master too, but {kept} is kept: make {others} a replica of {kept}, or, to switch, make {kept} a replica of {others} (REPLICAOF)"
        )
    })
}

/// It says so; a node that does not tell is not called empty.
fn has_no_keys(member: &Member) -> bool {
    member.said.as_ref().is_some_and(|said| said.keys == Some(0))
}

/// Whether `a` continues the history of `b`, directly or through other claims.
fn is_newer(claims: &[Claim], a: &Claim, b: &Claim) -> bool {
    let mut at = a.member;
    for _ in 0..claims.len() {
        let Some(before) = at.replid2() else { return false };
        if b.member.replid() == Some(before) {
            return true;
        }
        match claims.iter().find(|claim| claim.member.replid() == Some(before)) {
            Some(claim) => at = claim.member,
            None => return false,
        }
    }
    false
}
