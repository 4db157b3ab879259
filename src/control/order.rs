//! Telling a node something: the connection over which `control` changes the group, apart from the probes'.
//!
//! Used by [`super::switch`], [`super::rescue`], and `redan verify`, which only reads. Each sentence of an error names the node. It must never be used to ask
//! what a probe asks again and again.

use std::time::Duration;

use super::connection::{Connection, Trust, broken};
use crate::config::Group;
use crate::net::Shortcuts;
use crate::resp::value::Value;
use crate::topology::Role;
use crate::topology::observe::{Observation, from_info};
use crate::topology::succession::{Station, Whereabouts};

/// Servers hold values of 512 MB, and a whole list of such has no bound at all.
const VALUE: usize = 1 << 30;
const VALUE_PATIENCE: Duration = Duration::from_secs(60);

/// A connection to one node.
pub(crate) struct Line {
    pub(crate) station: Station,
    connection: Connection,
    patience: Duration,
}

impl Line {
    pub(crate) async fn open(station: &Station, group: &Group, shortcuts: &Shortcuts) -> Result<Self, String> {
        let access = group.access_to(&station.address);
        let opening = Connection::open(&station.address, access, Trust::Files, shortcuts, group.connect_timeout);
        let connection = opening.await.map_err(|failure| format!("{}: {}", station.address, failure.text))?;
        Ok(Self { station: station.clone(), connection, patience: group.probe_timeout })
    }

    /// The replies to `commands`, errors among them.
    pub(crate) async fn ask<W: AsRef<[u8]>>(&mut self, commands: &[&[W]]) -> Result<Vec<Value>, String> {
        let address = &self.station.address;
        match tokio::time::timeout(self.patience, self.connection.ask(commands)).await {
            Ok(Ok(replies)) => Ok(replies),
            Ok(Err(error)) => Err(format!("{address}: {}", broken(&error).text)),
            Err(_) => {
                let name = String::from_utf8_lossy(commands[0][0].as_ref());
                Err(format!("{address} has not answered {name} within {:?}", self.patience))
            }
        }
    }

    /// Takes replies of any length that a value can have, and waits for them.
    pub(crate) fn for_values(mut self) -> Self {
        self.connection.longest = VALUE;
        self.patience = VALUE_PATIENCE.max(self.patience);
        self
    }

    /// One command that must not be answered with an error.
    pub(super) async fn order(&mut self, words: &[&str]) -> Result<(), String> {
        let replies = self.ask(&[words]).await?;
        match replies.first().and_then(Value::error) {
            Some(error) => Err(format!("{} refuses {}: {error}", self.station.address, words.join(" "))),
            None => Ok(()),
        }
    }

    /// What the node says of its part in the replication.
    pub(super) async fn replication(&mut self) -> Result<Observation, String> {
        let replies = self.ask(&[&["INFO", "replication"]]).await?;
        self.read_info(replies.first())
    }

    fn read_info(&self, reply: Option<&Value>) -> Result<Observation, String> {
        let address = &self.station.address;
        match reply {
            Some(Value::Error(error)) => Err(format!("{address} refuses INFO: {error}")),
            Some(value) => match value.text().map(from_info) {
                Some(seen) if seen.role != Role::Unknown => Ok(seen),
                _ => Err(format!("the answer of {address} to INFO makes no sense")),
            },
            None => Err(format!("{address} has not answered INFO")),
        }
    }

    pub(super) async fn follow(&mut self, whom: &Whereabouts) -> Result<(), String> {
        let word = self.station.follow_word;
        self.order(&[word, &whom.host, &whom.port]).await
    }

    pub(super) async fn lead(&mut self) -> Result<(), String> {
        let word = self.station.follow_word;
        self.order(&[word, "NO", "ONE"]).await
    }

    /// Makes a master follow `whom`, and returns where its history ended, in one step of the server: no write can come
    /// between the two.
    pub(super) async fn step_down(&mut self, whom: &Whereabouts) -> Result<u64, String> {
        let word = self.station.follow_word;
        let commands: [&[&str]; 4] = [&["MULTI"], &["INFO", "replication"], &[word, &whom.host, &whom.port], &["EXEC"]];
        let replies = self.ask(&commands).await?;
        let address = &self.station.address;
        let items = replies.last().and_then(Value::items);
        let Some([info, followed]) = items else {
            let error = replies.iter().find_map(Value::error).unwrap_or("no reason given");
            return Err(format!("{address} refuses to step down: {error}"));
        };
        if let Some(error) = followed.error() {
            return Err(format!("{address} refuses to step down: {error}"));
        }
        let seen = self.read_info(Some(info))?;
        seen.offset.filter(|_| seen.role == Role::Master).ok_or_else(|| format!("{address} was no master any more"))
    }

    /// Whether the node would take these commands from the group's user. Nothing is executed: a transaction queues them, for
    /// which the server asks for the right, and is thrown away.
    pub(super) async fn may(&mut self, commands: &[&[&str]]) -> Result<(), String> {
        // Alone, and its answer is waited for: were it refused, what follows would be executed.
        self.order(&["MULTI"])
            .await
            .map_err(|error| format!("{error}; grant the group's user +multi +exec +discard"))?;
        let mut whole = commands.to_vec();
        whole.push(&["DISCARD"]);
        let replies = self.ask(&whole).await?;
        for (command, reply) in whole.iter().zip(&replies) {
            let name = command[0].to_ascii_lowercase();
            match reply.error() {
                Some(error) if error.starts_with("NOPERM") => {
                    return Err(format!(
                        "the group's user may not use {} on {}: grant it +{name} (ACL SETUSER)",
                        command[0], self.station.address
                    ));
                }
                Some(error) => return Err(format!("{} refuses {}: {error}", self.station.address, command[0])),
                None => {}
            }
        }
        Ok(())
    }
}
