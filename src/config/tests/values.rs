//! What a good file comes to: the defaults, every setting, and what stands in for another.

use super::*;
use crate::reading::lag::LagLimit;

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = Directory::new().load(&file("", BIND, NODES)).unwrap();
    assert!((1..=4).contains(&config.workers));
    assert_eq!(config.admin, None);
    assert_eq!((config.log.format, config.log.filter.as_str()), (LogFormat::Text, "info"));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(10));
    assert_eq!(config.warnings, Vec::<String>::new());
    let listener = &config.listeners[0];
    assert_eq!((listener.name.as_str(), listener.group), ("app", 0));
    assert_eq!(listener.bind.to_string(), "127.0.0.1:6380");
    assert!(listener.tls.is_none() && listener.users.is_none() && !listener.allow_admin_commands);
    assert_eq!((listener.reads, listener.consistency), (Reads::Replica, Consistency::Session));
    assert_eq!((listener.max_lag, listener.master_reads_limit), (LagLimit::default(), None));
    assert_eq!((listener.hold, listener.idle_timeout), (Duration::from_secs(10), None));
    assert_eq!((listener.max_clients, listener.output_limit), (10_000, OutputLimits::default()));
    assert_eq!(listener.tcp_keepalive, Some(Duration::from_secs(300)));
    assert!(config.max_memory.is_some_and(|bytes| bytes >= 4 << 20), "{:?}", config.max_memory);
    let group = &config.groups[0];
    assert_eq!((group.name.as_str(), &*group.seeds[0].address), ("main", "127.0.0.1:6379"));
    assert_eq!(group.probe_interval, Duration::from_millis(500));
    assert_eq!((group.probe_timeout, group.connect_timeout), (Duration::from_secs(1), Duration::from_secs(2)));
    assert_eq!((group.read_timeout, group.zone.as_deref()), (Some(Duration::from_secs(1)), None));
    assert_eq!(group.hedge, None);
    assert_eq!((group.seeds[0].weight, group.seeds[0].zone.as_deref()), (10, None));
    assert!(group.access.user.is_none() && group.access.password.is_none() && group.access.tls.is_none());
}

/// Two listeners and a group with everything said.
const FULL_LISTENERS: &str = r#"bind = "0.0.0.0:6380"
        group = "main"
        tls = { cert = "certs/redan.pem", key = "certs/redan.key", client_ca = "certs/ca.pem" }
        users = "users.toml"
        reads = "nearest"
        consistency = "eventual"
        max_lag = "2s"
        max_lag_bytes = "16mb"
        hold = "0s"
        admin_commands = "allow"
        max_clients = 7
        idle_timeout = "5m"
        [[listener]]
        name = "near"
        bind = "127.0.0.1:6381"
        reads = "zone"
        master_reads_limit = 1000
        [[listener]]
        name = "local"
        bind = "unix:run/redis.sock"
        mode = "0770"
        consistency = "strong"
        users = "users.toml""#;
const FULL_GROUP: &str = r#"nodes = [
            "10.0.0.1:6379",
            { address = "10.0.0.2:6379", password_env = "REDIS_PASSWORD", zone = "b", weight = 0 },
            { address = "redis-3:6379", server_name = "three.internal", user = "u", password_file = "secrets/redis" },
            { address = "10.0.0.4:6379", tls = { ca = "certs/ca.pem", cert = "certs/redan.pem", key = "certs/redan.key" } },
        ]
        user = "redan"
        password_file = "secrets/redis"
        tls = { ca = "certs/ca.pem", server_name = "redis.internal" }
        sentinel = { master = "mymaster", addresses = ["10.0.0.1:26379", "s-2:26379"], user = "s", password_env = "REDIS_PASSWORD", tls = { ca = "certs/ca.pem" } }
        map = { "10.0.0.9:6379" = "127.0.0.1:8001", "redis-9:6379" = "127.0.0.1:8002" }
        probe_interval = "1s"
        probe_timeout = "2s"
        connect_timeout = "3s"
        read_timeout = "0s"
        hedge = "20ms""#;

#[test]
fn every_setting_arrives() {
    let directory = Directory::new();
    let redan = "workers = 3\nadmin = \"127.0.0.1:0\"\nshutdown_timeout = \"1m\"\nlog = { format = \"json\", level = \"warn\" }\nzone = \"a\"";
    let text = file(redan, &format!("name = \"app\"\n{FULL_LISTENERS}"), FULL_GROUP);
    let config = directory.load(&text).unwrap();
    assert_eq!((config.workers, config.admin.unwrap().port()), (3, 0));
    assert_eq!((config.log.format, config.log.filter.as_str()), (LogFormat::Json, "warn"));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(60));
    let [app, near, local] = &config.listeners[..] else { panic!("three listeners") };
    assert_eq!((near.reads, near.consistency), (Reads::Zone, Consistency::Session));
    assert_eq!(near.master_reads_limit, Some(334), "each of three workers has its part");
    assert_eq!(app.tls.as_ref().unwrap().client_ca, Some(directory.0.path().join("certs/ca.pem")));
    assert_eq!((app.reads, app.hold, app.max_clients), (Reads::Nearest, Duration::ZERO, 7));
    assert_eq!(app.consistency, Consistency::Eventual);
    assert_eq!(app.max_lag, LagLimit { time: Some(Duration::from_secs(2)), bytes: Some(16 << 20) });
    assert!(app.allow_admin_commands);
    assert_eq!(app.idle_timeout, Some(Duration::from_secs(300)));
    assert!(app.users.as_ref().unwrap().verify(b"app", b"foo").is_some());
    assert!(Arc::ptr_eq(app.users.as_ref().unwrap(), local.users.as_ref().unwrap()), "one file is read once");
    assert_eq!(local.bind, Bind::Unix { path: directory.0.path().join("run/redis.sock"), mode: 0o770 });
    assert_eq!((local.reads, local.consistency), (Reads::Master, Consistency::Strong));
    let group = &config.groups[0];
    assert_eq!((group.read_timeout, group.zone.as_deref()), (None, Some("a")));
    assert_eq!(group.hedge, Some(Hedge::After(Duration::from_millis(20))));
    assert_eq!((group.weight_of("10.0.0.2:6379"), group.zone_of("10.0.0.2:6379")), (0, Some("b")));
    assert_eq!((group.weight_of("10.0.0.4:6379"), group.zone_of("10.0.0.4:6379")), (10, None));
    let seen: Vec<_> = group
        .seeds
        .iter()
        .map(|seed| {
            let Access { user, password, tls } = &*seed.access;
            let tls = tls.as_ref().unwrap();
            let password = password.as_ref().map(Secret::reveal).unwrap();
            (&*seed.address, user.as_deref(), password, tls.server_name.as_deref(), tls.identity.is_some())
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("10.0.0.1:6379", Some("redan"), "hunter2", Some("redis.internal"), false),
            ("10.0.0.2:6379", None, "from the environment", Some("redis.internal"), false),
            ("redis-3:6379", Some("u"), "hunter2", Some("three.internal"), false),
            ("10.0.0.4:6379", Some("redan"), "hunter2", None, true),
        ]
    );
    let sentinel = group.sentinel.as_ref().unwrap();
    assert_eq!((sentinel.master.as_str(), sentinel.addresses.len()), ("mymaster", 2));
    let Access { user, password, tls } = &*sentinel.access;
    let password = password.as_ref().map(Secret::reveal);
    assert_eq!((user.as_deref(), password), (Some("s"), Some("from the environment")));
    assert!(tls.as_ref().is_some_and(|tls| tls.server_name.is_none()), "nothing is taken from the group's");
    let map: Vec<_> = group.map.iter().map(|mapped| (&*mapped.announced, &*mapped.dialled)).collect();
    assert_eq!(map, [("10.0.0.9:6379", "127.0.0.1:8001"), ("redis-9:6379", "127.0.0.1:8002")]);
    assert_eq!(group.probe_interval, Duration::from_secs(1));
    assert_eq!((group.probe_timeout, group.connect_timeout), (Duration::from_secs(2), Duration::from_secs(3)));
    assert!(!format!("{config:?}").contains("hunter2"), "secrets print as ***");
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn sentinels_may_stand_in_for_nodes() {
    let directory = Directory::new();
    let sentinel = "sentinel = { master = \"m\", addresses = [\"127.0.0.1:26379\"] }";
    for nodes in ["", "nodes = []"] {
        let config = directory.load(&file("", BIND, &format!("{nodes}\n{sentinel}"))).unwrap();
        assert!(config.groups[0].seeds.is_empty() && config.groups[0].sentinel.is_some());
    }
    // What is announced is what the certificate names.
    let map = "tls = { ca = \"certs/ca.pem\" }\nmap = { \"ten:6379\" = \"127.0.0.1:8001\" }";
    let config = directory.load(&file("", BIND, &format!("{NODES}\n{map}"))).unwrap();
    let access = config.groups[0].access_to("127.0.0.1:8001");
    assert_eq!(access.tls.as_ref().unwrap().server_name.as_deref(), Some("ten"));
    let exposed = "sentinel = { master = \"m\", addresses = [\"10.0.0.1:1\"], password_env = \"REDIS_PASSWORD\" }";
    let config = directory.load(&file("", BIND, exposed)).unwrap();
    assert!(config.warnings[0].contains("the Sentinel 10.0.0.1:1 crosses the network"), "{:?}", config.warnings);
}

#[test]
fn password_files_lose_one_newline_and_nothing_else() {
    let directory = Directory::new();
    for (content, expected) in [
        ("secret", Some("secret")),
        ("secret\n", Some("secret")),
        ("secret\r\n", Some("secret")),
        (" se cret ", Some(" se cret ")),
        ("", None),
        ("\n", None),
        ("two\nlines\n", None),
        ("secret\n\n", None),
    ] {
        directory.write("secrets/redis", content);
        let group = format!("{NODES}\npassword_file = \"secrets/redis\"");
        let config = directory.load(&file("", BIND, &group));
        let password = config.ok().and_then(|config| config.groups[0].access.password.clone());
        assert_eq!(password.as_ref().map(Secret::reveal), expected, "{content:?}");
    }
}
