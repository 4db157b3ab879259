//! What `redan check` says about real servers.

use super::*;
use crate::config::sheet::Sheet;
use crate::config::{
    Access, Bind, Consistency, HoldBudget, Identity, Listener, ListenerTls, Log, LogFormat, OutputLimits, Reads, Writes,
};
use crate::control::tests::support::certs::Certs;
use crate::control::tests::support::redis::Redis;
use crate::control::tests::{group, with_password, with_tls};

fn check(groups: Vec<Group>, listeners: Vec<Listener>) -> Report {
    let config = Config {
        workers: 1,
        admin: None,
        admin_socket: crate::config::AdminSocket::Off,
        admin_password: None,
        admin_token: None,
        settings: Default::default(),
        log: Log { format: LogFormat::Text, filter: "off".to_owned() },
        shutdown_timeout: Duration::from_secs(1),
        upgrade_timeout: Duration::from_secs(1),
        drain_timeout: Duration::from_secs(1),
        max_memory: None,
        insight: crate::insight::Settings::default(),
        trace_export: None,
        user: None,
        sandbox: false,
        listeners: listeners.into_iter().map(Arc::new).collect(),
        groups: groups.into_iter().map(Arc::new).collect(),
        links: Vec::new(),
        path: None,
        sheet: Sheet::default(),
        warnings: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(examine(&config))
}

fn check_one(seeds: Vec<(String, Access)>, access: Access) -> Report {
    check(vec![group(seeds, access)], Vec::new())
}

impl Report {
    fn says(&self, words: &[&str]) {
        let found = self.wrong.iter().any(|sentence| words.iter().all(|word| sentence.contains(word)));
        assert!(found, "no sentence says {words:?}:\n{self}");
    }

    fn cell(&self, address: &str, column: &str) -> &str {
        let column = COLUMNS.iter().position(|name| *name == column).expect("a column");
        let row = self.rows.iter().find(|row| row[1] == address).expect("a row");
        &row[column]
    }
}

#[test]
fn a_group_in_order() {
    let a = Redis::options().password("secret").master_auth("secret").start();
    let b = Redis::options().password("secret").master_auth("secret").replica_of(&a).start();
    b.wait_for_link();
    let report = check_one(vec![(a.address(), with_password("secret"))], with_password("secret"));
    assert!(report.wrong.is_empty() && report.notes.is_empty(), "{report}");
    assert_eq!((report.cell(&a.address(), "ROLE"), report.cell(&b.address(), "ROLE")), ("master", "replica"));
    assert_eq!((report.cell(&b.address(), "READS"), report.cell(&b.address(), "AUTH")), ("yes", "ok"));
    assert!(report.cell(&b.address(), "LAG").contains(" B, "), "{report}");
    let version = report.cell(&a.address(), "VERSION");
    assert!(["redis ", "valkey "].iter().any(|name| version.starts_with(name)), "{report}");
    assert!(report.to_string().contains("Nothing is wrong."));
}

#[test]
fn wrong_and_missing_passwords_and_needless_ones() {
    let a = Redis::options().password("secret").start();
    let report = check_one(vec![(a.address(), with_password("wrong"))], Access::default());
    report.says(&[&a.address(), "wrong password"]);
    assert_eq!(report.cell(&a.address(), "AUTH"), "failed");
    let report = check_one(vec![(a.address(), Access::default())], Access::default());
    report.says(&[&a.address(), "asks for a password and none is configured"]);
    let user = Access { user: Some("nobody".to_owned()), ..with_password("secret") };
    let report = check_one(vec![(a.address(), user)], Access::default());
    report.says(&["wrong password for user 'nobody'"]);
    let open = Redis::start();
    let report = check_one(vec![(open.address(), with_password("secret"))], Access::default());
    assert!(report.wrong.is_empty() && report.notes[0].contains("asks for no password"), "{report}");
}

#[test]
fn a_dead_node_a_broken_link_and_a_writable_replica() {
    let mut a = Redis::start();
    let b = Redis::options().replica_of(&a).line("replica-read-only no").start();
    b.wait_for_link();
    let c = Redis::options().replica_of(&b).start();
    c.wait_for_link();
    let seeds = || vec![(a.address(), Access::default()), (b.address(), Access::default())];
    let report = check_one(seeds(), Access::default());
    report.says(&[&b.address(), "writable"]);
    assert_eq!(report.cell(&c.address(), "READS"), "yes");
    let seeds = seeds();
    a.kill();
    b.ok(&["PING"]);
    let report = check_one(seeds, Access::default());
    report.says(&[&a.address(), "refused"]);
    report.says(&["group 'main' has no master"]);
}

#[test]
fn two_masters() {
    let (a, b) = (Redis::start(), Redis::start());
    let c = Redis::options().replica_of(&a).start();
    c.wait_for_link();
    let seeds = vec![(a.address(), Access::default()), (b.address(), Access::default())];
    let report = check_one(seeds, Access::default());
    report.says(&["says it is a master too", &a.address(), &b.address()]);
    assert_eq!((report.cell(&a.address(), "ROLE"), report.cell(&b.address(), "ROLE")), ("master", "master?"));
}

#[test]
fn a_user_without_info() {
    let a = Redis::options().line("user probe on >secret +role").start();
    let access = Access { user: Some("probe".to_owned()), ..with_password("secret") };
    let report = check_one(vec![(a.address(), access)], Access::default());
    report.says(&["may not ask INFO", "+info"]);
}

#[test]
fn tls_of_nodes_and_of_listeners() {
    let certs = Certs::make();
    let a = Redis::options().tls(&certs).start();
    let report = check_one(vec![(a.address(), with_tls(&certs))], Access::default());
    assert!(report.wrong.is_empty(), "{report}");
    assert_eq!(report.cell(&a.address(), "TLS"), "TLS 1.3");
    let report = check_one(vec![(a.address(), with_tls(&Certs::make()))], Access::default());
    report.says(&[&a.address(), "not signed by the configured `ca`"]);
    assert_eq!(report.cell(&a.address(), "TLS"), "failed");

    let listener = Listener {
        name: "app".to_owned(),
        bind: Bind::Tcp(([127, 0, 0, 1], 0).into()),
        group: 0,
        tls: Some(ListenerTls {
            certificates: vec![Identity { cert: certs.cert(), key: certs.ca() }],
            only_tls13: false,
            handshake_timeout: Duration::from_secs(10),
            client_ca: None,
            client_crl: Vec::new(),
            client_may_show_none: false,
            user: None,
        }),
        users: None,
        passthrough: false,
        reads: Reads::Replica,
        consistency: Consistency::Session,
        master_reads_limit: None,
        max_lag: crate::reading::lag::LagLimit::default(),
        hold: Duration::from_secs(1),
        hold_budget: HoldBudget::default(),
        writes: Writes::default(),
        allow_admin_commands: false,
        permissions: None,
        max_clients: 1,
        max_clients_per_source: None,
        idle_timeout: None,
        output_limit: OutputLimits::default(),
        tcp_keepalive: None,
    };
    check(Vec::new(), vec![listener]).says(&["listener 'app'", "ca.pem", "private key"]);
}
