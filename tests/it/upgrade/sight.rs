//! While two processes serve, and replicas are late: nobody is shown what was true before a write that he must see.

use super::staying::ask;
use super::*;
use crate::support::certs::Certs;
use crate::support::lagging::{Lagging, gets};
use crate::support::tls::TlsClient;

/// A replica hears of everything so late. Much more than an upgrade's own steps take, and less than replicas may be behind.
const LATE: Duration = Duration::from_millis(80);

fn redan(group: &Lagging, process: &str, more: &str) -> Proxy {
    let proxy = Proxy::start(&(toml(process, "", &[&group.master, &group.replica]) + more));
    wait_for_readable(&proxy);
    group.relay.set_delay(LATE);
    proxy
}

fn wait_for_readable(proxy: &Proxy) {
    eventually("both nodes serve reads", || {
        let metrics = metrics_of(&proxy.address(0));
        metrics.lines().filter(|line| line.starts_with("redan_node_readable{") && line.ends_with(" 1")).count() == 2
    });
}

#[test]
fn a_client_that_moves_sees_what_it_was_told_before() {
    let group = Lagging::start();
    let proxy = redan(&group, "", "");
    let address = proxy.address(1);
    let stop = AtomicBool::new(false);
    let at_replica = gets(&group.replica);
    std::thread::scope(|threads| {
        let clients: Vec<_> = (0..6)
            .map(|number| {
                let (stop, address) = (&stop, &address);
                threads.spawn(move || {
                    let (mut client, key) = (Client::connect(address), format!("own:{number}"));
                    let mut round = 0_u64;
                    while !stop.load(Relaxed) {
                        round += 1;
                        client.ok(&["SET", &key, &round.to_string()]);
                        // In this process or in the next, right behind the write or when replicas may have it.
                        for pause_ms in [0, 0, 1, round % 7, if round.is_multiple_of(16) { 150 } else { 0 }] {
                            std::thread::sleep(Duration::from_millis(pause_ms));
                            assert_eq!(client.text(&["GET", &key]), Some(round.to_string()), "client {number}");
                        }
                    }
                })
            })
            .collect();
        // Five times, and until a replica served as well, or this would show nothing.
        let mut upgrades = 0;
        while upgrades < 5 || (gets(&group.replica) == at_replica && upgrades < 50) {
            upgrade(&proxy);
            wait_for_readable(&proxy);
            upgrades += 1;
        }
        stop.store(true, Relaxed);
        clients.into_iter().for_each(|client| client.join().expect("nobody saw anything old"));
    });
    assert!(gets(&group.replica) > at_replica, "no replica served in fifty upgrades");
}

/// A connection is new to the new process, and what it must see the old one has acknowledged.
#[test]
fn who_connects_sees_what_the_process_before_acknowledges() {
    let (group, certs) = (Lagging::start(), Certs::make());
    let tls = format!(
        "[[listener]]\nname = \"tls\"\nbind = \"127.0.0.1:0\"\ntls = {{ cert = {:?}, key = {:?} }}\n",
        certs.cert().display().to_string(),
        certs.key().display().to_string()
    );
    // So that a client with TLS which is never silent stays for twelve seconds.
    let proxy = redan(&group, "drain_timeout = \"24s\"", &tls);
    let mut stays = TlsClient::new(&certs, None).connect(&proxy.address(2));
    let set =
        |value: u64, client: &mut _| assert_eq!(ask(client, &format!("SET k {value}")).as_deref(), Some("+OK\r\n"));
    set(0, &mut stays);
    let old = begin(&proxy);
    wait_for_readable(&proxy);
    let at_replica = gets(&group.replica);
    for round in 1..=60 {
        set(round, &mut stays);
        // Both workers.
        for _ in 0..2 {
            let mut comes = Client::connect(&proxy.address(1));
            assert_eq!(comes.text(&["GET", "k"]), Some(round.to_string()));
        }
        // Until the replica has it, so that it has something old to show the next time.
        std::thread::sleep(Duration::from_millis(round % 3 * 50));
        let mut comes = Client::connect(&proxy.address(1));
        (0..20).for_each(|_| assert_eq!(comes.text(&["GET", "k"]), Some(round.to_string())));
    }
    assert!(is_running(old), "the first client was with the old process all the time");
    drop(stays);
    within(UPGRADE, "the old process has ended", || !is_running(old));
    let mut comes = Client::connect(&proxy.address(1));
    eventually("replicas serve", || {
        comes.text(&["GET", "k"]).as_deref() == Some("60") && gets(&group.replica) > at_replica
    });
}
