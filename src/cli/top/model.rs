//! What `redan top` remembers between two frames: how fast the counters grow, the events, and what the keys have changed.

use std::collections::{HashMap, VecDeque};

use super::feed::News;
use super::state::{Event, Group, Latency, Node, State};
use super::words::percentile;

/// Samples of a line; the widest terminal shows no more.
const SAMPLES: usize = 240;
const EVENTS: usize = 512;

/// Seconds that latency is of.
const LATELY: f64 = 60.0;

/// In which order nodes are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// The master, then whoever copies it, then whoever copies those.
    #[default]
    Tree,
    Traffic,
    Lag,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Tree => Self::Traffic,
            Self::Traffic => Self::Lag,
            Self::Lag => Self::Tree,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tree => "copies",
            Self::Traffic => "traffic",
            Self::Lag => "lag",
        }
    }
}

/// One number that grows, and how fast it did lately.
#[derive(Debug, Default)]
pub(super) struct Series {
    last: Option<(f64, u64)>,
    pub(super) rates: VecDeque<f64>,
}

impl Series {
    fn add(&mut self, at: f64, total: u64) {
        if let Some((before, counted)) = self.last
            && at > before
        {
            // Less than before: another process counts, from the beginning.
            let grown = total.saturating_sub(counted);
            if self.rates.len() == SAMPLES {
                self.rates.pop_front();
            }
            self.rates.push_back(grown as f64 / (at - before));
        }
        self.last = Some((at, total));
    }

    pub(super) fn now(&self) -> Option<f64> {
        self.rates.back().copied()
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) state: Option<State>,
    pub(super) series: HashMap<String, Series>,
    /// Oldest first.
    pub(super) events: VecDeque<Event>,
    /// The counts of latency of the last minute, oldest first.
    latency: VecDeque<(f64, Latency)>,
    pub(super) lost: Option<String>,
    pub(super) frozen: bool,
    pub(super) sort: Sort,
    pub(super) warnings_only: bool,
    /// How many of the newest events are scrolled past.
    pub(super) scrolled: usize,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Freeze,
    Sort,
    Warnings,
    Older(usize),
    Newer(usize),
}

impl Model {
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Lost(why) => self.lost = Some(why),
            News::Event(event) => {
                let same = |old: &Event| Some(&old.id) == event.replaces.as_ref() || old.id == event.id;
                self.events.retain(|old| !same(old));
                if self.events.len() == EVENTS {
                    self.events.pop_front();
                }
                self.events.push_back(event);
            }
            News::State(state) => {
                self.lost = None;
                if !self.frozen {
                    self.count(&state);
                    self.state = Some(*state);
                }
            }
        }
    }

    /// What 99 of 100 commands of the last minute took no longer than, in seconds.
    pub(super) fn latency(&self) -> Option<f64> {
        let ((_, old), (_, new)) = (self.latency.front()?, self.latency.back()?);
        let grown: Vec<u64> = new.client.iter().zip(&old.client).map(|(new, old)| new.saturating_sub(*old)).collect();
        percentile(&new.bounds, &grown, 0.99)
    }

    fn count(&mut self, state: &State) {
        self.latency.push_back((state.at, state.latency.clone()));
        while self.latency.front().is_some_and(|(at, _)| state.at - at > LATELY) {
            self.latency.pop_front();
        }
        let traffic = &state.traffic;
        let mut totals = vec![
            ("reads".to_owned(), traffic.commands_read),
            ("writes".to_owned(), traffic.commands_write),
            (
                "all".to_owned(),
                traffic.commands_read + traffic.commands_write + traffic.commands_local + traffic.commands_pinned,
            ),
        ];
        for group in &state.groups {
            totals.extend(group.nodes.iter().map(|node| (of_node(group, node), node.commands)));
        }
        for link in &state.links {
            totals.push((format!("in {}", link.name), link.bytes_in));
            totals.push((format!("out {}", link.name), link.bytes_out));
        }
        self.series.retain(|name, _| totals.iter().any(|(total, _)| total == name));
        for (name, total) in totals {
            self.series.entry(name).or_default().add(state.at, total);
        }
    }

    pub(super) fn press(&mut self, key: Key) {
        match key {
            Key::Freeze => self.frozen = !self.frozen,
            Key::Sort => self.sort = self.sort.next(),
            Key::Warnings => {
                self.warnings_only = !self.warnings_only;
                self.scrolled = 0;
            }
            Key::Older(by) => self.scrolled = (self.scrolled + by).min(self.shown_events().count().saturating_sub(1)),
            Key::Newer(by) => self.scrolled = self.scrolled.saturating_sub(by),
        }
    }

    /// Newest first.
    pub(super) fn shown_events(&self) -> impl Iterator<Item = &Event> + Clone {
        self.events.iter().rev().filter(|event| !self.warnings_only || event.level != "info")
    }

    pub(super) fn rate(&self, name: &str) -> Option<f64> {
        self.series.get(name).and_then(Series::now)
    }

    /// The group's nodes in the order that is wished, each with its depth below the master.
    pub(super) fn nodes<'a>(&self, group: &'a Group) -> Vec<(usize, &'a Node)> {
        let mut nodes = Vec::new();
        for root in group.nodes.iter().filter(|node| node.is_master) {
            walk(group, root, 0, &mut nodes);
        }
        for other in &group.nodes {
            if !group.nodes.iter().any(|node| Some(&node.address) == other.replicates.as_ref()) {
                walk(group, other, 0, &mut nodes);
            }
        }
        // What copies each other in a ring hangs on nothing.
        group.nodes.iter().for_each(|other| walk(group, other, 0, &mut nodes));
        let rate = |node: &Node| self.rate(&of_node(group, node)).unwrap_or(0.0);
        match self.sort {
            Sort::Tree => {}
            Sort::Traffic => nodes.sort_by(|(_, a), (_, b)| rate(b).total_cmp(&rate(a))),
            Sort::Lag => nodes.sort_by_key(|(_, node)| std::cmp::Reverse(node.lag_bytes)),
        }
        nodes
    }
}

pub(super) fn of_node(group: &Group, node: &Node) -> String {
    format!("node {} {}", group.name, node.address)
}

fn walk<'a>(group: &'a Group, node: &'a Node, depth: usize, found: &mut Vec<(usize, &'a Node)>) {
    if found.iter().any(|(_, known)| known.address == node.address) {
        return;
    }
    found.push((depth, node));
    for copy in group.nodes.iter().filter(|copy| copy.replicates.as_ref() == Some(&node.address)) {
        walk(group, copy, depth + 1, found);
    }
}
