//! Whole files in, errors or values out; and the documents held to what the reader knows.

use std::env::VarError;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::reading::lag::LagLimit;

mod diff;
mod documents;
mod links;

const SHA256_OF_FOO: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// A directory with one of each file a configuration may name, none readable by others.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        for folder in ["certs", "keys", "secrets"] {
            fs::create_dir(directory.0.path().join(folder)).unwrap();
        }
        for file in [
            "certs/redan.pem",
            "certs/redan.key",
            "certs/ca.pem",
            "certs/ca.crl",
            "certs/node.pins",
            "keys/dc1.key",
            "keys/peers",
        ] {
            directory.write(file, "PEM, judged by whoever loads it\n");
        }
        directory.write("secrets/redis", "hunter2\n");
        directory.write("secrets/admin-token", "correct-horse-battery\n");
        directory.write("users.toml", &format!("[[user]]\nname = \"app\"\npasswords = [\"{SHA256_OF_FOO}\"]\n"));
        directory
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn load(&self, text: &str) -> Result<Config, Vec<String>> {
        let path = self.write("proxy.toml", text);
        let environment = |name: &str| match name {
            "REDIS_PASSWORD" => Ok("from the environment".to_owned()),
            "EMPTY" => Ok(String::new()),
            _ => Err(VarError::NotPresent),
        };
        let shorten = |line: &String| line.replace(&format!("{}/", self.0.path().display()), "");
        match read::load_with(&path, &environment) {
            Ok(mut config) => {
                config.warnings = config.warnings.iter().map(shorten).collect();
                Ok(config)
            }
            Err(errors) => Err(errors.lines().iter().map(shorten).collect()),
        }
    }
}

/// A loopback listener and a group, with room for more lines in each: `LISTENER` is line 4, `GROUP` line 8.
fn file(redan: &str, listener: &str, group: &str) -> String {
    format!(
        "[redan]\n{redan}\n[[listener]]\n{listener}\n{}\n[[group]]\n{}\n{group}\n",
        if listener.starts_with("name =") { "" } else { "name = \"app\"" },
        if group.starts_with("name =") { "" } else { "name = \"main\"" },
    )
}

const BIND: &str = "bind = \"127.0.0.1:6380\"";
const NODES: &str = "nodes = [\"127.0.0.1:6379\"]";

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

/// Each row: lines for [redan], [[listener]] and [[group]]; the line number and a part of each error.
type Row = (&'static str, &'static str, &'static str, &'static [(usize, &'static str)]);

fn check(rows: &[Row]) {
    let directory = Directory::new();
    for (redan, listener, group, expected) in rows {
        let text = file(redan, listener, group);
        let errors = directory.load(&text).expect_err(&text);
        assert_eq!(errors.len(), expected.len(), "{text}\n{errors:#?}");
        for (error, (line, part)) in errors.iter().zip(*expected) {
            assert!(error.starts_with(&format!("proxy.toml:{line}: ")), "{text}\n{error}\nline {line}");
            assert!(error.contains(part), "{text}\n{error}\n{part}");
            assert!(error.contains(';') || error.ends_with('?'), "says what to do: {error}");
        }
    }
}

#[test]
fn mistakes_in_redan() {
    check(&[
        ("workers = 0", BIND, NODES, &[(2, "1 to 64")]),
        ("workers = 65", BIND, NODES, &[(2, "1 to 64")]),
        ("workers = -1", BIND, NODES, &[(2, "1 to 64")]),
        ("workers = \"2\"", BIND, NODES, &[(2, "`workers` is of type string; write a whole number from 1 to 64")]),
        ("wrokers = 2", BIND, NODES, &[(2, "did you mean `workers`?")]),
        ("hold = \"1s\"", BIND, NODES, &[(2, "belongs in [[listener]]")]),
        ("zzzzzzzz = 1", BIND, NODES, &[(2, "take one of: workers, admin")]),
        ("admin = \"localhost:9180\"", BIND, NODES, &[(2, "not an IP address")]),
        ("max_memory = 268435456", BIND, NODES, &[(2, "of type integer; write text")]),
        ("max_memory = \"256m\"", BIND, NODES, &[(2, "64kb, 32mb or 2gb")]),
        ("max_memory = \"1mb\"", BIND, NODES, &[(2, "out of range; write 4mb to")]),
        ("output_limit = {}", BIND, NODES, &[(2, "belongs in [[listener]]")]),
        ("shutdown_timeout = 10", BIND, NODES, &[(2, "of type integer; write text")]),
        ("shutdown_timeout = \"10\"", BIND, NODES, &[(2, "a whole number and a unit")]),
        ("shutdown_timeout = \"2h\"", BIND, NODES, &[(2, "out of range; write 0s to 1h")]),
        ("log = \"info\"", BIND, NODES, &[(2, "write a table")]),
        ("log = { format = \"xml\", level = \"inof\" }", BIND, NODES, &[(2, "\"text\" or \"json\""), (2, "log level")]),
        ("[redan.logs]\nlevel = \"info\"", BIND, NODES, &[(2, "did you mean `log`?")]),
    ]);
}

#[test]
fn mistakes_in_listeners() {
    let strong = "bind = \"127.0.0.1:1\"\nconsistency = \"strong\"\nreads = \"any\"";
    let lag = "bind = \"127.0.0.1:1\"\nconsistency = \"strong\"\nmax_lag = \"1s\"\nmax_lag_bytes = \"1mb\"";
    let tls = |more: &str| -> &'static str {
        let pair = "cert = \"certs/redan.pem\", key = \"certs/redan.key\"";
        format!("bind = \"127.0.0.1:1\"\ntls = {{ {pair}, {more} }}").leak()
    };
    check(&[
        ("", "", NODES, &[(3, "lacks `bind`")]),
        ("", "bind = \"localhost:1\"", NODES, &[(4, "not an IP address")]),
        ("", "bind = 6380", NODES, &[(4, "of type integer")]),
        ("", "bind = \"unix:\"", NODES, &[(4, "1 to 107 bytes")]),
        ("", "bind = \"127.0.0.1:1\"\nmode = \"0700\"", NODES, &[(5, "`mode` is for Unix sockets")]),
        ("", "bind = \"unix:x\"\nmode = \"rwx\"", NODES, &[(5, "octal")]),
        ("", "bind = \"unix:x\"\nmode = 700", NODES, &[(5, "of type integer")]),
        ("", "bind = \"127.0.0.1:1\"\ngroup = \"mian\"", NODES, &[(5, "did you mean \"main\"?")]),
        ("", "bind = \"127.0.0.1:1\"\ngroup = \"other\"", NODES, &[(5, "write \"main\"")]),
        ("", lag, NODES, &[(6, "so `max_lag` has no meaning"), (7, "so `max_lag_bytes` has no meaning")]),
        ("", "bind = \"127.0.0.1:1\"\nreads = \"any\"\nmaster_reads_limit = 5", NODES, &[(6, "serves them anyway")]),
        ("", "bind = \"127.0.0.1:1\"\nreads = \"zone\"", NODES, &[(5, "add `zone` to [redan]")]),
        ("", strong, NODES, &[(6, "`reads` says otherwise")]),
        ("", "bind = \"127.0.0.1:1\"\nreads = \"replcia\"", NODES, &[(5, "(\"replica\"?)")]),
        ("", tls("min_version = \"1.1\""), NODES, &[(5, "\"1.1\" is no choice")]),
        ("", tls("handshake_timeout = \"5ms\""), NODES, &[(5, "write 100ms to 1m")]),
        ("", tls("client_crl = \"certs/ca.crl\""), NODES, &[(5, "name the `client_ca` that signs them")]),
        (
            "",
            tls("client_ca = \"certs/ca.pem\", client_crl = [\"certs/none\", 5]"),
            NODES,
            &[(5, "certs/none cannot be"), (5, "of type integer")],
        ),
        (
            "",
            tls("certificates = [{ cert = \"certs/redan.pem\", key = \"certs/redan.key\" }]"),
            NODES,
            &[(5, "stands beside `certificates`")],
        ),
        ("", "bind = \"127.0.0.1:1\"\ntls = { certificates = [] }", NODES, &[(5, "`certificates` is empty")]),
        (
            "",
            "bind = \"127.0.0.1:1\"\ntls = { certificates = [{ cert = \"certs/redan.pem\" }] }",
            NODES,
            &[(5, "lacks `key`")],
        ),
        ("", "bind = \"127.0.0.1:1\"\nmax_clients_per_source = 0", NODES, &[(5, "1 to 1000000")]),
        ("", "bind = \"127.0.0.1:1\"\nmax_clients = 0", NODES, &[(5, "1 to 1000000")]),
        ("", "bind = \"127.0.0.1:1\"\ntcp_keepalive = \"500ms\"", NODES, &[(5, "at least 1s")]),
        ("", "bind = \"127.0.0.1:1\"\ntcp_keepalive = \"2h\"", NODES, &[(5, "write 0s to 1h")]),
        (
            "",
            "bind = \"127.0.0.1:1\"\noutput_limit = \"64mb\"",
            NODES,
            &[(5, "a table: `output_limit = { normal = … }`")],
        ),
        ("", "bind = \"127.0.0.1:1\"\noutput_limit = { normal = \"1kb\" }", NODES, &[(5, "write 64kb to")]),
        (
            "",
            "bind = \"127.0.0.1:1\"\noutput_limit = { pubsub = \"4mb\", pubsub_soft = \"8mb\" }",
            NODES,
            &[(5, "not below `pubsub`")],
        ),
        (
            "",
            "bind = \"127.0.0.1:1\"\noutput_limit = { normal_soft_for = \"1m\" }",
            NODES,
            &[(5, "only with `normal_soft`")],
        ),
        (
            "",
            "bind = \"127.0.0.1:1\"\noutput_limit = { replica = \"1mb\" }",
            NODES,
            &[(5, "take one of: normal, normal_soft")],
        ),
        ("", "bind = \"127.0.0.1:1\"\nadmin_commands = true", NODES, &[(5, "of type boolean")]),
        ("", "bind = \"127.0.0.1:1\"\nauth = \"passthru\"", NODES, &[(5, "write \"passthrough\"")]),
        ("", "bind = \"127.0.0.1:1\"\nauth = \"passthrough\"\nusers = \"users.toml\"", NODES, &[(5, "remove one")]),
        ("", "bind = \"127.0.0.1:1\"\ndeny = \"flushall\"", NODES, &[(5, "write a list")]),
        ("", "bind = \"127.0.0.1:1\"\ndeny = [\"flushal\"]", NODES, &[(5, "did you mean \"flushall\"?")]),
        ("", "bind = \"127.0.0.1:1\"\ndeny = [\"@dangeros\", 5]", NODES, &[(5, "\"@dangerous\"?"), (5, "in quotes")]),
        ("", "bind = \"127.0.0.1:1\"\ndeny = [\"config|sett\"]", NODES, &[(5, "did you mean \"config|set\"?")]),
        ("", "bind = \"127.0.0.1:1\"\nallow = [\"-get\"]", NODES, &[(5, "without or with \"+\"")]),
        ("", "bind = \"127.0.0.1:1\"\nallow = []", NODES, &[(5, "`allow` is empty")]),
        ("", "bind = \"127.0.0.1:1\"\ndeny = [\"hello\"]", NODES, &[(5, "servers let everyone send it")]),
        ("", "bind = \"127.0.0.1:1\"\nallow = [\"zzzzzzzzz\"]", NODES, &[(5, "no command and no category")]),
        ("", "name = \"a b\"\nbind = \"127.0.0.1:1\"", NODES, &[(4, "not a name")]),
        ("", "bind = \"127.0.0.1:1\"\ntls = { key = \"none\" }", NODES, &[(5, "lacks `cert`"), (5, "No such file")]),
        ("", "bind = \"127.0.0.1:1\"\nusers = \"nobody.toml\"", NODES, &[(5, "nobody.toml cannot be read")]),
        ("", "bind = \"127.0.0.1:1\"\nusers = \"certs\"", NODES, &[(5, "not a regular file")]),
    ]);
}

#[test]
fn exposure_is_asked_for_by_name() {
    let tls = "tls = { cert = \"certs/redan.pem\", key = \"certs/redan.key\" }";
    let mutual = "tls = { cert = \"certs/redan.pem\", key = \"certs/redan.key\", client_ca = \"certs/ca.pem\" }";
    let passed = "auth = \"passthrough\"";
    let more = |more: &str| -> &'static str { mutual.replace(" }", &format!(", {more} }}")).leak() };
    let (optional, named) = (more("client_auth = \"optional\""), more("user = \"cn\""));
    let named_without_ca = "tls = { cert = \"certs/redan.pem\", key = \"certs/redan.key\", user = \"cn\" }";
    let (plaintext, nobody) = ("plaintext = \"allow\"", "authentication = \"none\"");
    let (users, required) = ("users = \"users.toml\"", "authentication = \"required\"");
    let (no_tls, no_proof) = ("has no `tls`", "anyone may use it");
    let rows: &[(&str, &[&str], &[&str])] = &[
        ("0.0.0.0:1", &[], &[no_tls, no_proof]),
        ("[::]:1", &[], &[no_tls, no_proof]),
        ("10.0.0.1:1", &[plaintext], &[no_proof]),
        ("10.0.0.1:1", &["plaintext = \"deny\"", users], &[no_tls]),
        ("10.0.0.1:1", &[nobody], &[no_tls]),
        ("10.0.0.1:1", &[tls], &[no_proof]),
        ("10.0.0.1:1", &[users], &[no_tls]),
        ("10.0.0.1:1", &[tls, required], &["nothing authenticates"]),
        ("127.0.0.1:1", &[required], &["nothing authenticates"]),
        ("10.0.0.1:1", &[plaintext, nobody], &[]),
        ("10.0.0.1:1", &[plaintext, users], &[]),
        ("10.0.0.1:1", &[tls, nobody], &[]),
        ("10.0.0.1:1", &[tls, users, required], &[]),
        ("10.0.0.1:1", &[mutual, required], &[]),
        ("10.0.0.1:1", &[mutual], &[]),
        ("127.0.0.1:1", &[], &[]),
        ("[::1]:1", &[users], &[]),
        ("10.0.0.1:1", &[tls, users, plaintext], &["contradicts `tls`"]),
        ("10.0.0.1:1", &[tls, users, nobody], &["contradicts `users`"]),
        ("10.0.0.1:1", &[tls, passed], &[]),
        ("10.0.0.1:1", &[passed], &[no_tls]),
        ("10.0.0.1:1", &[tls, passed, nobody], &["contradicts `auth`"]),
        ("10.0.0.1:1", &[optional, users], &[]),
        ("10.0.0.1:1", &[optional, passed], &[]),
        ("10.0.0.1:1", &[optional], &["who shows no certificate would be let in"]),
        ("10.0.0.1:1", &[named, users], &[]),
        ("10.0.0.1:1", &[named], &["name a `users` file"]),
        ("10.0.0.1:1", &[named_without_ca, users], &["name the `client_ca`"]),
        ("10.0.0.1:1", &[mutual, nobody], &["contradicts `client_ca`"]),
        ("unix:redis.sock", &[], &[]),
        ("unix:redis.sock", &[tls], &["TLS on a Unix socket"]),
    ];
    let directory = Directory::new();
    for (bind, lines, expected) in rows {
        let listener = format!("bind = \"{bind}\"\n{}", lines.join("\n"));
        let errors = directory.load(&file("", &listener, NODES)).err().unwrap_or_default();
        assert_eq!(errors.len(), expected.len(), "{listener}: {errors:#?}");
        for (error, part) in errors.iter().zip(*expected) {
            assert!(error.contains(part), "{listener}: {error}");
        }
    }
}

#[test]
fn mistakes_in_groups() {
    let both = "password_file = \"secrets/redis\"\npassword_env = \"REDIS_PASSWORD\"";
    let both = format!("{NODES}\n{both}").leak();
    let line = |text: &str| -> &'static str { format!("{NODES}\n{text}").leak() };
    check(&[
        ("", BIND, "", &[(6, "lacks `nodes`")]),
        ("", BIND, "nodes = []", &[(8, "`nodes` is empty")]),
        ("", BIND, "nodes = \"127.0.0.1:6379\"", &[(8, "write a list")]),
        (
            "",
            BIND,
            "nodes = [\"redis\", 5, \"a:1\", \"a:1\"]",
            &[(8, "it has no port"), (8, "a node is of type integer"), (8, "stands in the list twice")],
        ),
        ("", BIND, "nodes = [{ adress = \"a:1\" }]", &[(8, "did you mean `address`?"), (8, "lacks `address`")]),
        ("", BIND, "nodes = [{ address = \"a:1\", server_name = \"b\" }]", &[(8, "only with `tls`")]),
        ("", BIND, "nodes = [{ address = \"a:1\", password = \"hunter2\" }]", &[(8, "does not belong in this file")]),
        ("", BIND, line("password = \"hunter2\""), &[(9, "does not belong in this file")]),
        ("", BIND, line("sentinel = \"m\""), &[(9, "write a table")]),
        ("", BIND, line("sentinel = {}"), &[(9, "lacks `master`"), (9, "lacks `addresses`")]),
        ("", BIND, "sentinel = { master = \"a b\", addresses = [] }", &[(8, "no name of a master"), (8, "is empty")]),
        (
            "",
            BIND,
            "nodes = 5\nsentinel = { master = \"m\", addresses = [\"x\", 5, \"a:1\", \"a:1\"], quorum = 2, password = \"p\" }",
            &[
                (8, "`nodes` is of type integer"),
                (9, "does not belong in this file"),
                (9, "the Sentinels' own"),
                (9, "it has no port"),
                (9, "of type integer"),
                (9, "this Sentinel stands in the list twice"),
            ],
        ),
        ("", BIND, line("map = [\"a:1\"]"), &[(9, "write a table")]),
        (
            "",
            BIND,
            line("map = { \"a\" = \"b:1\", \"a:2\" = \"b\", \"a:3\" = 4 }"),
            &[(9, "it has no port"), (9, "it has no port"), (9, "of type integer")],
        ),
        ("", BIND, both, &[(10, "both `password_file` and `password_env`")]),
        ("", BIND, line("password_env = \"UNSET\""), &[(9, "UNSET is not set")]),
        ("", BIND, line("password_env = \"EMPTY\""), &[(9, "is empty")]),
        ("", BIND, line("password_file = \"secrets/none\""), &[(9, "secrets/none cannot be read")]),
        ("", BIND, line("user = \"app\""), &[(9, "`user` without a password")]),
        (
            "",
            BIND,
            line("tls = { ca = \"certs/ca.pem\", pins = [\"sha256:00\"] }"),
            &[(9, "is not a pin"), (9, "stands beside `ca`")],
        ),
        (
            "",
            BIND,
            line("tls = { pins_file = \"certs/node.pins\", crl = \"certs/ca.crl\" }"),
            &[(9, "`crl` has no meaning")],
        ),
        ("", BIND, line("tls = { pins = [] }"), &[(9, "`pins` is empty")]),
        ("", BIND, line("tls = { cert = \"certs/ca.pem\" }"), &[(9, "lacks `ca`"), (9, "`cert` without `key`")]),
        ("", BIND, line("tls = { ca = \"certs/ca.pem\", server_name = \"a b\" }"), &[(9, "neither a DNS name")]),
        ("", BIND, line("probe_interval = \"1ms\""), &[(9, "20ms to 1m")]),
        ("", BIND, line("read_timeout = \"1ms\""), &[(9, "at least 20ms")]),
        ("", BIND, line("hedge = \"1ms\""), &[(9, "4ms to 1h")]),
        ("", BIND, line("hedge = \"p42\""), &[(9, "neither a percentile nor a time")]),
        ("", BIND, line("hedge = \"1s\""), &[(9, "make `hedge` shorter")]),
    ]);
}

#[test]
fn one_mistake_hides_no_other() {
    check(&[(
        "workers = 0\nadmn = 1",
        "bind = \"nowhere\"\nhold = 5\nconsistency = \"evental\"\nmax_lag = \"1\"\nusers = \"none\"",
        "nodes = [\"x\"]\npassword = \"p\"",
        &[
            (2, "`workers`"),
            (3, "`admin`"),
            (5, "`bind`"),
            (6, "`hold`"),
            (7, "eventual"),
            (8, "`max_lag`"),
            (9, "`users`"),
            (13, "`nodes`"),
            (14, "password"),
        ],
    )]);
}

#[test]
fn what_spans_sections() {
    let directory = Directory::new();
    let two = format!("{BIND}\n[[listener]]\nname = \"app\"\n{BIND}");
    let rows: &[(&str, &[&str])] = &[
        ("", &["proxy.toml:1: clients have nowhere", "proxy.toml:1: there is no Redis"]),
        (
            "[listener]\n[group]\n",
            &["proxy.toml:1: `listener` is of type table", "proxy.toml:2: `group` is of type table"],
        ),
        (&format!("[[listener]]\nname = \"a\"\n{BIND}"), &["proxy.toml:1: there is no Redis"]),
        (
            &file("", &format!("name = \"app\"\n{two}"), &format!("name = \"main\"\n{NODES}")),
            &[
                "proxy.toml:7: another [[listener]] above has the name",
                "proxy.toml:8: another [[listener]] above has the bind",
            ],
        ),
        (
            &file("", BIND, &format!("{NODES}\n[[group]]\nname = \"other\"\n{NODES}")).replace("[redan]", ""),
            &["proxy.toml:3: [[listener]] lacks `group`, and there are several; write \"main\" or \"other\""],
        ),
        ("a = [\n[x", &["proxy.toml:2: unclosed array", "proxy.toml:2: string values must"]),
        ("a = \nb == 2\n", &["proxy.toml:1: ", "proxy.toml:2: "]),
    ];
    for (text, expected) in rows {
        let errors = directory.load(text).expect_err(text);
        for (error, part) in errors.iter().zip(*expected) {
            assert!(error.starts_with(part), "{text}\n{errors:#?}");
        }
        assert!(errors.len() >= expected.len(), "{text}\n{errors:#?}");
    }
}

#[test]
fn mistakes_in_the_users_file_carry_its_own_lines() {
    let directory = Directory::new();
    directory.write(
        "users.toml",
        &format!(
            "[[user]]\nname = \"a b\"\npasswords = [\"{SHA256_OF_FOO}\"]\n[[user]]\nname = \"x\"\npassword = \"hunter2\"\n\
             [[user]]\nname = \"x\"\npasswords = [\"hunter2\", 7]\nenabled = \"no\"\n"
        ),
    );
    let listener = format!("{BIND}\nusers = \"users.toml\"\nhold = \"x\"");
    let errors = directory.load(&file("", &listener, NODES)).unwrap_err();
    let expected = [
        "proxy.toml:6: `hold`",
        "users.toml:2: a user's name",
        "users.toml:4: [[user]] lacks `passwords`",
        "users.toml:6: the file holds only hashes",
        "users.toml:8: user \"x\" was defined above",
        "users.toml:9: `passwords`: a password hash is",
        "users.toml:9: a password hash is text",
        "users.toml:10: `enabled` is of type string",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, part) in errors.iter().zip(expected) {
        assert!(error.starts_with(part), "{error}\n{part}");
        assert!(!error.contains("hunter2"));
    }
    directory.write("users.toml", "");
    let errors = directory.load(&file("", &listener.replace("\"x\"", "\"1s\""), NODES)).unwrap_err();
    assert!(errors[0].starts_with("users.toml:1: no [[user]]"), "{errors:#?}");
}

#[test]
fn what_is_allowed_and_probably_not_meant_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let public = |name: &str| {
        let path = directory.write(name, "hunter2\n");
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    };
    public("secrets/public");
    public("certs/public.key");
    let listener = r#"bind = "10.0.0.1:1"
        plaintext = "allow"
        users = "users.toml"
        reads = "master"
        consistency = "eventual"
        [[listener]]
        name = "tls"
        bind = "127.0.0.1:2"
        tls = { cert = "certs/redan.pem", key = "certs/public.key" }
        [[listener]]
        name = "local"
        bind = "unix:sock"
        mode = "0777""#;
    let listener = format!("name = \"app\"\n{listener}");
    let group = "nodes = [\"10.0.0.1:6379\"]\npassword_file = \"secrets/public\"";
    let config = directory.load(&file("admin = \"0.0.0.0:9180\"", &listener, group)).unwrap();
    let expected = [
        "proxy.toml:2: anyone who reaches",
        "proxy.toml:6: passwords and data cross the network",
        "proxy.toml:8: with `reads = \"master\"`",
        "proxy.toml:13: every user of this machine can read this private key",
        "proxy.toml:17: any user of this machine may connect",
        "proxy.toml:21: the password for 10.0.0.1:6379 crosses",
        "proxy.toml:22: every user of this machine can read this password",
    ];
    assert_eq!(config.warnings.len(), expected.len(), "{:#?}", config.warnings);
    for (warning, part) in config.warnings.iter().zip(expected) {
        assert!(warning.starts_with(part), "{warning}\n{part}");
    }
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

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let errors = load(Path::new("/nonexistent/proxy.toml")).unwrap_err().to_string();
    assert!(errors.starts_with("/nonexistent/proxy.toml cannot be read: No such file"), "{errors}");
}
