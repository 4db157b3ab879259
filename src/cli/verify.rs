//! `redan verify`: whether the nodes of a group hold the same data. It asks the nodes itself and changes nothing.
//!
//! Replicas are compared with the master one by one. A replica is always read after it has applied what the master had when it
//! was read, and only what differs twice in a row from a master that did not change meanwhile counts.

mod keys;

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{UNAVAILABLE, Verify, WRONG_CONFIGURATION, check};
use crate::config::{Config, Group};
use crate::control::order::Line;
use crate::net::Shortcuts;
use crate::resp::value::Value;
use crate::tls::keyring::Keyring;
use crate::topology::Role;
use crate::topology::observe::{Observation, from_info};
use crate::topology::succession::Station;

/// How long a replica may take to catch up with one look at the master.
const CATCH_UP: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Counts are compared at one and the same offset; under constant writes that needs luck.
const TRIES: u32 = 50;

#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Something is not the same.
    pub(super) differences: Vec<String>,
    /// Something could not be compared.
    pub(super) unknown: Vec<String>,
    compared: Vec<String>,
}

pub(super) fn run(config: &Config, arguments: &Verify) -> ExitCode {
    let Some(group) = config.groups.iter().find(|group| group.name == arguments.group) else {
        let names = config.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>().join(", ");
        eprintln!("no group is called '{}'; there is {names}", arguments.group);
        return ExitCode::from(WRONG_CONFIGURATION);
    };
    let runtime = match check::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("redan: the system gives no resources to run with: {error}");
            return ExitCode::from(UNAVAILABLE);
        }
    };
    let mut findings = Findings::default();
    runtime.block_on(async {
        let (shortcuts, _links, _) = check::lend(&config.links, &[group], &mut findings.unknown);
        findings.compare_group(group, &shortcuts, arguments.keys).await;
    });
    if arguments.json {
        println!("{}", findings.json(&group.name));
    } else {
        print!("{findings}");
    }
    match (findings.differences.is_empty(), findings.unknown.is_empty()) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(UNAVAILABLE),
        (true, true) => ExitCode::SUCCESS,
    }
}

impl Findings {
    async fn compare_group(&mut self, group: &Arc<Group>, shortcuts: &Arc<Shortcuts>, sample: u32) {
        let keyring = match Keyring::load(group) {
            Ok(keyring) => Arc::new(keyring),
            Err(error) => {
                self.unknown.push(error.to_string());
                return;
            }
        };
        let seen = check::look(group, &keyring, shortcuts).await;
        let snapshot = seen.tracker.snapshot();
        for (address, answer) in &seen.answers {
            if let Err(failure) = answer {
                self.unknown.push(format!("{address}: {}", failure.text));
            }
        }
        let Some(master) = snapshot.master() else {
            self.unknown.push(format!("the group has no master to compare with: {}", snapshot.reason));
            return;
        };
        let said =
            |address: &str| seen.answers.get(address).and_then(|answer| Some(&answer.as_ref().ok()?.observation));
        let replicas = snapshot.nodes.iter().filter(|node| node.id != master.id && node.trouble.is_none());
        for replica in replicas {
            let address = &replica.address;
            let (Some(own), Some(masters)) = (said(address), said(&master.address)) else { continue };
            if own.role != Role::Replica {
                self.differences.push(format!("{address} is no replica of {}: it says it is a master", master.address));
            } else if own.replid != masters.replid {
                self.differences.push(format!("{address} has another history than the master {}", master.address));
            } else if own.link_up != Some(true) {
                self.unknown.push(format!("{address}: its link to its master is down, so it cannot catch up"));
            } else if let Err(why) = self.compare(group, shortcuts, [&master.address, address], sample).await {
                self.unknown.push(why);
            } else {
                self.compared.push(address.to_string());
            }
        }
    }

    async fn compare(
        &mut self,
        group: &Group,
        shortcuts: &Shortcuts,
        [master, replica]: [&Arc<str>; 2],
        sample: u32,
    ) -> Result<(), String> {
        let station = |address: &Arc<str>| Station { address: address.clone(), follow_word: "REPLICAOF" };
        let mut pair = Pair {
            master: Line::open(&station(master), group, shortcuts).await?.for_values(),
            replica: Line::open(&station(replica), group, shortcuts).await?.for_values(),
        };
        let databases = self.count(&mut pair).await?;
        for db in databases {
            keys::compare(&mut pair, db, sample as usize, self).await?;
        }
        Ok(())
    }

    /// Compares the numbers of keys, and returns the databases that hold any.
    async fn count(&mut self, pair: &mut Pair) -> Result<Vec<u32>, String> {
        for _ in 0..TRIES {
            let before = Counts::of(&mut pair.master).await?;
            pair.catch_up(before.offset).await?;
            let there = Counts::of(&mut pair.replica).await?;
            let after = Counts::of(&mut pair.master).await?;
            let moved = before.offset != after.offset && before.offset != there.offset;
            if moved {
                continue;
            }
            let (master, replica) = (&pair.master.station.address, &pair.replica.station.address);
            let databases: std::collections::BTreeSet<u32> =
                before.databases.keys().chain(there.databases.keys()).copied().collect();
            for db in &databases {
                let [(keys, expiring), (own_keys, own_expiring)] =
                    [&before, &there].map(|counts| counts.databases.get(db).copied().unwrap_or_default());
                if keys != own_keys {
                    self.differences.push(format!("db {db}: {replica} has {own_keys} keys, {master} has {keys}"));
                }
                if expiring != own_expiring {
                    self.differences.push(format!(
                        "db {db}: {replica} has {own_expiring} keys that expire, {master} has {expiring}"
                    ));
                }
            }
            return Ok(databases.into_iter().collect());
        }
        self.unknown.push(format!(
            "{}: the master is written to without a pause, so the numbers of keys cannot be compared",
            pair.replica.station.address
        ));
        Ok(Counts::of(&mut pair.master).await?.databases.into_keys().collect())
    }

    fn json(&self, group: &str) -> String {
        let list = |texts: &[String]| texts.iter().map(|text| json_string(text)).collect::<Vec<_>>().join(",");
        format!(
            "{{\"group\":{},\"compared\":[{}],\"differences\":[{}],\"not_compared\":[{}]}}",
            json_string(group),
            list(&self.compared),
            list(&self.differences),
            list(&self.unknown)
        )
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.differences.iter().try_for_each(|text| writeln!(f, "different: {text}"))?;
        self.unknown.iter().try_for_each(|text| writeln!(f, "not compared: {text}"))?;
        if self.differences.is_empty() {
            let compared = if self.compared.is_empty() { "nobody".to_owned() } else { self.compared.join(", ") };
            writeln!(f, "No difference from the master was found at: {compared}.")?;
        }
        Ok(())
    }
}

fn json_string(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control.is_control() => out += &format!("\\u{:04x}", u32::from(control)),
            other => out.push(other),
        }
    }
    out + "\""
}

/// A master and one replica of it.
pub(super) struct Pair {
    pub(super) master: Line,
    pub(super) replica: Line,
}

impl Pair {
    /// Waits until the replica has applied what the master has now.
    pub(super) async fn catch_up_now(&mut self) -> Result<(), String> {
        let now = Counts::of(&mut self.master).await?.offset;
        self.catch_up(now).await
    }

    async fn catch_up(&mut self, offset: Option<u64>) -> Result<(), String> {
        let until = Instant::now() + CATCH_UP;
        while Counts::of(&mut self.replica).await?.offset < offset {
            if Instant::now() >= until {
                return Err(format!("{} has not caught up within {CATCH_UP:?}", self.replica.station.address));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// Keys, and keys that expire, of each database, at one offset.
struct Counts {
    offset: Option<u64>,
    databases: BTreeMap<u32, (u64, u64)>,
}

impl Counts {
    async fn of(line: &mut Line) -> Result<Self, String> {
        // At one moment of the server.
        let commands: [&[&str]; 4] = [&["MULTI"], &["INFO", "replication"], &["INFO", "keyspace"], &["EXEC"]];
        let replies = line.ask(&commands).await?;
        let texts =
            replies.last().and_then(Value::items).map(|items| items.iter().map(Value::text).collect::<Vec<_>>());
        let Some([Some(replication), Some(keyspace)]) = texts.as_deref() else {
            let error = replies.iter().find_map(Value::error).unwrap_or("its answer makes no sense");
            return Err(format!("{} does not tell its state: {error}", line.station.address));
        };
        let Observation { offset, .. } = from_info(replication);
        let databases = keyspace.lines().filter_map(database).collect();
        Ok(Self { offset, databases })
    }
}

/// `db0:keys=4,expires=1,avg_ttl=0`.
fn database(line: &str) -> Option<(u32, (u64, u64))> {
    let (name, fields) = line.trim_end().strip_prefix("db")?.split_once(':')?;
    let field =
        |name: &str| fields.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
    Some((name.parse().ok()?, (field("keys")?, field("expires")?)))
}
