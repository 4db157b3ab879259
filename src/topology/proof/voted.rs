//! What the Sentinels add to the proof. The rules, with their reasons, are in `docs/design/0005-sentinel-as-a-witness.md`.
//!
//! Sentinels are witnesses, never the proof: whatever they say, only a node that claims can be the master, and an empty
//! one not over data. In short:
//!
//! 1. A claim that most of them name, with a newer epoch than the known master's, is its successor at once. So is
//!    a node just promoted that continues the known history, when one of them says that it promotes it.
//! 2. Whom most of them have deposed is not the master any more, although it claims: writes wait for the one they name,
//!    unless that one itself follows the deposed.
//! 3. Of several claims without an incumbent the one they name is right.
//! 4. A master that was followed by another does not come back by its own word and that of its replicas.

use super::{Case, Claim, MOVE_SLACK, Verdict, second_claim};
use crate::topology::Role;
use crate::topology::member::{Member, follows};
use crate::topology::past::Past;
use crate::topology::votes::Elected;

impl Case<'_> {
    /// A verdict where the Sentinels decide; `None` where the nodes' own rules go on.
    pub(super) fn by_vote(&self, claims: &[Claim], incumbent: Option<&Claim>) -> Option<Verdict> {
        if !self.votes.configured {
            return None;
        }
        let rivals = || claims.iter().filter(|claim| incumbent.is_none_or(|own| own.member.id != claim.member.id));
        if let Some((claim, verdict)) = self.successor(rivals()) {
            return Some(Verdict { alarm: second_claim(claim, claims), ..verdict });
        }
        if let Some(hold) = self.handing_over(claims) {
            return Some(hold);
        }
        match (incumbent, claims) {
            (_, []) => None,
            (Some(own), _) => self.deposed(own.member),
            (None, [only]) => self.lone(only),
            (None, several) => self.settled(several),
        }
    }

    /// Rule 1.
    fn successor<'a, 'b: 'a>(&self, rivals: impl Iterator<Item = &'a Claim<'b>>) -> Option<(&'a Claim<'b>, Verdict)> {
        let news = self.elected().filter(|elected| self.is_news(elected));
        let mut nominated = Vec::new();
        for claim in rivals {
            match news {
                Some(elected) if claim.member.is_at(&elected.address) && elected.live => {
                    let why = format!("the Sentinels name it ({})", elected.words());
                    return Some((claim, Verdict::accept(claim.member, &why)));
                }
                // One Sentinel is nothing against most of them.
                Some(_) => {}
                None => nominated.extend(self.nominated(claim.member).map(|verdict| (claim, verdict))),
            }
        }
        // Two that are promoted at once: somebody lies.
        if nominated.len() == 1 { nominated.pop() } else { None }
    }

    /// By a single Sentinel, which may lie: the node itself must have been promoted just now, and continue the history.
    fn nominated(&self, member: &Member) -> Option<Verdict> {
        let past = self.past?;
        if member.is_at(&past.address) || !past.is_continued_by(member) {
            return None;
        }
        let valid = self
            .votes
            .nominated
            .iter()
            .filter(|vote| vote.epoch.is_none_or(|epoch| epoch > past.floor) && vote.is_about_now(member));
        // The most modest: another may lie.
        let vote = valid.min_by_key(|vote| vote.beyond)?;
        let why = format!("continues the history of {}, and the Sentinel {} promotes it", past.address, vote.by);
        Some(Verdict { beyond: vote.beyond, ..Verdict::accept(member, &why) })
    }

    /// While a node is being promoted, what any other acknowledges is lost.
    fn handing_over(&self, claims: &[Claim]) -> Option<Verdict> {
        let promoting = self.votes.promoting.as_ref()?;
        let node = self.members.iter().find(|member| member.is_at(promoting))?;
        // A node that left its replicas' ranks long ago, or is master already, is not being promoted.
        if !node.says(Role::Replica) || claims.is_empty() {
            return None;
        }
        Some(Verdict::hold(format!(
            "a Sentinel promotes {}, which has not said yet that it is the master",
            node.address
        )))
    }

    /// Rule 2. `None`: nobody deposed it.
    fn deposed(&self, member: &Member) -> Option<Verdict> {
        self.against(member, |elected| self.is_news(elected))
    }

    /// A newcomer with nothing but followers, or one that claimed already while the last master still did (somebody
    /// detached it), while most Sentinels name another node.
    fn contradicted(&self, member: &Member) -> Option<Verdict> {
        let continues = self.past.is_some_and(|past| past.is_continued_by(member) && member.role_since > past.seen_at);
        self.against(member, |elected| self.is_news(elected) || (elected.live && !continues))
    }

    fn against(&self, member: &Member, counts: impl Fn(&Elected) -> bool) -> Option<Verdict> {
        let elected = self.elected().filter(|elected| !member.is_at(&elected.address) && counts(elected))?;
        let named = self.members.iter().find(|other| other.is_at(&elected.address));
        // Said since they named it: before, that was no answer to them.
        let knows = |named: &Member| named.observed_at.is_some_and(|at| at > elected.since);
        if named.is_some_and(|named| knows(named) && follows(self.members, named, member)) {
            return None;
        }
        Some(Verdict::hold(format!(
            "{} says it is the master, but the Sentinels name {} ({}), and {}",
            member.address,
            elected.address,
            elected.words(),
            state(named)
        )))
    }

    /// The only claim, by a node that was not the master just now.
    fn lone(&self, claim: &Claim) -> Option<Verdict> {
        let member = claim.member;
        if let Some(hold) = self.contradicted(member).or_else(|| self.returned(member)) {
            return Some(hold);
        }
        match self.elected() {
            Some(elected) if elected.live && member.is_at(&elected.address) => {
                Some(Verdict::accept(member, &format!("the Sentinels name it ({})", elected.words())))
            }
            None => self.unasked(),
            Some(_) => None,
        }
    }

    /// Rule 3: several claims, and none by the master of a moment ago.
    fn settled(&self, claims: &[Claim]) -> Option<Verdict> {
        let excluded = |member: &Member| self.returned(member).or_else(|| self.contradicted(member));
        let standing: Vec<_> = claims.iter().filter(|claim| excluded(claim.member).is_none()).copied().collect();
        if standing.len() < claims.len() {
            let verdict = match standing.as_slice() {
                [] => excluded(claims[0].member)?,
                [only] => self.lone(only).unwrap_or_else(|| self.newcomer(only)),
                several => self.settled(several).unwrap_or_else(|| self.contest(several)),
            };
            let taken = standing.iter().find(|claim| Some(claim.member.id) == verdict.master);
            return Some(Verdict { alarm: taken.and_then(|claim| second_claim(claim, claims)), ..verdict });
        }
        let Some(elected) = self.elected() else { return self.unasked() };
        let claim = claims.iter().find(|claim| claim.member.is_at(&elected.address))?;
        if !elected.live {
            return None;
        }
        let why = format!("of all that say so it is the one the Sentinels name ({})", elected.words());
        Some(Verdict { alarm: second_claim(claim, claims), ..Verdict::accept(claim.member, &why) })
    }

    /// Rule 4. What its successor acknowledged would be lost, so the successor must have become its replica, or the
    /// Sentinels must go on naming it, long after the successor was last heard of: then they never took that for one.
    fn returned(&self, member: &Member) -> Option<Verdict> {
        let past = self.past.filter(|_| member.succeeded)?;
        let elected = self.elected();
        let successor = self.members.iter().find(|other| other.id == past.node);
        let named = elected.is_some_and(|elected| elected.live && member.is_at(&elected.address));
        if (named && outlived(past, member))
            || successor.is_some_and(|successor| follows(self.members, successor, member))
        {
            return None;
        }
        let words = elected.map_or_else(String::new, |elected| {
            format!("; the Sentinels name {} ({})", elected.address, elected.words())
        });
        Some(Verdict::hold(format!(
            "{} was the master before {} and says so again, without having been a replica since{words}: have the Sentinels fail over, or bring {} back",
            member.address, past.address, past.address
        )))
    }

    /// The replicas of a rival prove nothing against the incumbent: the Sentinels name that, or the rival was succeeded by it.
    pub(super) fn keeps(&self, incumbent: &Claim, rival: &Claim) -> bool {
        let named = |elected: &Elected| elected.live && incumbent.member.is_at(&elected.address);
        self.votes.configured && (rival.member.succeeded || self.elected().is_some_and(named))
    }

    /// At the start nobody decides before the Sentinels were asked.
    fn unasked(&self) -> Option<Verdict> {
        let awaited = self.votes.awaited.as_ref().filter(|_| self.past.is_none())?;
        Some(Verdict::hold(format!("waiting for the first answer of the Sentinel {awaited}")))
    }

    /// Why nobody is the master, where the Sentinels know better than the nodes.
    pub(super) fn why_elected_is_not(&self) -> Option<String> {
        let elected = self.elected().filter(|elected| self.is_news(elected))?;
        let named = self.members.iter().find(|member| member.is_at(&elected.address));
        if named.is_some_and(|named| !named.tried) {
            return Some(format!("waiting for the first answer of {}, which the Sentinels name", elected.address));
        }
        Some(format!("the Sentinels name {} ({}), and {}", elected.address, elected.words(), state(named)))
    }

    /// With no node to ask, the Sentinels' trouble is the group's.
    pub(super) fn awaits_sentinels(&self) -> Option<String> {
        self.unasked().map(|verdict| verdict.reason)
    }

    fn elected(&self) -> Option<&Elected> {
        self.votes.elected.as_ref()
    }

    /// It was not known yet when the last master was accepted, and is no late word of the time before. It may be as long as
    /// they have not named that master, and its epoch is not beyond those that must have passed since; but a predecessor that
    /// they made the master again was a replica in between, and continues the history.
    fn is_news(&self, elected: &Elected) -> bool {
        let Some(past) = self.past else { return true };
        let named = self.members.iter().find(|member| member.is_at(&elected.address));
        let late = elected.epoch <= past.floor + past.ahead
            && named.is_some_and(|named| {
                named.succeeded && named.said.is_some() && !past.is_continued_by(named) && !outlived(past, named)
            });
        elected.epoch > past.floor && !late
    }
}

/// The successor has been silent for so long that the Sentinels would name it by now, if they ever had.
fn outlived(past: &Past, predecessor: &Member) -> bool {
    predecessor.observed_at.is_some_and(|at| at > past.seen_at + MOVE_SLACK)
}

/// What is wrong with the node that the Sentinels name.
fn state(named: Option<&Member>) -> String {
    let Some(member) = named else {
        return "that address is no known node: if it means another here, say so in `map`".to_owned();
    };
    match (&member.said, &member.failure) {
        (Some(said), _) if said.role == Role::Master && said.loading == Some(true) => {
            "that one is still loading its data".to_owned()
        }
        (Some(said), _) if said.role == Role::Master => "that one is not accepted: it is empty".to_owned(),
        (Some(_), _) => "that one does not say yet that it is the master".to_owned(),
        (None, Some(failure)) if !member.answered => {
            format!("that one cannot be asked ({}): if its address is another here, say so in `map`", failure.text)
        }
        (None, Some(failure)) => format!("that one cannot be asked ({})", failure.text),
        (None, None) => "that one has not been asked yet".to_owned(),
    }
}
