//! Carries out what the tracker orders where `failover = "auto"`: one task for each order, one line of the log for each outcome.
//!
//! It decides nothing but this: a node on which a Sentinel listens is not promoted, for then Sentinels decide.

use std::sync::Arc;

use super::order::Line;
use crate::config::Group;
use crate::net::Shortcuts;
use crate::resp::value::Value;
use crate::topology::Role;
use crate::topology::rescue::{Order, hears_master};
use crate::topology::succession::Station;

/// Where Sentinels that watch the same group hear of each other.
const SENTINELS: &str = "__sentinel__:hello";

pub(super) async fn carry_out(order: Order, group: Arc<Group>, shortcuts: Arc<Shortcuts>) {
    let done = match &order {
        Order::Lead { who, at_once } => {
            let told = async {
                let mut line = Line::open(who, &group, &shortcuts).await?;
                if !at_once {
                    let seen = line.replication().await?;
                    if seen.role != Role::Replica || hears_master(&seen) {
                        return Err(format!("{} has a master again", who.address));
                    }
                    if hears_sentinels(&mut line).await {
                        let text = "Sentinels watch this group, so they choose its master: set `failover = \"off\"`";
                        return Err(text.to_owned());
                    }
                }
                line.lead().await?;
                Ok(format!("{} is told to be the master", who.address))
            };
            told.await
        }
        Order::Follow { who, whom } => {
            let told = async {
                let mut line = Line::open(who, &group, &shortcuts).await?;
                line.follow(whom).await?;
                Ok(format!("{} is told to follow {whom}", who.address))
            };
            told.await
        }
    };
    match done {
        Ok(text) => tracing::warn!(group = group.name, "failover: {text}"),
        Err(why) => tracing::error!(group = group.name, "failover: not done: {why}"),
    }
}

/// The same for `redan check`, which has only an address.
pub(crate) async fn is_heard_by_sentinels(address: &Arc<str>, group: &Group, shortcuts: &Shortcuts) -> bool {
    match Line::open(&Station { address: address.clone(), follow_word: "REPLICAOF" }, group, shortcuts).await {
        Ok(mut line) => hears_sentinels(&mut line).await,
        // What is wrong with it the probes have found already.
        Err(_) => false,
    }
}

/// Whether a Sentinel is subscribed there. A user who may not ask is answered no.
async fn hears_sentinels(line: &mut Line) -> bool {
    let replies = line.ask(&[&["PUBSUB", "NUMSUB", SENTINELS]]).await.unwrap_or_default();
    let count = replies.first().and_then(Value::items).and_then(|items| items.get(1)?.integer());
    count.is_some_and(|count| count > 0)
}
