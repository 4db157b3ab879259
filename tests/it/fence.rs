//! The fence: what a master that has lost its replicas would lose is not written; and what happens to what is open on a master
//! that is replaced.

use crate::support::client::bulk;
use crate::support::endpoint::Endpoint;
use crate::support::redis::{Redis, eventually};

#[test]
fn writes_wait_while_no_replica_acknowledges_and_go_on_when_one_does() {
    let master = Redis::start();
    let mut replica = Redis::options().replica_of(&master).start();
    replica.wait_for_link();
    let nodes = [master.address(), replica.address()];
    let endpoint = Endpoint::start(&nodes, "hold = \"20s\"", "fence = true\nfence_after = \"1s\"");
    let mut client = endpoint.client();
    client.ok(&["SET", "key", "one"]);
    eventually("the replica has it", || replica.command(&["GET", "key"]).contains("one"));
    replica.freeze();
    let has_master = || endpoint.metric("redan_group_has_master{group=\"main\"}") > 0.0;
    eventually("the fence closes", || !has_master());
    client.send(&["SET", "key", "two"]);
    assert!(client.is_silent_for(std::time::Duration::from_millis(300)), "the write is held");
    assert_eq!(master.command(&["GET", "key"]), bulk("one"), "and did not reach the master");
    replica.thaw();
    assert_eq!(client.reply(), "+OK\r\n");
    assert!(endpoint.said().contains("the fence is closed"), "{}", endpoint.said());
    // A replica that is gone is no different from one that is silent.
    replica.kill();
    eventually("the fence closes again", || !has_master());
    replica.restart();
    replica.replica_of(Some(&master));
    client.ok(&["SET", "key", "three"]);
    assert_eq!(master.command(&["GET", "key"]), bulk("three"));
}
