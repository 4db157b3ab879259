//! Real texts of several servers, as tables.

use super::*;

const MASTER_3_0: &str = "# Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=127.0.0.1,port=7002,state=online,offset=294,lag=1\r\nmaster_repl_offset:294\r\nrepl_backlog_active:1\r\nrepl_backlog_size:1048576\r\nrepl_backlog_first_byte_offset:2\r\nrepl_backlog_histlen:293\r\n";

const REPLICA_3_0: &str = "# Replication\r\nrole:slave\r\nmaster_host:172.17.0.1\r\nmaster_port:6379\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:4\r\nmaster_sync_in_progress:0\r\nslave_repl_offset:14684\r\nslave_priority:100\r\nslave_read_only:1\r\nconnected_slaves:0\r\nmaster_repl_offset:0\r\n";

const MASTER_7_0: &str = "# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:00000000\r\nredis_mode:standalone\r\nprocess_id:17\r\nrun_id:3f0b8bb22a7a2f0bb4b5d0f2a8f0b5c4c3f3a111\r\ntcp_port:7911\r\n# Replication\r\nrole:master\r\nconnected_slaves:2\r\nslave0:ip=127.0.0.1,port=7912,state=wait_bgsave,offset=0,lag=0\r\nslave1:ip=fd00::7,port=7913,state=online,offset=50,lag=0\r\nmaster_failover_state:no-failover\r\nmaster_replid:5f59a2424220c2e56f1d7a3b35f082108baa92b4\r\nmaster_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:50\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:1\r\n# Persistence\r\nloading:0\r\nasync_loading:0\r\n# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\ndb3:keys=41,expires=2,avg_ttl=99\r\n";

const REPLICA_7_0_DOWN: &str = "# Replication\r\nrole:slave\r\nmaster_host:fd00::1\r\nmaster_port:7912\r\nmaster_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\nmaster_sync_in_progress:0\r\nslave_read_repl_offset:77\r\nslave_repl_offset:70\r\nmaster_link_down_since_seconds:-1\r\nslave_priority:0\r\nslave_read_only:0\r\nreplica_announced:0\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\nmaster_replid:4e2894a32b9712391df7aae765e5b23c967d0416\r\nmaster_replid2:5f59a2424220c2e56f1d7a3b35f082108baa92b4\r\nmaster_repl_offset:70\r\nsecond_repl_offset:71\r\n# Persistence\r\nloading:0\r\nasync_loading:1\r\n# Keyspace\r\n";

const MASTER_VALKEY_9: &str = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\nvalkey_release_stage:ga\r\nserver_mode:standalone\r\nrun_id:aa\r\n# Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=10.0.0.9,port=6379,state=online,offset=1400,lag=0,type=replica\r\nslave1:ip=10.0.0.9,port=6379,state=send_bulk,offset=0,lag=0,type=rdb-channel\r\nreplicas_waiting_psync:0\r\nmaster_failover_state:no-failover\r\nmaster_replid:0bc7c4a60be2573bbdf5949616bf2e9be1a9ae0b\r\nmaster_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:1414\r\nsecond_repl_offset:-1\r\n";

#[test]
fn a_master_of_3_0_has_no_history_name() {
    let seen = from_info(MASTER_3_0);
    assert_eq!((seen.role, seen.offset, seen.replid.clone()), (Role::Master, Some(294), None));
    assert_eq!(seen.keys, None, "the keyspace was not asked for");
    assert_eq!(
        seen.replicas,
        Some(vec![ListedReplica { address: "127.0.0.1:7002".into(), online: true, offset: Some(294), lag: Some(1) }])
    );
    assert_eq!((seen.version, seen.loading, seen.announced), (None, None, None));
}

#[test]
fn a_replica_of_3_0_gives_what_it_applied_and_whom_it_follows() {
    let seen = from_info(REPLICA_3_0);
    assert_eq!((seen.role, seen.offset), (Role::Replica, Some(14684)), "not its own master_repl_offset, which is 0");
    assert_eq!(seen.parent.as_deref(), Some("172.17.0.1:6379"));
    assert_eq!((seen.link_up, seen.syncing, seen.last_io), (Some(true), Some(false), Some(4)));
    assert_eq!((seen.read_only, seen.priority), (Some(true), Some(100)));
    assert_eq!(seen.replicas, Some(Vec::new()));
}

#[test]
fn a_master_of_7_0_with_all_sections() {
    let seen = from_info(MASTER_7_0);
    assert_eq!(seen.version, Some(Version(7, 0, 15)));
    assert_eq!(seen.run_id.as_deref(), Some("3f0b8bb22a7a2f0bb4b5d0f2a8f0b5c4c3f3a111"));
    assert_eq!(seen.replid.as_deref(), Some("5f59a2424220c2e56f1d7a3b35f082108baa92b4"));
    assert_eq!((seen.replid2.clone(), seen.second_offset), (None, None));
    assert_eq!((seen.keys, seen.loading, seen.flavor), (Some(42), Some(false), Flavor::Redis));
    let replicas = seen.replicas.expect("listed");
    assert_eq!(replicas[0].address, "127.0.0.1:7912");
    assert!(!replicas[0].online && replicas[1].online);
    assert_eq!(replicas[1].address, "[fd00::7]:7913");
}

#[test]
fn a_replica_of_7_0_that_never_synced_and_is_writable() {
    let seen = from_info(REPLICA_7_0_DOWN);
    assert_eq!(seen.parent.as_deref(), Some("[fd00::1]:7912"));
    assert_eq!((seen.link_up, seen.link_down_for, seen.last_io), (Some(false), None, None));
    assert_eq!((seen.read_only, seen.announced, seen.loading), (Some(false), Some(false), Some(true)));
    assert_eq!((seen.offset, seen.second_offset, seen.keys), (Some(70), Some(71), Some(0)));
    assert_eq!(seen.replid2.as_deref(), Some("5f59a2424220c2e56f1d7a3b35f082108baa92b4"));
}

#[test]
fn valkey_gives_its_own_version_and_lists_a_dual_channel_replica_once() {
    let seen = from_info(MASTER_VALKEY_9);
    assert_eq!((seen.flavor, seen.version), (Flavor::Valkey, Some(Version(9, 1, 2))));
    assert_eq!(seen.replicas.expect("listed").len(), 1);
}

#[test]
fn sentinel_and_cluster_are_recognised() {
    assert_eq!(from_info("redis_mode:sentinel\r\n").kind, Kind::Sentinel);
    assert_eq!(from_info("redis_mode:cluster\r\nrole:master\r\n").kind, Kind::Cluster);
}

#[test]
fn nonsense_stays_unknown() {
    for text in
        ["", "role:\r\n", "role:boss\r\nmaster_repl_offset:x\r\nslave0:ip=,port=0\r\n", ":::\r\n", "db0:keys=many"]
    {
        let seen = from_info(text);
        assert_eq!((seen.role, seen.offset, seen.keys), (Role::Unknown, None, None), "{text:?}");
    }
    assert_eq!(from_role(&Value::Null), None);
    assert_eq!(from_role(&Value::Array(vec![text("boss")])), None);
    assert_eq!(from_hello(&Value::Array(Vec::new())), None);
}

fn text(text: &str) -> Value {
    Value::Text(text.as_bytes().to_vec())
}

#[test]
fn role_of_master_replica_and_sentinel() {
    let replica = Value::Array(vec![text("10.0.0.2"), text("6379"), text("3129242")]);
    let seen = from_role(&Value::Array(vec![text("master"), Value::Integer(3_129_659), Value::Array(vec![replica])]));
    let seen = seen.expect("master");
    assert_eq!((seen.role, seen.offset), (Role::Master, Some(3_129_659)));
    assert_eq!(
        seen.replicas,
        Some(vec![ListedReplica { address: "10.0.0.2:6379".into(), online: true, offset: Some(3_129_242), lag: None }])
    );

    let of = |state: &str, offset: i64| {
        let parts = vec![text("slave"), text("10.0.0.1"), Value::Integer(6379), text(state), Value::Integer(offset)];
        from_role(&Value::Array(parts)).expect("replica")
    };
    let seen = of("connected", 77);
    assert_eq!((seen.link_up, seen.loading, seen.offset), (Some(true), Some(false), Some(77)));
    assert_eq!(seen.parent.as_deref(), Some("10.0.0.1:6379"));
    let seen = of("sync", -1);
    assert_eq!((seen.link_up, seen.syncing, seen.loading, seen.offset), (Some(false), Some(true), None, None));

    let seen = from_role(&Value::Array(vec![text("sentinel"), Value::Array(Vec::new())])).expect("sentinel");
    assert_eq!((seen.role, seen.kind), (Role::Unknown, Kind::Sentinel));
}

#[test]
fn hello_tells_role_and_version_only() {
    let pairs = ["server", "valkey", "version", "8.1.1", "mode", "standalone", "role", "replica"];
    let seen = from_hello(&Value::Array(pairs.iter().map(|word| text(word)).collect())).expect("hello");
    assert_eq!((seen.role, seen.flavor, seen.version), (Role::Replica, Flavor::Valkey, Some(Version(8, 1, 1))));
    assert_eq!((seen.link_up, seen.offset, seen.replicas), (None, None, None));
}
