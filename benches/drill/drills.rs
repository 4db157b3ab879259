//! What happens to the group in each drill, and what may be seen of it.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::group::{Contender, DOWN_AFTER, Group, PATIENCE, Watch};
use crate::hosts::Side;
use crate::until::wait;

/// What an operator may expect of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Nobody notices: no error at all, no write lost.
    Nothing,
    /// A write in flight at a node that dies is in doubt, one a client at most. What the new master never had is lost.
    Doubts,
}

pub(crate) struct Drill {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) watch: Watch,
    pub(crate) applications: Side,
    pub(crate) expect: Expect,
    /// How long writes may wait; without it: until there is a new master and a moment more.
    pub(crate) within: Option<Duration>,
    /// Only Redan can do it.
    pub(crate) redan_alone: bool,
    /// Disturbs, and returns when the group is whole again.
    pub(crate) disturb: fn(&mut Group, Contender) -> Result<(), String>,
}

/// How long writes may wait where nothing dies and Redan itself is in charge.
const PLANNED: Duration = Duration::from_millis(200);

const fn drill(
    name: &'static str,
    what: &'static str,
    expect: Expect,
    disturb: fn(&mut Group, Contender) -> Result<(), String>,
) -> Drill {
    Drill {
        name,
        what,
        watch: Watch::Sentinels,
        applications: Side::Right,
        expect,
        within: None,
        redan_alone: false,
        disturb,
    }
}

pub(crate) const DRILLS: &[Drill] = &[
    drill("kill", "`kill -9` of the master; it comes back after 8 s", Expect::Doubts, kill),
    drill("freeze", "SIGSTOP of the master for 10 s, then SIGCONT", Expect::Doubts, freeze),
    drill("sentinel-failover", "`SENTINEL FAILOVER`", Expect::Doubts, sentinel_failover),
    Drill {
        watch: Watch::Itself,
        ..drill("failover", "`FAILOVER TO` by hand, without Sentinel", Expect::Nothing, failover)
    },
    Drill {
        watch: Watch::Itself,
        ..drill(
            "replicaof",
            "`REPLICAOF` by hand, on the new master first, without Sentinel",
            Expect::Doubts,
            replicaof,
        )
    },
    drill(
        "fast-restart",
        "the master is restarted with its data, faster than Sentinel notices",
        Expect::Doubts,
        fast_restart,
    ),
    Drill {
        watch: Watch::Itself,
        ..drill(
            "restart-empty",
            "the master is restarted without its data, without Sentinel",
            Expect::Doubts,
            restart_empty,
        )
    },
    drill("partition", "the master is cut off from everybody for 15 s", Expect::Doubts, partition),
    Drill {
        watch: Watch::Fenced,
        applications: Side::Left,
        ..drill(
            "partition-with-clients",
            "the master and the applications are cut off from the replicas for 15 s; Redan has `fence = true`",
            Expect::Doubts,
            partition,
        )
    },
    Drill {
        within: Some(PLANNED),
        ..drill("replica", "`kill -9` of a replica; it comes back after 3 s", Expect::Nothing, replica)
    },
    drill(
        "two-sentinels",
        "two Sentinels die, then the master; the Sentinels come back after 4 s",
        Expect::Doubts,
        two_sentinels,
    ),
    drill("rolling", "all servers are restarted one by one, the master last", Expect::Doubts, rolling),
    Drill {
        redan_alone: true,
        watch: Watch::Itself,
        within: Some(PLANNED),
        ..drill("promote", "`redan promote`, without Sentinel", Expect::Nothing, promote)
    },
    Drill {
        redan_alone: true,
        watch: Watch::Itself,
        ..drill("auto", "`kill -9` of the master, `failover = \"auto\"` instead of Sentinel", Expect::Doubts, kill)
    },
];

fn kill(group: &mut Group, _: Contender) -> Result<(), String> {
    group.nodes[0].kill();
    sleep(Duration::from_secs(8));
    group.nodes[0].run()?;
    whole(group)
}

fn freeze(group: &mut Group, _: Contender) -> Result<(), String> {
    group.nodes[0].freeze()?;
    sleep(Duration::from_secs(10));
    group.nodes[0].thaw()?;
    whole(group)
}

fn sentinel_failover(group: &mut Group, _: Contender) -> Result<(), String> {
    let reply = group.nodes[1].sentinel(&["SENTINEL", "FAILOVER", "mymaster"]);
    if reply.as_ref().is_none_or(|reply| reply.code().is_some()) {
        return Err(format!("SENTINEL FAILOVER was answered {reply:?}"));
    }
    whole(group)
}

fn failover(group: &mut Group, _: Contender) -> Result<(), String> {
    let host = group.nodes[1].host();
    group.nodes[0].ok(&["FAILOVER", "TO", &host, "6379", "TIMEOUT", "5000"])?;
    wait("it is done", PATIENCE, || group.nodes[1].is_master())?;
    group.nodes[2].ok(&["REPLICAOF", &host, "6379"])?;
    whole(group)
}

fn replicaof(group: &mut Group, _: Contender) -> Result<(), String> {
    let host = group.nodes[1].host();
    group.nodes[1].ok(&["REPLICAOF", "NO", "ONE"])?;
    group.nodes[2].ok(&["REPLICAOF", &host, "6379"])?;
    group.nodes[0].ok(&["REPLICAOF", &host, "6379"])?;
    whole(group)
}

fn fast_restart(group: &mut Group, _: Contender) -> Result<(), String> {
    group.nodes[0].restart()?;
    whole(group)
}

fn restart_empty(group: &mut Group, _: Contender) -> Result<(), String> {
    group.nodes[0].restart_empty()?;
    whole(group)
}

fn partition(group: &mut Group, _: Contender) -> Result<(), String> {
    group.network.cut()?;
    sleep(Duration::from_secs(15));
    group.network.mend()?;
    // The old master is demoted about 10 s after it is seen again.
    whole(group)
}

fn replica(group: &mut Group, _: Contender) -> Result<(), String> {
    group.nodes[1].kill();
    sleep(Duration::from_secs(3));
    group.nodes[1].run()?;
    whole(group)
}

fn two_sentinels(group: &mut Group, _: Contender) -> Result<(), String> {
    group.nodes[1].stop_sentinel();
    group.nodes[2].stop_sentinel();
    sleep(DOWN_AFTER);
    group.nodes[0].kill();
    sleep(Duration::from_secs(4));
    group.nodes[1].start_sentinel()?;
    group.nodes[2].start_sentinel()?;
    wait("the Sentinels replaced the master", PATIENCE, || group.nodes[1..].iter().any(|node| node.is_master()))?;
    group.nodes[0].run()?;
    whole(group)
}

fn rolling(group: &mut Group, _: Contender) -> Result<(), String> {
    for index in [2, 1, 0] {
        group.nodes[index].restart()?;
        whole(group)?;
        sleep(Duration::from_secs(2));
    }
    Ok(())
}

fn promote(group: &mut Group, _: Contender) -> Result<(), String> {
    let address = group.nodes[1].address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_redan"));
    let output = command.args(["promote", "main", &address, "--config"]).arg(group.config()).output();
    let output = output.map_err(|error| format!("redan promote: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "redan promote failed: {} {}",
            String::from_utf8_lossy(&output.stdout).trim(),
            said.trim()
        ));
    }
    whole(group)
}

/// One master, and both others follow it with their links up.
fn whole(group: &Group) -> Result<(), String> {
    // Sentinel puts a returned master right after about 10 s.
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(40) {
        let masters: Vec<_> = group.nodes.iter().filter(|node| node.is_master()).collect();
        if let [master] = masters[..]
            && group.nodes.iter().filter(|node| node.follows(master)).count() == 2
        {
            return Ok(());
        }
        sleep(Duration::from_millis(20));
    }
    Err("the group was not whole again after 40 s".to_owned())
}
