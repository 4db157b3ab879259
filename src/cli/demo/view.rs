//! What the demo shows, as text: pure functions of two scrapes and of what its clients counted.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::files;
use super::numbers::{NodeNumbers, Numbers};
use super::stage::Stage;
use super::traffic::{Tally, Traffic};

/// What the demo's own clients have met since they started.
#[derive(Debug, Default)]
pub(super) struct Total {
    pub(super) commands: u64,
    pub(super) failed: u64,
    pub(super) closed: u64,
    pub(super) stale: u64,
    /// The first thing that went wrong.
    pub(super) problem: Option<String>,
}

impl Total {
    pub(super) fn of(tally: &Tally) -> Self {
        Self {
            commands: tally.writes.load(Relaxed) + tally.reads.load(Relaxed),
            failed: tally.failed.load(Relaxed),
            closed: tally.closed.load(Relaxed),
            stale: tally.stale.load(Relaxed),
            problem: tally.first_problem().map(ToOwned::to_owned),
        }
    }
}

/// Where everything is, and what to try.
pub(super) fn introduction(stage: &Stage) -> String {
    let (cast, ca, directory) = (stage.cast(), stage.ca(), stage.directory());
    let (plain, encrypted) = (files::port(&cast.plain), files::port(&cast.encrypted));
    let (ca, shown) = (ca.display(), directory.display());
    format!(
        "\n\
         Redan runs before a master and two replicas, and {clients} clients of this demo write and read through it.\n\
         \n\
         Try it yourself, in another terminal:\n\
         \x20 redis-cli -p {plain} set greeting hello\n\
         \x20 redis-cli -p {plain} get greeting\n\
         \x20 redis-cli --tls --cacert {ca} -p {encrypted} get greeting\n\
         \n\
         Move the master to the second node and back, by hand (the scripts are six lines of redis-cli):\n\
         \x20 sh {to_b}\n\
         \x20 sh {to_a}\n\
         \n\
         configuration  {config}\n\
         log            {shown}/redan.log\n\
         metrics        http://{admin}/metrics\n\
         \n\
         Ctrl-C ends it and removes everything.\n",
        clients = Traffic::CLIENTS,
        to_a = files::move_to(directory, 0).display(),
        to_b = files::move_to(directory, 1).display(),
        config = stage.config().display(),
        admin = stage.admin(),
    )
}

/// How much a counter has grown a second.
fn rate(before: &Numbers, now: &Numbers, counter: impl Fn(&Numbers) -> f64) -> f64 {
    let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
    if seconds > 0.0 { (counter(now) - counter(before)).max(0.0) / seconds } else { 0.0 }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

fn lag(node: &NodeNumbers) -> String {
    match (node.master, node.lag_bytes, node.lag_seconds) {
        (true, ..) => "-".to_owned(),
        (false, Some(bytes), Some(seconds)) => format!("{bytes:.0} B, {seconds:.1} s"),
        (false, Some(bytes), None) => format!("{bytes:.0} B"),
        (false, None, _) => "?".to_owned(),
    }
}

fn node_rate(before: &Numbers, now: &Numbers, address: &str) -> f64 {
    rate(before, now, |numbers| numbers.node(address).map_or(0.0, |node| node.commands))
}

/// The picture for a terminal: at most 80 columns, always ended by a line break.
pub(super) fn table(before: &Numbers, now: &Numbers, total: &Total) -> String {
    let mut text = format!("{:<18} {:<8} {:<16} {:<7} {:>11}\n", "node", "role", "behind by", "reads", "commands/s");
    for node in &now.nodes {
        let role = if node.master { "master" } else { &node.role };
        // A text that cannot be written to a String does not exist.
        let _ = writeln!(
            text,
            "{:<18} {role:<8} {:<16} {:<7} {:>11.0}",
            node.address,
            lag(node),
            if node.readable { "yes" } else { "no" },
            node_rate(before, now, &node.address),
        );
    }
    let writes = rate(before, now, |numbers| numbers.writes);
    let replica = rate(before, now, |numbers| numbers.reads_replica);
    let master = rate(before, now, |numbers| numbers.reads_master);
    let _ = write!(
        text,
        "\n\
         requests/s  {:<6.0} writes {writes:<5.0} reads from replicas {replica:<5.0} from the master {master:<5.0}\n\
         clients     {:<6.0} reads from replicas: {:.0} %\n\
         this demo   {} commands, {} failed, {} stale, {} connections closed\n",
        writes + replica + master,
        now.sessions,
        share(replica, replica + master),
        total.commands,
        total.failed,
        total.stale,
        total.closed,
    );
    if let Some(problem) = &total.problem {
        // One that is longer than the terminal is wide would take two lines.
        text += &format!("the first:  {:.64}\n", problem);
    }
    text
}

/// The same on one line, for a log.
pub(super) fn line(before: &Numbers, now: &Numbers, total: &Total) -> String {
    let writes = rate(before, now, |numbers| numbers.writes);
    let replica = rate(before, now, |numbers| numbers.reads_replica);
    let master = rate(before, now, |numbers| numbers.reads_master);
    let nodes: Vec<String> = (now.nodes.iter())
        .map(|node| {
            let role = if node.master { "master" } else { &node.role };
            format!("{} {role} behind by {} {:.0}/s", node.address, lag(node), node_rate(before, now, &node.address))
        })
        .collect();
    format!(
        "{:.0} requests/s: {writes:.0} writes, {replica:.0} reads from replicas, {master:.0} from the master; {} failed, \
         {} stale, {} closed{}; {}",
        writes + replica + master,
        total.failed,
        total.stale,
        total.closed,
        total.problem.as_ref().map_or_else(String::new, |problem| format!(" (first: {problem})")),
        nodes.join("; "),
    )
}

/// How the reads between two scrapes were spread: for the tour.
pub(super) fn spread(before: &Numbers, now: &Numbers) -> String {
    let replica = now.reads_replica - before.reads_replica;
    let master = now.reads_master - before.reads_master;
    let mut text = format!(
        "{:.0} reads: {:.0} % from replicas, {:.0} % from the master; {:.0} writes, all to the master\n    \
         (a read right after a write of the same client is the master's until a replica is proven to have it)",
        replica + master,
        share(replica, replica + master),
        share(master, replica + master),
        now.writes - before.writes,
    );
    for node in &now.nodes {
        let role = if node.master { "master" } else { &node.role };
        let _ = write!(
            text,
            "\n    {:<18} {role:<8} {:.0} commands/s",
            node.address,
            node_rate(before, now, &node.address)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn node(address: &str, master: bool, commands: f64) -> NodeNumbers {
        let role = if master { "master" } else { "replica" }.to_owned();
        let lag = (!master).then_some(14.0);
        let address = address.to_owned();
        NodeNumbers { address, role, master, readable: true, lag_bytes: lag, lag_seconds: None, commands }
    }

    fn numbers(at: Instant, reads_replica: f64, reads_master: f64, writes: f64) -> Numbers {
        let nodes = vec![node("127.0.0.1:60001", true, writes), node("127.0.0.1:60002", false, reads_replica)];
        Numbers { at, sessions: 6.0, writes, reads_replica, reads_master, in_doubt: 0.0, nodes }
    }

    #[test]
    fn rates_are_differences_over_time() {
        let start = Instant::now();
        let before = numbers(start, 1000.0, 100.0, 50.0);
        let now = numbers(start + Duration::from_secs(2), 1900.0, 200.0, 150.0);
        let text = table(&before, &now, &Total::default());
        assert!(text.contains("127.0.0.1:60002    replica  14 B             yes             450\n"), "{text}");
        assert!(
            text.contains("requests/s  550    writes 50    reads from replicas 450   from the master 50"),
            "{text}"
        );
        assert!(text.contains("reads from replicas: 90 %"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(
            line(&before, &now, &Total::default()).starts_with("550 requests/s: 50 writes, 450 reads from replicas")
        );
        assert!(spread(&before, &now).starts_with("1000 reads: 90 % from replicas, 10 % from the master; 100 writes"));
    }

    #[test]
    fn no_time_and_no_reads_divide_nothing() {
        let now = Instant::now();
        let text = table(&numbers(now, 0.0, 0.0, 0.0), &numbers(now, 0.0, 0.0, 0.0), &Total::default());
        assert!(text.contains("reads from replicas: 0 %"), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }
}
