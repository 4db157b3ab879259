//! A planned switch: another node becomes the master, no write is lost, and no client is told of it.
//!
//! [`super::group`] checks the plan, runs this, and holds and releases writes when it asks for that. The servers' own FAILOVER
//! is not used: it waits for an acknowledgement that replicas send once a second (docs/design/0006).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::order::Line;
use crate::config::Group;
use crate::net::Shortcuts;
use crate::topology::succession::{PAUSE, Plan, unfit_itself};
use crate::topology::{Role, Snapshot};

/// Somebody asks for a switch.
#[derive(Debug)]
pub(crate) struct Promotion {
    pub(crate) node: String,
    pub(crate) timeout: Duration,
    /// Is told each step; the last line begins with one of the words of [`Ending`].
    pub(crate) progress: mpsc::UnboundedSender<String>,
}

/// How a promotion ended. Its words are what `redan promote` judges by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Done,
    /// Nothing was changed.
    Refused,
    /// Something was tried; whatever could be was put back.
    Failed,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        })
    }
}

/// Tells the log and whoever asked.
pub(super) struct Teller {
    pub(super) group: String,
    pub(super) to: mpsc::UnboundedSender<String>,
}

impl Teller {
    pub(super) fn say(&self, text: &str) {
        tracing::info!(group = self.group, "switch: {text}");
        // Who asked may have gone away; the switch goes on.
        let _ = self.to.send(text.to_owned());
    }

    pub(super) fn end(&self, ending: Ending, text: &str) {
        match ending {
            Ending::Done => tracing::info!(group = self.group, "switch {ending}: {text}"),
            Ending::Refused => tracing::warn!(group = self.group, "switch {ending}: {text}"),
            Ending::Failed => tracing::error!(group = self.group, "switch {ending}: {text}"),
        }
        let _ = self.to.send(format!("{ending}: {text}"));
    }
}

/// What a switch asks of the group's watch.
#[derive(Debug)]
pub(super) enum Wish {
    /// Withhold the master, and say when that is published.
    Hold(oneshot::Sender<()>),
    /// The heir is the master: look at all nodes, and release when that is proven.
    Look,
}

/// The switch under way.
pub(super) struct Switch {
    pub(super) plan: Plan,
    pub(super) group: Arc<Group>,
    pub(super) shortcuts: Arc<Shortcuts>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) wishes: mpsc::Sender<Wish>,
    pub(super) deadline: Instant,
    pub(super) teller: Arc<Teller>,
}

/// Between two looks at an offset or a role.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How often the master may step down and be taken back, because a write came between that the heir has not got.
const TRIES: u32 = 3;

/// A replica that has everything in its socket needs no longer than this to apply it.
const LAST_BYTES: Duration = Duration::from_millis(300);

impl Switch {
    /// What became of it, and the sentence for that.
    pub(super) async fn run(self) -> (Ending, String) {
        let (mut master, mut heir, mut others) = match self.prepare().await {
            Ok(lines) => lines,
            Err(why) => return (Ending::Refused, format!("{why}; nothing was changed")),
        };
        let (published, held) = oneshot::channel();
        if self.wishes.send(Wish::Hold(published)).await.is_err() || held.await.is_err() {
            return (Ending::Refused, "Redan is ending".to_owned());
        }
        self.teller.say(&format!("writes are held; waiting until {} has all of them", heir.station.address));
        let handed = self.hand_over(&mut master, &mut heir).await;
        if self.plan.pauses_writes {
            // Where this fails the pause ends by itself.
            let _ = master.order(&["CLIENT", "UNPAUSE"]).await;
        }
        if let Err(why) = handed {
            return (Ending::Failed, why);
        }
        let _ = self.wishes.send(Wish::Look).await;
        self.teller.say(&format!("{} is the master; {} follows it", heir.station.address, master.station.address));
        let mut left = Vec::new();
        for line in &mut others {
            match line.follow(&self.plan.heir_at).await {
                Ok(()) => self.teller.say(&format!("{} follows it", line.station.address)),
                Err(why) => left.push(format!("{why}; make it follow {} by hand", self.plan.heir_at)),
            }
        }
        for address in &self.plan.chained {
            self.teller.say(&format!("{address} stays with the replica it follows"));
        }
        for address in &self.plan.absent {
            left.push(format!("{address} cannot be asked: make it follow {} when it is back", self.plan.heir_at));
        }
        others.extend([master, heir]);
        for line in &mut others {
            self.keep(line).await;
        }
        self.verify(left).await
    }

    /// Connects to everybody and asks for the rights: after that, nothing but the network can be in the way.
    async fn prepare(&self) -> Result<(Line, Line, Vec<Line>), String> {
        let Plan { heir_at, .. } = &self.plan;
        let mut master = Line::open(&self.plan.master, &self.group, &self.shortcuts).await?;
        let word = master.station.follow_word;
        let follow: &[&str] = &[word, &heir_at.host, &heir_at.port];
        let pause: &[&str] = &["CLIENT", "PAUSE", "1", "WRITE"];
        let unpause: &[&str] = &["CLIENT", "UNPAUSE"];
        let wanted: &[&[&str]] =
            if self.plan.pauses_writes { &[follow, &["INFO"], pause, unpause] } else { &[follow, &["INFO"]] };
        master.may(wanted).await?;
        let mut heir = Line::open(&self.plan.heir, &self.group, &self.shortcuts).await?;
        heir.may(&[&[heir.station.follow_word, "NO", "ONE"]]).await?;
        // What it said to the last probe may be half a second old.
        let said = heir.replication().await?;
        let address = &heir.station.address;
        let mut against = unfit_itself(address, &said);
        if said.parent != self.plan.heir_follows {
            let parent = said.parent.as_deref().unwrap_or("nobody");
            against.push(format!("{address} follows {parent} and not the master {} now", master.station.address));
        }
        if !against.is_empty() {
            return Err(against.join("; "));
        }
        let mut others = Vec::new();
        for station in &self.plan.others {
            let mut line = Line::open(station, &self.group, &self.shortcuts).await?;
            line.may(&[&[station.follow_word, &heir_at.host, &heir_at.port]]).await?;
            others.push(line);
        }
        Ok((master, heir, others))
    }

    /// The heart of it. After an error the old master is the master, as far as it can be reached.
    async fn hand_over(&self, master: &mut Line, heir: &mut Line) -> Result<(), String> {
        let mut tries = 0;
        loop {
            tries += 1;
            if self.plan.pauses_writes {
                master.order(&["CLIENT", "PAUSE", &PAUSE.as_millis().to_string(), "WRITE"]).await?;
            }
            self.level(master, heir).await?;
            let end = match master.step_down(&self.plan.heir_at).await {
                Ok(end) => end,
                // It may have stepped down without our hearing of it.
                Err(why) => return Err(self.take_back(master, why).await),
            };
            match has_reached(heir, end).await {
                Ok(true) => break,
                Ok(false) if tries < TRIES && Instant::now() < self.deadline => {
                    self.teller.say("a write came between; once more");
                    master.lead().await?;
                }
                Ok(false) => {
                    let why = format!(
                        "{} does not get the last writes: others write to {} past Redan",
                        heir.station.address, master.station.address
                    );
                    return Err(self.take_back(master, why).await);
                }
                Err(why) => return Err(self.take_back(master, why).await),
            }
        }
        match heir.lead().await {
            Ok(()) => Ok(()),
            // The order may have arrived all the same: two masters are worse than a few milliseconds more.
            Err(why) => match self.is_leading(heir).await {
                true => Ok(()),
                false => Err(self.take_back(master, why).await),
            },
        }
    }

    /// Waits until the heir has applied all that the master has.
    async fn level(&self, master: &mut Line, heir: &mut Line) -> Result<(), String> {
        loop {
            let wanted = master.replication().await?;
            let seen = heir.replication().await?;
            if seen.role != Role::Replica || seen.link_up != Some(true) {
                return Err(format!("{} lost its link to the master", heir.station.address));
            }
            if seen.offset.is_some() && seen.offset >= wanted.offset {
                return Ok(());
            }
            if Instant::now() >= self.deadline {
                let missing = wanted.offset.unwrap_or(0).saturating_sub(seen.offset.unwrap_or(0));
                return Err(format!("{} still lacks {missing} bytes and the time is over", heir.station.address));
            }
            if self.plan.pauses_writes {
                // Another Redan may have let the pause end; ours is told anew for as long as it is needed.
                master.order(&["CLIENT", "PAUSE", &PAUSE.as_millis().to_string(), "WRITE"]).await?;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn take_back(&self, master: &mut Line, why: String) -> String {
        let address = master.station.address.clone();
        let mut again = master.lead().await;
        if again.is_err()
            && let Ok(mut fresh) = Line::open(&self.plan.master, &self.group, &self.shortcuts).await
        {
            again = fresh.lead().await;
        }
        match again {
            Ok(()) => format!("{why}; {address} is the master as before"),
            Err(error) => format!("{why}; and {address} could not be made the master again: {error}"),
        }
    }

    /// Whether the heir says that it is a master, asked over a new connection until it answers.
    async fn is_leading(&self, heir: &mut Line) -> bool {
        let until = Instant::now() + 3 * LAST_BYTES;
        while Instant::now() < until {
            if let Ok(mut fresh) = Line::open(&heir.station, &self.group, &self.shortcuts).await
                && let Ok(seen) = fresh.replication().await
            {
                *heir = fresh;
                return seen.role == Role::Master;
            }
            tokio::time::sleep(10 * LOOK_EVERY).await;
        }
        false
    }

    /// The node's own file shall say what it is, or a restart undoes the switch. Many servers have none that is theirs to write.
    async fn keep(&self, line: &mut Line) {
        if let Err(error) = line.order(&["CONFIG", "REWRITE"]).await {
            tracing::debug!(group = self.group.name, "{error}");
        }
    }

    /// Waits until Redan itself serves the new master and every node follows it.
    async fn verify(&self, mut left: Vec<String>) -> (Ending, String) {
        let heir = &self.plan.heir.address;
        let is_proven = |now: &Snapshot| now.master().is_some_and(|master| master.id == self.plan.heir_id);
        let lagging = |now: &Snapshot| {
            let told = || self.plan.others.iter().chain([&self.plan.master]);
            let node = |address: &str| now.nodes.iter().find(|node| *node.address == *address);
            let follows = |address: &str| node(address).is_some_and(|node| node.parent == Some(self.plan.heir_id));
            told().find(|station| !follows(&station.address)).map(|station| station.address.clone())
        };
        loop {
            let now = self.snapshot.load_full();
            let late = Instant::now() >= self.deadline;
            if is_proven(&now) {
                match lagging(&now).filter(|address| !left.iter().any(|text| text.starts_with(&**address))) {
                    None => break,
                    Some(address) if late => {
                        left.push(format!("{address} does not follow it yet"));
                        break;
                    }
                    Some(_) => {}
                }
            } else if late {
                return (Ending::Failed, format!("{heir} was made the master but is not proven: {}", now.reason));
            }
            let _ = self.wishes.send(Wish::Look).await;
            tokio::time::sleep(10 * LOOK_EVERY).await;
        }
        let but = if left.is_empty() { String::new() } else { format!(", but {}", left.join("; ")) };
        (Ending::Done, format!("{heir} is the master{but}"))
    }
}

/// Whether the replica applies everything up to `end`, now that nothing more will come.
async fn has_reached(heir: &mut Line, end: u64) -> Result<bool, String> {
    let until = Instant::now() + LAST_BYTES;
    loop {
        let seen = heir.replication().await?;
        if seen.offset >= Some(end) {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
