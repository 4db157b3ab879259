//! What happens to the servers and the Sentinels of a simulated life, and what they say when they are asked.

use super::*;

impl Life {
    pub(super) fn promote(&mut self, index: usize, reign: u64, detached: bool) {
        let replid = self.fresh_id();
        let server = &mut self.servers[index];
        if server.parent.take().is_some() {
            server.replid2 = Some((server.replid, server.offset + 1));
            server.replid = replid;
        }
        (server.link_up, server.reign, server.detached) = (true, reign, detached);
        self.note(|| format!("n{index} is promoted, epoch {reign}, detached {detached}"));
    }

    pub(super) fn follow(&mut self, index: usize, parent: usize) {
        let mut at = Some(parent);
        while let Some(above) = at {
            if above == index {
                return;
            }
            at = self.servers[above].parent;
        }
        if self.servers[index].parent != Some(parent) {
            let server = &mut self.servers[index];
            (server.parent, server.link_up, server.detached) = (Some(parent), false, false);
            self.note(|| format!("n{index} follows n{parent}"));
        }
    }

    /// Comes up as what its configuration says: an old master says it still is one.
    pub(super) fn restart(&mut self, index: usize, wiped: bool) {
        let (run, replid, loading) = (self.fresh_id(), self.fresh_id(), self.dice.below(4));
        let server = &mut self.servers[index];
        (server.state, server.run, server.link_up) = (State::Up, run, server.parent.is_none());
        server.loading = u32::try_from(loading).expect("small");
        if wiped || server.parent.is_none() {
            (server.replid, server.replid2, server.offset) = (replid, None, 0);
        }
        if wiped {
            server.keys = 0;
        }
        self.note(|| format!("n{index} restarts, wiped {wiped}"));
    }

    pub(super) fn majority(&self, count: usize) -> bool {
        count * 2 > self.guards.len()
    }

    fn able(&self) -> Vec<usize> {
        (0..self.guards.len()).filter(|&index| self.guards[index].up && !self.guards[index].tilt).collect()
    }

    pub(super) fn chaos(&mut self) {
        let (index, other) = (self.dice.below(self.servers.len()), self.dice.below(self.servers.len()));
        let guard = self.dice.below(self.guards.len());
        let act = self.dice.below(18);
        self.note(|| format!("chaos {act} at n{index}, n{other}, s{guard}"));
        match act {
            0 => self.servers[index].state = State::Dead,
            1 => self.servers[self.reigning.0].state = State::Dead,
            2 => self.servers[self.reigning.0].state = State::Frozen,
            3 | 4 if self.servers[index].state == State::Frozen => self.servers[index].state = State::Up,
            3 => self.restart(index, false),
            4 => {
                let wiped = self.dice.one_in(2);
                self.restart(self.reigning.0, wiped);
            }
            // Another server at the same address.
            5 => {
                self.restart(index, true);
                self.servers[index].parent = Some(self.reigning.0).filter(|&master| master != index);
            }
            6 => self.servers[index].cut[0] ^= true,
            7 => self.servers[index].cut[1] ^= true,
            8 => self.servers[index].link_up = self.servers[index].parent.is_none(),
            9 => self.guards[guard].cut ^= true,
            10 => self.guards[guard].up ^= true,
            11 => self.guards[guard].tilt ^= true,
            12 => self.guards[guard].deaf ^= true,
            // At most one of three lies; and not for a node that was detached just now, which nothing tells from a promotion.
            13 if self.guards.len() > 2
                && !self.servers[other].detached
                && self.guards.iter().all(|guard| guard.lie.is_none()) =>
            {
                let epoch = [0, self.reigning.1, 999][self.dice.below(3)];
                self.guards[guard].lie = Some((other, epoch));
                let lie = Notice::Promotes(self.names[other].to_string());
                self.says(guard, lie);
            }
            14 => self.fail_over(),
            // For a backup.
            15 if self.servers[index].parent.is_some() && self.guards.iter().all(|guard| guard.lie.is_none()) => {
                let reign = self.servers[self.servers[index].parent.expect("a replica")].reign;
                self.promote(index, reign, true);
                self.correct_at = self.correct_at.min(self.step + 30);
            }
            16 if self.servers[index].parent.is_some() => self.follow(index, other),
            _ => {}
        }
    }

    /// A message of a Sentinel, which may be lost.
    pub(super) fn says(&mut self, guard: usize, notice: Notice) {
        let Guard { up, cut, .. } = self.guards[guard];
        if !up || cut || self.dice.one_in(5) {
            return;
        }
        self.stirred_until = self.step + 50;
        for due in self.due.values_mut() {
            *due = (*due).min(self.step);
        }
        self.handle(Event::Noticed { sentinel: self.guards_names[guard].clone(), notice });
    }

    pub(super) fn fail_over(&mut self) {
        let able = self.able();
        let honest: Vec<usize> = able.iter().copied().filter(|&one| self.guards[one].lie.is_none()).collect();
        let fit = |&index: &usize| {
            let server = &self.servers[index];
            server.state == State::Up && !server.cut[1] && server.parent.is_some() && server.loading == 0
        };
        let candidates: Vec<usize> = (0..self.servers.len()).filter(fit).collect();
        if self.failover.is_some() || !self.majority(able.len()) || honest.is_empty() || candidates.is_empty() {
            return;
        }
        let leader = honest[self.dice.below(honest.len())];
        let to = candidates[self.dice.below(candidates.len())];
        self.note(|| format!("s{leader} makes n{to} the master"));
        let epoch = self.reigning.1 + 1;
        self.failover = Some(Failover { leader, to, epoch, at: self.step + 1, act: 0 });
        able.into_iter().for_each(|guard| self.says(guard, Notice::Stir));
    }

    /// What the Sentinels do by themselves.
    pub(super) fn guard(&mut self) {
        let master = &self.servers[self.reigning.0];
        let down = master.state != State::Up || master.cut[1];
        self.down_since = if down { self.down_since.or(Some(self.step)) } else { None };
        if self.down_since.is_some_and(|since| self.step >= since + 10) {
            self.fail_over();
        }
        if let Some(failover) = self.failover.clone().filter(|failover| self.step >= failover.at) {
            self.act(failover);
        }
        if self.step >= self.correct_at && self.majority(self.able().len()) {
            self.correct_at = u32::MAX;
            let master = self.reigning.0;
            for index in (0..self.servers.len()).filter(|&index| index != master) {
                if self.servers[index].state == State::Up && !self.servers[index].cut[1] {
                    self.follow(index, master);
                }
            }
        }
    }

    pub(super) fn act(&mut self, failover: Failover) {
        let Failover { leader, to, epoch, act, .. } = failover;
        let next = |at| Some(Failover { at, act: act + 1, ..failover.clone() });
        let promotes = Notice::Promotes(self.names[to].to_string());
        match act {
            0 if self.servers[to].state != State::Up || self.servers[to].parent.is_none() => {
                self.failover = None;
                self.says(leader, Notice::Aborts);
            }
            0 => {
                self.says(leader, promotes);
                self.promote(to, epoch, false);
                self.reigning = (to, epoch);
                self.failover = next(self.step + 8);
            }
            1 => {
                (self.guards[leader].master, self.guards[leader].epoch) = (to, epoch);
                self.says(leader, promotes);
                self.failover = next(self.step + 1);
            }
            _ => {
                for guard in self.able() {
                    if !self.guards[guard].deaf {
                        (self.guards[guard].master, self.guards[guard].epoch) = (to, epoch);
                        self.says(guard, Notice::Stir);
                    }
                }
                for index in 0..self.servers.len() {
                    if self.servers[index].parent.is_some() && self.servers[index].state == State::Up {
                        self.follow(index, to);
                    }
                }
                self.failover = None;
                self.correct_at = self.step + 30;
            }
        }
    }

    pub(super) fn replicate(&mut self) {
        for index in 0..self.servers.len() {
            self.servers[index].loading = self.servers[index].loading.saturating_sub(1);
            if self.servers[index].state != State::Up {
                continue;
            }
            let Some(parent) = self.servers[index].parent else {
                self.servers[index].offset += self.dice.roll() % 50;
                self.servers[index].keys += u64::from(self.servers[index].keys > 0 && self.dice.one_in(10));
                continue;
            };
            let up = self.servers[parent].clone();
            let late = self.dice.one_in(3);
            let server = &mut self.servers[index];
            if up.state == State::Dead || (up.parent.is_some() && !up.link_up) {
                server.link_up = false;
            } else if up.state == State::Up && up.loading == 0 && !late {
                (server.replid, server.replid2) = (up.replid, up.replid2);
                (server.offset, server.keys, server.link_up) = (up.offset, up.keys, true);
            }
        }
    }

    pub(super) fn observe(&self, index: usize) -> Observation {
        let server = &self.servers[index];
        let role = if server.parent.is_some() { Role::Replica } else { Role::Master };
        let replicas = (0..self.servers.len())
            .filter(|&other| self.servers[other].parent == Some(index) && self.servers[other].link_up)
            .map(|other| ListedReplica {
                address: self.names[other].to_string(),
                online: true,
                offset: None,
                lag: None,
            });
        Observation {
            role,
            run_id: Some(server.run.to_string().into()),
            version: Some(crate::topology::Version(7, 0, 15)),
            replid: Some(server.replid.to_string().into()),
            replid2: server.replid2.map(|(id, _)| id.to_string().into()),
            second_offset: server.replid2.map(|(_, offset)| offset),
            offset: Some(server.offset),
            parent: server.parent.map(|parent| self.names[parent].to_string()),
            link_up: server.parent.is_some().then_some(server.link_up),
            link_down_for: (server.parent.is_some() && !server.link_up).then_some(1),
            syncing: Some(false),
            loading: Some(server.loading > 0),
            read_only: Some(true),
            announced: Some(true),
            replicas: Some(replicas.collect()),
            keys: Some(server.keys),
            ..Observation::empty()
        }
    }

    pub(super) fn statement(&self, guard: usize) -> Statement {
        let Guard { tilt, lie, master, epoch, .. } = self.guards[guard];
        let (master, epoch) = lie.unwrap_or((master, epoch));
        let id = |index: usize| Some(Arc::from(format!("id {index}")));
        let others = (0..self.guards.len()).filter(|&other| other != guard);
        let subject = Subject {
            master: self.names[master].to_string(),
            epoch,
            replicas: self.names.iter().map(|name| name.to_string()).collect(),
            sentinels: others.map(|one| Peer { address: self.guards_names[one].to_string(), id: id(one) }).collect(),
            ..Subject::default()
        };
        Statement { id: id(guard), subject: Some(subject), tilt }
    }
}
