//! Who wants which topic, and what the node was asked for on their behalf.
//!
//! Pure: bytes for the node are appended to `out`, what it answers is matched with what was asked, in order. The hub's
//! connection sends the one and reads the other. A topic is subscribed at the node while anybody wants it; whether
//! it is confirmed counts only when nothing that was asked about it is unanswered, since a later question may undo it.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::entry::{Entry, Member, State, Sums, release, uncount};
use super::subscriber::{Subscriber, Ticket};
use super::topic::{Kind, Name};
use crate::limits;
use crate::resp::encode;
use crate::topology::NodeId;

/// What the node owes, in the order of the questions.
enum Expect {
    Subscribed { kind: Kind, names: VecDeque<Name>, ticket: Option<Rc<Ticket>> },
    Unsubscribed { kind: Kind, names: VecDeque<Name> },
    Pong,
}

/// A session's command: what it calls it, and what it lacks.
struct Wish {
    verb: Box<[u8]>,
    kind: Kind,
    names: Vec<Name>,
    ticket: Rc<Ticket>,
}

pub(super) struct Table {
    /// By `Kind`.
    topics: [HashMap<Name, Entry>; 3],
    pub(super) out: Vec<u8>,
    expected: VecDeque<Expect>,
    /// What sessions want that came while there was no node to ask.
    later: Vec<Wish>,
    /// Topics to be asked for, in pieces.
    queue: VecDeque<(Kind, Name)>,
    /// One by one: in a piece that was refused, one topic is to blame.
    singly: VecDeque<(Kind, Name)>,
    /// Pieces of them that are not answered.
    pieces: usize,
    /// Topics that lost their last member.
    emptied: Vec<(Kind, Name)>,
    /// Where the connection leads, while there is one.
    node: Option<NodeId>,
    sums: Sums,
}

impl Table {
    pub(super) fn new(sums: Sums) -> Self {
        Self {
            topics: Default::default(),
            out: Vec::new(),
            expected: VecDeque::new(),
            later: Vec::new(),
            queue: VecDeque::new(),
            singly: VecDeque::new(),
            pieces: 0,
            emptied: Vec::new(),
            node: None,
            sums,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.topics.iter().all(HashMap::is_empty)
    }

    pub(super) fn node(&self) -> Option<NodeId> {
        self.node
    }

    pub(super) fn entry(&self, kind: Kind, name: &[u8]) -> Option<&Entry> {
        self.topics[kind as usize].get(name)
    }

    /// Everything that was wanted when this connection was opened has been answered.
    pub(super) fn is_restored(&self) -> bool {
        self.node.is_some() && self.queue.is_empty() && self.singly.is_empty() && self.pieces == 0
    }

    /// `to` wants these topics, each named once. What the node must be asked is asked in one command, in the client's own
    /// word for it, so that a refusal is the one the client would get. Returns the names as the table keeps them.
    pub(super) fn join(
        &mut self,
        id: u64,
        to: &Rc<dyn Subscriber>,
        kind: Kind,
        verb: &[u8],
        names: &[&[u8]],
    ) -> (Rc<Ticket>, Vec<Name>) {
        let ticket = Rc::new(Ticket::new(id, Rc::clone(to)));
        let mut kept = Vec::with_capacity(names.len());
        for name in names {
            let topics = &mut self.topics[kind as usize];
            let key = topics.get_key_value(*name).map_or_else(|| Name::from(*name), |(key, _)| Rc::clone(key));
            let entry = topics.entry(Rc::clone(&key)).or_insert_with(Entry::new);
            // Who is a member already stays what it is.
            entry.members.entry(id).or_insert_with(|| Member { to: Rc::clone(to), active: false, parting: None });
            if entry.state != State::Confirmed {
                entry.waiting.push(Rc::clone(&ticket));
                ticket.misses_one_more();
            }
            kept.push(key);
        }
        let wish = Wish { verb: verb.into(), kind, names: kept.clone(), ticket: Rc::clone(&ticket) };
        if self.node.is_some() {
            self.ask(wish);
        } else {
            self.later.push(wish);
        }
        (ticket, kept)
    }

    /// Asks the node for what it was not asked for.
    fn ask(&mut self, wish: Wish) {
        let Wish { verb, kind, names, ticket } = wish;
        let mut names = VecDeque::from(names);
        names.retain(|name| match self.topics[kind as usize].get_mut(name) {
            Some(entry) if matches!(entry.state, State::Absent | State::Leaving) => {
                entry.ask(State::Asked);
                true
            }
            _ => false,
        });
        if !names.is_empty() {
            command(&mut self.out, &verb, &names);
            self.expected.push_back(Expect::Subscribed { kind, names, ticket: Some(ticket) });
        }
    }

    /// Messages may reach the member from now on; `None`: there is no such member.
    pub(super) fn activate(&mut self, id: u64, kind: Kind, name: &[u8]) -> Option<Name> {
        let topics = &mut self.topics[kind as usize];
        let key = topics.get_key_value(name).map(|(key, _)| Rc::clone(key))?;
        let entry = topics.get_mut(name)?;
        let member = entry.members.get_mut(&id)?;
        if !member.active {
            member.active = true;
            entry.active += 1;
            self.sums.counters.subscriptions.increment();
            if let Some(node) = entry.counted {
                self.sums.registry.change(kind, name, node, 0, 1);
            }
        }
        Some(key)
    }

    /// `to` wants these topics no more, which it was told it has. Where it is the last one it gets messages until the node has
    /// confirmed the end: whoever publishes after the ticket is confirmed does not count it, in the node's view and here.
    pub(super) fn part(&mut self, id: u64, to: &Rc<dyn Subscriber>, topics: &[(Kind, Name)]) -> Rc<Ticket> {
        let ticket = Rc::new(Ticket::new(id, Rc::clone(to)));
        for (kind, name) in topics {
            let Some(entry) = self.topics[*kind as usize].get_mut(name) else {
                continue;
            };
            let others = entry.members.iter().any(|(member, of)| *member != id && of.parting.is_none());
            match entry.members.get_mut(&id) {
                // The topic is named twice.
                Some(Member { parting: Some(_), .. }) => {}
                Some(member) if !others && entry.state != State::Absent => {
                    member.parting = Some(Rc::clone(&ticket));
                    ticket.misses_one_more();
                    self.emptied.push((*kind, Rc::clone(name)));
                }
                _ => self.leave(id, *kind, name),
            }
        }
        ticket
    }

    /// At once, whatever comes.
    pub(super) fn leave(&mut self, id: u64, kind: Kind, name: &[u8]) {
        self.later.retain(|wish| wish.ticket.id != id);
        let topics = &mut self.topics[kind as usize];
        let Some(entry) = topics.get_mut(name) else {
            return;
        };
        entry.waiting.retain(|ticket| ticket.id != id);
        let Some(member) = entry.members.remove(&id) else {
            return;
        };
        let last = entry.is_unwanted();
        if member.active {
            entry.active -= 1;
            self.sums.counters.subscriptions.decrement();
            match entry.counted {
                // The node counts its subscription until it has heard of the end, and so does the registry.
                Some(_) if last => entry.gone += 1,
                Some(node) => self.sums.registry.change(kind, name, node, 0, -1),
                None => {}
            }
        }
        if !last {
            return;
        }
        if entry.state == State::Absent && entry.unanswered == 0 {
            topics.remove(name);
        } else if let Some((key, _)) = topics.get_key_value(name) {
            self.emptied.push((kind, Rc::clone(key)));
        }
    }

    /// A connection was opened: everything is wanted on it.
    pub(super) fn connected(&mut self, node: NodeId) {
        self.node = Some(node);
        for wish in std::mem::take(&mut self.later) {
            self.ask(wish);
        }
        for kind in Kind::ALL {
            self.queue.extend(self.topics[kind as usize].keys().map(|name| (kind, Rc::clone(name))));
        }
    }

    /// The connection is gone and nothing is subscribed at the node. Whoever waits for its word looks again.
    pub(super) fn disconnected(&mut self) {
        self.node = None;
        self.out = Vec::new();
        self.expected.clear();
        self.queue.clear();
        self.singly.clear();
        self.pieces = 0;
        self.emptied.clear();
        for kind in Kind::ALL {
            for (name, entry) in &mut self.topics[kind as usize] {
                entry.state = State::Absent;
                entry.unanswered = 0;
                uncount(&self.sums, kind, name, entry);
                release(&self.sums, entry);
                entry.waiting.iter().for_each(|ticket| ticket.wake());
            }
            self.topics[kind as usize].retain(|_, entry| !entry.members.is_empty());
        }
    }

    pub(super) fn wake_waiting(&self) {
        let waiting = self.topics.iter().flat_map(HashMap::values).flat_map(|entry| &entry.waiting);
        waiting.for_each(|ticket| ticket.wake());
    }

    pub(super) fn has_confirmed(&self) -> bool {
        self.topics.iter().flat_map(HashMap::values).any(|entry| entry.counted.is_some())
    }

    /// Appends what the node is to be asked, in pieces, as long as few of them wait for their answers.
    pub(super) fn prepare(&mut self) {
        if self.node.is_none() {
            return;
        }
        for (kind, names) in self.take_emptied() {
            command(&mut self.out, kind.unsubscribe().as_bytes(), &names);
            self.expected.push_back(Expect::Unsubscribed { kind, names });
        }
        while self.expected.len() < limits::HUB_PIECES_IN_FLIGHT && self.out.len() < limits::HUB_PIECE_BYTES {
            let (kind, names) = match self.singly.pop_front() {
                Some((kind, name)) => (kind, VecDeque::from([name])),
                None => match self.take_piece() {
                    Some(piece) => piece,
                    None => return,
                },
            };
            let topics = &mut self.topics[kind as usize];
            let wanted = |name: &Name| match topics.get_mut(name) {
                Some(entry) if entry.state == State::Absent && !entry.members.is_empty() => {
                    entry.ask(State::Asked);
                    true
                }
                _ => false,
            };
            let mut wanted_names = names;
            wanted_names.retain(wanted);
            if !wanted_names.is_empty() {
                command(&mut self.out, kind.subscribe().as_bytes(), &wanted_names);
                self.expected.push_back(Expect::Subscribed { kind, names: wanted_names, ticket: None });
                self.pieces += 1;
            }
        }
    }

    pub(super) fn ping(&mut self) {
        encode::command(&mut self.out, &[b"PING"]);
        self.expected.push_back(Expect::Pong);
    }

    /// The node confirmed a subscription. `false`: it was not asked for.
    pub(super) fn subscribed(&mut self, kind: Kind, name: &[u8]) -> bool {
        let Some(Expect::Subscribed { kind: asked, names, ticket }) = self.expected.front_mut() else {
            return false;
        };
        if *asked != kind || names.front().is_none_or(|front| **front != *name) {
            return false;
        }
        names.pop_front();
        if names.is_empty() {
            self.pieces -= usize::from(ticket.is_none());
            self.expected.pop_front();
        }
        if let (Some(entry), Some(node)) = (self.topics[kind as usize].get_mut(name), self.node) {
            entry.unanswered = entry.unanswered.saturating_sub(1);
            if entry.counted.is_none() {
                entry.counted = Some(node);
                self.sums.registry.change(kind, name, node, 1, entry.active);
                self.sums.counters.upstream_subscriptions.increment();
            }
            if entry.unanswered == 0 && entry.state == State::Asked {
                entry.state = State::Confirmed;
                for ticket in entry.waiting.drain(..) {
                    ticket.misses_one_less();
                }
            }
        }
        true
    }

    /// The node confirmed the end of one.
    pub(super) fn unsubscribed(&mut self, kind: Kind, name: &[u8]) -> bool {
        let Some(Expect::Unsubscribed { kind: asked, names }) = self.expected.front_mut() else {
            return false;
        };
        if *asked != kind || names.front().is_none_or(|front| **front != *name) {
            return false;
        }
        names.pop_front();
        if names.is_empty() {
            self.expected.pop_front();
        }
        let topics = &mut self.topics[kind as usize];
        if let Some(entry) = topics.get_mut(name) {
            entry.unanswered = entry.unanswered.saturating_sub(1);
            uncount(&self.sums, kind, name, entry);
            release(&self.sums, entry);
            if entry.unanswered == 0 && entry.state == State::Leaving {
                entry.state = State::Absent;
                if entry.members.is_empty() {
                    topics.remove(name);
                }
            }
        }
        true
    }

    pub(super) fn ponged(&mut self) -> bool {
        matches!(self.expected.front(), Some(Expect::Pong)) && self.expected.pop_front().is_some()
    }

    /// The node refused what it was asked, in these words: the client that asked gets them. Others who want one of the
    /// topics ask for themselves. Of a topic that is refused alone nobody can stay a subscriber. `false`: nothing was asked.
    pub(super) fn refused(&mut self, words: &str) -> bool {
        let (kind, names, ticket) = match self.expected.pop_front() {
            Some(Expect::Subscribed { kind, names, ticket }) => (kind, names, ticket),
            // Servers before 3.0 take no PING from a subscriber, and are there all the same.
            Some(Expect::Pong) => return true,
            Some(Expect::Unsubscribed { .. }) | None => return false,
        };
        self.pieces -= usize::from(ticket.is_none());
        let alone = ticket.is_none() && names.len() == 1;
        for name in names {
            let Some(entry) = self.topics[kind as usize].get_mut(&name) else {
                continue;
            };
            entry.unanswered = entry.unanswered.saturating_sub(1);
            if entry.unanswered == 0 && entry.state != State::Confirmed {
                entry.state = State::Absent;
            }
            if let Some(ticket) = &ticket {
                entry.waiting.retain(|waiting| waiting.id != ticket.id);
                entry.members.remove(&ticket.id);
            }
            if alone {
                entry.waiting.drain(..).for_each(|ticket| ticket.refuse(words));
                for member in entry.members.values().filter(|member| member.active) {
                    member.to.revoked(&format!("its node does not let it subscribe any more: {words}"));
                }
            } else if entry.state == State::Absent && !entry.members.is_empty() {
                self.singly.push_back((kind, Rc::clone(&name)));
            }
            if entry.state == State::Absent && entry.unanswered == 0 && entry.members.is_empty() {
                self.topics[kind as usize].remove(&name);
            }
        }
        if let Some(ticket) = ticket {
            ticket.refuse(words);
        }
        true
    }

    /// The node refused the connection as such: so it refuses everything that waits for it.
    pub(super) fn refuse_everything(&mut self, words: &str) {
        for entry in self.topics.iter_mut().flat_map(HashMap::values_mut) {
            entry.waiting.drain(..).for_each(|ticket| ticket.refuse(words));
            for member in entry.members.values().filter(|member| member.active) {
                member.to.revoked(words);
            }
        }
    }

    fn take_piece(&mut self) -> Option<(Kind, VecDeque<Name>)> {
        let (kind, first) = self.queue.pop_front()?;
        let mut bytes = first.len();
        let mut names = VecDeque::from([first]);
        while names.len() < limits::HUB_PIECE
            && bytes < limits::HUB_PIECE_BYTES
            && self.queue.front().is_some_and(|(next, _)| *next == kind)
            && let Some((_, name)) = self.queue.pop_front()
        {
            bytes += name.len();
            names.push_back(name);
        }
        Some((kind, names))
    }

    /// What nobody wants any more, by kind, in pieces. Who came back meanwhile keeps the topic.
    fn take_emptied(&mut self) -> Vec<(Kind, VecDeque<Name>)> {
        let mut pieces: Vec<(Kind, VecDeque<Name>)> = Vec::new();
        for (kind, name) in std::mem::take(&mut self.emptied) {
            let Some(entry) = self.topics[kind as usize].get_mut(&name) else {
                continue;
            };
            if !entry.is_unwanted() {
                // They are not the last any more.
                let left = entry.gone + release(&self.sums, entry);
                if let Some(node) = entry.counted.filter(|_| left > 0) {
                    self.sums.registry.change(kind, &name, node, 0, -left);
                }
                entry.gone = 0;
                continue;
            }
            if !matches!(entry.state, State::Asked | State::Confirmed) {
                continue;
            }
            entry.ask(State::Leaving);
            match pieces.iter_mut().find(|(other, names)| *other == kind && names.len() < limits::HUB_PIECE) {
                Some((_, names)) => names.push_back(name),
                None => pieces.push((kind, VecDeque::from([name]))),
            }
        }
        pieces
    }
}

fn command(out: &mut Vec<u8>, verb: &[u8], names: &VecDeque<Name>) {
    encode::array(out, names.len() + 1);
    encode::bulk(out, verb);
    names.iter().for_each(|name| encode::bulk(out, name));
}

/// The hub is gone, perhaps by a panic: what it counted is not there any more.
impl Drop for Table {
    fn drop(&mut self) {
        self.disconnected();
        for entry in self.topics.iter().flat_map(HashMap::values) {
            (0..entry.active).for_each(|_| self.sums.counters.subscriptions.decrement());
        }
    }
}
