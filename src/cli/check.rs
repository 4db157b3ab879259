//! `redan check`: asks every node what Redan would ask it, and says in plain sentences what is wrong.
//!
//! It uses the probes and the tracker of `control`, so it cannot see things differently from `redan run`.
//! It changes nothing anywhere.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::JoinSet;

use crate::config::link::Link;
use crate::config::{Config, Group};
use crate::control::probe::{Answer, Means, Probe};
use crate::control::sentinel::Inquiry;
use crate::control::{self, Auth, is_heard_by_sentinels};
use crate::link::{self, Links};
use crate::net::Shortcuts;
use crate::tls;
use crate::tls::keyring::Keyring;
use crate::tls::validity::{self, Expiry};
use crate::topology::address::{is_loopback, linked};
use crate::topology::member::{Failure, FailureKind};
use crate::topology::tracker::{Action, Event, Tracker};
use crate::topology::{Node, Role, Version};

mod bypass;
mod links;
mod sentinels;

/// Rounds of questions: one to find the nodes, two to judge them steadily.
const ROUNDS: u32 = 3;

/// Between rounds, so that offsets have time to move. Three rounds stay under a second where all is well.
const PAUSE: Duration = Duration::from_millis(250);

/// Checks, prints, and returns 0 when nothing is wrong, else 1.
pub(crate) fn run(config: &Config) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("redan: the system gives no resources to run with: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = runtime.block_on(examine(config));
    // Whoever closed the pipe does not want to read on; the exit code still tells.
    let _ = std::io::stdout().lock().write_all(report.to_string().as_bytes());
    if report.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<[String; COLUMNS.len()]>,
    /// One line for each Sentinel.
    sentinels: Vec<String>,
    wrong: Vec<String>,
    /// Worth knowing, but it works.
    notes: Vec<String>,
}

const COLUMNS: [&str; 8] = ["GROUP", "NODE", "ROLE", "VERSION", "LAG", "READS", "TLS", "AUTH"];

/// Looks at everything the configuration names.
pub(crate) async fn examine(config: &Config) -> Report {
    let mut report = Report::default();
    for listener in &config.listeners {
        match listener.tls.as_ref().map(tls::server::load) {
            Some(Err(error)) => report.wrong.push(format!("listener '{}': {error}", listener.name)),
            Some(Ok(serving)) => report.expiring(&format!("listener '{}'", listener.name), &serving.expiries),
            None => {}
        }
    }
    let groups: Vec<&Group> = config.groups.iter().map(|group| &**group).collect();
    let (shortcuts, _links, expiries) = lend(&config.links, &groups, &mut report.wrong);
    for (link, expiries) in expiries {
        report.expiring(&format!("link '{link}'"), &expiries);
    }
    for group in &config.groups {
        match Keyring::load(group) {
            Err(error) => report.wrong.push(format!("group '{}': {error}", group.name)),
            Ok(keyring) => {
                report.expiring(&format!("group '{}'", group.name), &keyring.expiries().collect::<Vec<_>>());
                let seen = look(group, &Arc::new(keyring), &shortcuts).await;
                report.add(group, &seen);
                report.beside_sentinels(group, &seen, &shortcuts).await;
                report.around_links(&config.links, group, &seen, &shortcuts).await;
            }
        }
    }
    report
}

/// Of one thread, for tasks that stay on it as well: links have such.
pub(super) fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// The ways of these groups over links, each an entry of this process that listens nowhere, until what is returned beside them is
/// dropped; and of every link what expires. What is wrong with any link is told.
pub(super) fn lend(links: &[Arc<Link>], groups: &[&Group], wrong: &mut Vec<String>) -> Lent {
    let (mut used, mut expiries) = (Vec::new(), Vec::new());
    for link in links {
        match link::Keyring::load(link) {
            Ok(keyring) => {
                expiries.push((link.name.clone(), keyring.expiries()));
                used.extend(groups.iter().any(|group| group.goes_over(&link.name)).then(|| Arc::new(keyring)));
            }
            Err(error) => wrong.push(format!("link '{}': {error}", link.name)),
        }
    }
    let (shortcuts, links) = link::lend(used);
    (Arc::new(shortcuts), links, expiries)
}

type Lent = (Arc<Shortcuts>, Links, Vec<(String, Vec<Expiry>)>);

/// A group after the last round.
pub(super) struct Seen {
    pub(super) tracker: Tracker,
    pub(super) answers: BTreeMap<Arc<str>, Result<Answer, Failure>>,
}

pub(super) async fn look(group: &Arc<Group>, keyring: &Arc<Keyring>, shortcuts: &Arc<Shortcuts>) -> Seen {
    let mut tracker = control::tracker(group);
    let mut probes: BTreeMap<Arc<str>, Probe> = BTreeMap::new();
    let mut answers = BTreeMap::new();
    let mut inquiries: BTreeMap<Arc<str>, Inquiry> = BTreeMap::new();
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let mut found = sentinels::ask(group, &mut tracker, &mut inquiries, shortcuts).await;
        let mut asked = JoinSet::new();
        let mut due: Vec<Arc<str>> = tracker.addresses().cloned().collect();
        found.retain(|address| !due.contains(address));
        due.append(&mut found);
        loop {
            for address in due.drain(..) {
                let new = || Probe::new(address.clone(), group, keyring, shortcuts);
                let mut probe = probes.remove(&address).unwrap_or_else(new);
                asked.spawn(async move {
                    let answer = probe.ask().await;
                    (address, probe, answer)
                });
            }
            // A probe that panicked has said so itself; its node stays without an answer.
            let Some(finished) = asked.join_next().await else { break };
            let Ok((address, probe, answer)) = finished else { continue };
            probes.insert(address.clone(), probe);
            for action in tracker.handle(Instant::now(), event(&address, &answer)) {
                match action {
                    Action::Probe(found) => due.push(found),
                    Action::Forget(gone) => drop(answers.remove(&gone)),
                    Action::Publish(_)
                    | Action::Order(_)
                    | Action::Say(..)
                    | Action::AskSentinel(_)
                    | Action::ForgetSentinel(_) => {}
                }
            }
            if tracker.addresses().any(|known| *known == address) {
                answers.insert(address, answer);
            }
        }
    }
    Seen { tracker, answers }
}

fn event(address: &Arc<str>, answer: &Result<Answer, Failure>) -> Event {
    let address = address.clone();
    match answer {
        Ok(answer) => Event::Observed {
            address,
            observation: Box::new(answer.observation.clone()),
            round_trip: answer.round_trip,
        },
        Err(failure) => Event::Failed { address, failure: failure.clone() },
    }
}

impl Report {
    /// What ends soon, or has ended.
    fn expiring(&mut self, of: &str, expiries: &[Expiry]) {
        for expiry in expiries {
            if let Some(words) = expiry.warning(validity::now()) {
                let list = if expiry.left(validity::now()) < 0 { &mut self.wrong } else { &mut self.notes };
                list.push(format!("{of}: {words}"));
            }
        }
    }

    fn add(&mut self, group: &Group, seen: &Seen) {
        let snapshot = seen.tracker.snapshot();
        if snapshot.master.is_none() {
            // Its words would repeat one node's trouble, and each node's own follows.
            let mute = seen.answers.values().all(Result::is_err);
            let why = if mute { "none of its nodes can be asked" } else { &snapshot.reason };
            self.wrong.push(format!("group '{}' has no master: {why}", group.name));
        }
        if let Some(alarm) = seen.tracker.alarm() {
            self.wrong.push(format!("group '{}': {alarm}", group.name));
        }
        for (address, answer) in &seen.answers {
            let node = snapshot.nodes.iter().find(|node| node.address == *address);
            let is_master = node.is_some() && snapshot.master().map(|master| master.id) == node.map(|node| node.id);
            self.rows.push(row(group, address, node, is_master, answer));
            match answer {
                Err(failure) => self.wrong.push(unanswered(group, seen, address, failure)),
                Ok(answer) => self.judge(group, address, node, answer),
            }
        }
        self.notes.extend(seen.tracker.unplaced().map(str::to_owned));
        self.add_sentinels(group, seen);
    }

    /// Two who promote replicas undo each other's work.
    async fn beside_sentinels(&mut self, group: &Group, seen: &Seen, shortcuts: &Shortcuts) {
        if group.failover.is_none() {
            return;
        }
        for address in seen.answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(address, _)| address) {
            if is_heard_by_sentinels(address, group, shortcuts).await {
                self.wrong.push(format!(
                    "group '{}': Sentinels watch {address} and `failover` is \"auto\": only one of the two may choose the master, \
                     so set `failover = \"off\"`",
                    group.name
                ));
                return;
            }
        }
    }

    /// What an answering node does wrong.
    fn judge(&mut self, group: &Group, address: &str, node: Option<&Node>, answer: &Answer) {
        let is_old = answer.observation.version.is_some_and(|version| version < Version(3, 2, 0));
        let replica = node.filter(|node| node.role != Role::Master);
        // What an old version never does is not wrong with this server.
        if let Some(Err(why)) = replica.filter(|_| !is_old).map(|node| &node.readable) {
            self.wrong.push(format!("{address} serves no reads: {why}"));
        }
        self.wrong.extend(missing_right(answer).map(|words| format!("{address}: the user may {words} (ACL SETUSER)")));
        if is_old && replica.is_some() {
            self.notes.push(format!(
                "{address} serves no reads: replicas before version 3.2 return expired data; upgrade it to use it"
            ));
        }
        if answer.auth == Auth::NotNeeded {
            self.notes
                .push(format!("{address} asks for no password although one is configured: set requirepass there"));
        }
        if group.access_to(address).tls.is_none() && !is_loopback(address) && linked(address).is_none() {
            self.notes
                .push(format!("{address} is reached in plaintext: anyone on the way can read and change the data"));
        }
    }
}

/// What Redan cannot do for want of a right, and which.
fn missing_right(answer: &Answer) -> Option<&'static str> {
    match answer.means {
        Means::Hello => Some(
            "ask neither INFO nor ROLE, so no replica is discovered or serves reads, and after a failover the new master \
             is harder to prove: grant +info +role",
        ),
        Means::Role => Some("not ask INFO, so its history and whether it is empty are unknown: grant +info"),
        Means::Info if !answer.may_ask_role => {
            Some("not ask ROLE, so the reads of a client that has written stay on the master: grant +role")
        }
        Means::Info => None,
    }
}

/// The sentence about a node that could not be asked.
fn unanswered(group: &Group, seen: &Seen, address: &str, failure: &Failure) -> String {
    let tracker = &seen.tracker;
    let names_it = |answer: &Result<Answer, Failure>| {
        answer.as_ref().is_ok_and(|answer| {
            let seen = &answer.observation;
            let is_it = |named: &str| tracker.place(named, named).as_deref() == Some(address);
            let listed = seen.replicas.iter().flatten().any(|replica| is_it(&replica.address));
            listed || seen.parent.as_deref().is_some_and(is_it)
        })
    };
    let is_seed = group.seeds.iter().any(|seed| &*seed.address == address);
    let speaker = seen.answers.iter().filter(|_| !is_seed).find(|(_, answer)| names_it(answer));
    match speaker {
        None if !is_seed && sentinels::name(tracker, address) => format!(
            "{address}, as a Sentinel calls it: {}; where it has another address for Redan, say so in `map`",
            failure.text
        ),
        None => format!("{address}: {}", failure.text),
        Some((speaker, _)) if group.uses_links() => format!(
            "{address}, as {speaker} calls it: {}; if it stands behind a link, say which: \
             map = {{ \"{address}\" = \"link:NAME\" }}",
            failure.text
        ),
        Some((speaker, _)) => format!(
            "{address}, as {speaker} calls it: {}; where it has another address for Redan, set replica-announce-ip and \
             replica-announce-port there, or say in `map` where it is",
            failure.text
        ),
    }
}

fn row(
    group: &Group,
    address: &str,
    node: Option<&Node>,
    is_master: bool,
    answer: &Result<Answer, Failure>,
) -> [String; COLUMNS.len()] {
    let dash = || "-".to_owned();
    let role = match node.map(|node| node.role) {
        Some(Role::Master) if is_master => "master",
        Some(Role::Master) => "master?",
        Some(Role::Replica) => "replica",
        _ => "unknown",
    };
    let version = node.and_then(|node| Some(format!("{} {}", node.flavor.name(), node.version?)));
    let lag = node.filter(|_| !is_master).and_then(|node| {
        Some(match node.lag {
            Some(lag) => format!("{} B, {} ms", node.lag_bytes?, lag.as_millis()),
            None => format!("{} B", node.lag_bytes?),
        })
    });
    let reads = if node.is_some_and(|node| node.readable.is_ok()) { "yes" } else { "no" };
    let has_tls = group.access_to(address).tls.is_some();
    let (tls, auth) = match answer {
        Ok(answer) => (
            answer.tls.clone().unwrap_or_else(|| "plaintext".to_owned()),
            match answer.auth {
                Auth::NotSent => "none",
                Auth::Accepted => "ok",
                Auth::NotNeeded => "not needed",
            },
        ),
        Err(failure) => match failure.kind {
            FailureKind::Tls => ("failed".to_owned(), "-"),
            FailureKind::Auth => (if has_tls { "ok" } else { "plaintext" }.to_owned(), "failed"),
            _ => (dash(), "-"),
        },
    };
    [
        group.name.clone(),
        address.to_owned(),
        role.to_owned(),
        version.unwrap_or_else(dash),
        lag.unwrap_or_else(dash),
        reads.to_owned(),
        tls,
        auth.to_owned(),
    ]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = COLUMNS.map(str::to_owned);
        let lines: Vec<_> = std::iter::once(&header).chain(&self.rows).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
        for line in lines {
            let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        writeln!(f)?;
        for line in &self.sentinels {
            writeln!(f, "{line}")?;
        }
        if !self.sentinels.is_empty() {
            writeln!(f)?;
        }
        for sentence in &self.wrong {
            writeln!(f, "wrong: {sentence}")?;
        }
        for sentence in &self.notes {
            writeln!(f, "note:  {sentence}")?;
        }
        if self.wrong.is_empty() {
            writeln!(f, "Nothing is wrong.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
