//! `redan demo --tour`: one failover by hand under traffic, explained step by step and judged at the end.
//!
//! Unattended: it ends by itself within half a minute, with an error when anything went wrong that Redan promises
//! to keep from clients. It must never count what it did not check.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::client::Client;
use super::numbers::{self, Numbers};
use super::screen::Screen;
use super::stage::Stage;
use super::traffic::{Tally, Traffic};
use super::{Failure, files, view};

/// Long enough that a share of some hundred reads means something.
const LOOK: Duration = Duration::from_secs(3);

/// How long the new state may take to show: probes see it within 100 ms.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The master's writes are paused by hand for a moment; should the tour die meanwhile, the pause ends by itself.
const LONGEST_PAUSE_MS: &str = "5000";

/// Where the nodes stand in the cast.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

pub(super) async fn run(screen: &mut Screen) -> Result<(), Failure> {
    screen.say("1. A master and two replicas, each node with its own password where it is set up so, and Redan.")?;
    let mut stage = Stage::set().await?;
    introduce(screen, &stage)?;
    let traffic = Traffic::begin(&stage)?;
    screen.say(&format!(
        "\n2. {} clients write and read through Redan, half of them over TLS. They connect once and are never told\n   \
         which node is which. They go on until the end of the tour.",
        Traffic::CLIENTS
    ))?;
    look(screen, &mut stage, traffic.tally()).await?;
    let before = traffic.tally().longest_write_us.swap(0, Relaxed);
    move_master(screen, &stage).await?;
    look(screen, &mut stage, traffic.tally()).await?;
    let numbers = numbers::fetch(stage.admin()).await?;
    let tally = traffic.end().await?;
    stage.check()?;
    judge(screen, &tally, before, &numbers)
}

fn introduce(screen: &mut Screen, stage: &Stage) -> Result<(), Failure> {
    let cast = stage.cast();
    let roles = ["master", "replica of a", "replica of a, with a password of its own"];
    for (node, role) in roles.iter().enumerate() {
        screen.say(&format!("   {} {}  {role}", files::letter(node), cast.nodes[node]))?;
    }
    screen.say(&format!("   Redan {} (plain), {} (TLS), {} (metrics)", cast.plain, cast.encrypted, cast.admin))
}

/// Watches the traffic for a while and says where it went.
async fn look(screen: &mut Screen, stage: &mut Stage, tally: &Tally) -> Result<(), Failure> {
    let own = tally.own.load(Relaxed);
    let before = numbers::fetch(stage.admin()).await?;
    tokio::time::sleep(LOOK).await;
    stage.check()?;
    let now = numbers::fetch(stage.admin()).await?;
    screen.say(&format!("   {}", view::spread(&before, &now)))?;
    screen.say(&format!(
        "   {} times a client wrote and read the value back at once; old values seen so far: {}",
        tally.own.load(Relaxed) - own,
        tally.stale.load(Relaxed)
    ))?;
    if now.reads_replica <= before.reads_replica || now.writes <= before.writes {
        return Err(Failure::new("the tour failed: no reads went to replicas, or no writes were carried"));
    }
    Ok(())
}

/// The failover of the guides, by hand: b becomes the master, a and c follow it.
async fn move_master(screen: &mut Screen, stage: &Stage) -> Result<(), Failure> {
    let port = files::port(&stage.cast().nodes[B]).to_owned();
    screen.say(
        "\n3. The master moves from a to b, by hand, as guides do it. Its writes are paused first and b is given the\n   \
         moment it needs to have them all: what a acknowledged after b left it would be lost with any proxy or none.",
    )?;
    let (mut a, mut b, mut c) = (stage.node(A).await?, stage.node(B).await?, stage.node(C).await?);
    let begun = Instant::now();
    order(screen, &mut a, A, &["CLIENT", "PAUSE", LONGEST_PAUSE_MS, "WRITE"]).await?;
    wait_until_level(&mut a, &mut b).await?;
    order(screen, &mut b, B, &["REPLICAOF", "NO", "ONE"]).await?;
    order(screen, &mut a, A, &["REPLICAOF", "127.0.0.1", &port]).await?;
    order(screen, &mut c, C, &["REPLICAOF", "127.0.0.1", &port]).await?;
    order(screen, &mut a, A, &["CLIENT", "UNPAUSE"]).await?;
    let done = begun.elapsed();
    until("Redan takes b for the master", || async {
        let numbers = numbers::fetch(stage.admin()).await?;
        Ok(numbers.master().is_some_and(|master| master.address == stage.cast().nodes[B]))
    })
    .await?;
    screen.say(&format!(
        "   The orders took {} ms; {} ms after the first one Redan had b as the master.",
        done.as_millis(),
        begun.elapsed().as_millis()
    ))?;
    until("both other nodes serve reads again", || async {
        let numbers = numbers::fetch(stage.admin()).await?;
        Ok(numbers.nodes.iter().filter(|node| node.readable && !node.master).count() == 2)
    })
    .await?;
    screen.say("   a and c follow b and serve reads. The traffic went on:")
}

async fn order(screen: &mut Screen, node: &mut Client, which: usize, words: &[&str]) -> Result<(), Failure> {
    screen.say(&format!("   on {}: {}", files::letter(which), words.join(" ")))?;
    let answer = node.order(words).await;
    answer.map(drop).map_err(|error| Failure::new(format!("the tour failed: {}: {error}", words.join(" "))))
}

/// Waits until `replica` has everything that `master`, which takes no writes, has.
async fn wait_until_level(master: &mut Client, replica: &mut Client) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The replica is asked last: what the master had then is what it must have.
        let wanted = offset(master, "master_repl_offset").await?;
        if offset(replica, "slave_repl_offset").await? >= wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::new("the tour failed: b does not get level with a"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn offset(node: &mut Client, field: &str) -> Result<u64, Failure> {
    let trouble = |error: String| Failure::new(format!("the tour failed: INFO replication: {error}"));
    let info = node.order(&["INFO", "replication"]).await.map_err(trouble)?;
    let text = info.text().unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.parse().ok());
    found.ok_or_else(|| trouble(format!("there is no {field} in it")))
}

async fn until<F>(what: &str, mut ready: impl FnMut() -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<bool, Failure>>,
{
    let deadline = Instant::now() + PATIENCE;
    while !ready().await? {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("the tour failed: not within {} s: {what}", PATIENCE.as_secs())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn judge(screen: &mut Screen, tally: &Tally, before_us: u64, numbers: &Numbers) -> Result<(), Failure> {
    let during_us = tally.longest_write_us.load(Relaxed);
    screen.say(&format!(
        "\n4. What the clients saw, the move included:\n   \
         {:>6} commands, {} of them writes\n   \
         {:>6} failed\n   \
         {:>6} connections closed\n   \
         {:>6} reads that were stale\n   \
         {:>6} writes in doubt\n   \
         {:>6.0} ms was the longest a write waited ({:.1} ms before the move)",
        tally.writes.load(Relaxed) + tally.reads.load(Relaxed),
        tally.writes.load(Relaxed),
        tally.failed.load(Relaxed),
        tally.closed.load(Relaxed),
        tally.stale.load(Relaxed),
        numbers.in_doubt,
        during_us as f64 / 1000.0,
        before_us as f64 / 1000.0,
    ))?;
    match tally.first_problem() {
        Some(problem) => {
            Err(Failure::new(format!("the tour failed: {} troubles, the first: {problem}", tally.troubles())))
        }
        None => screen.say("\nNo client noticed that the master has moved."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trouble_fails_the_tour() {
        let numbers = Numbers {
            at: Instant::now(),
            sessions: 0.0,
            writes: 0.0,
            reads_replica: 0.0,
            reads_master: 0.0,
            in_doubt: 0.0,
            nodes: Vec::new(),
        };
        let tally = Tally::default();
        assert!(judge(&mut Screen::new(), &tally, 0, &numbers).is_ok());
        tally.problem(&tally.closed, || "the connection of client 3: reset".to_owned());
        let failure = judge(&mut Screen::new(), &tally, 0, &numbers).unwrap_err();
        assert_eq!(failure.text, "the tour failed: 1 troubles, the first: the connection of client 3: reset");
        assert_eq!(failure.code, super::super::FAILED);
    }
}
