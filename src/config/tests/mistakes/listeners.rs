//! Mistakes in a `[[listener]]`, by what its settings are about.

use super::*;

/// Each row: the lines of a listener; the line number and a part of each error.
fn check_listeners(rows: &[(&'static str, &'static [(usize, &'static str)])]) {
    let rows: Vec<Row> = rows.iter().map(|(listener, expected)| ("", *listener, NODES, *expected)).collect();
    check(&rows);
}

#[test]
fn where_clients_connect() {
    check_listeners(&[
        ("", &[(3, "lacks `bind`")]),
        ("bind = \"localhost:1\"", &[(4, "not an IP address")]),
        ("bind = 6380", &[(4, "of type integer")]),
        ("bind = \"unix:\"", &[(4, "1 to 107 bytes")]),
        ("bind = \"127.0.0.1:1\"\nmode = \"0700\"", &[(5, "`mode` is for Unix sockets")]),
        ("bind = \"unix:x\"\nmode = \"rwx\"", &[(5, "octal")]),
        ("bind = \"unix:x\"\nmode = 700", &[(5, "of type integer")]),
        ("name = \"a b\"\nbind = \"127.0.0.1:1\"", &[(4, "not a name")]),
    ]);
}

#[test]
fn where_commands_go() {
    let strong = "bind = \"127.0.0.1:1\"\nconsistency = \"strong\"\nreads = \"any\"";
    let lag = "bind = \"127.0.0.1:1\"\nconsistency = \"strong\"\nmax_lag = \"1s\"\nmax_lag_bytes = \"1mb\"";
    check_listeners(&[
        ("bind = \"127.0.0.1:1\"\ngroup = \"mian\"", &[(5, "did you mean \"main\"?")]),
        ("bind = \"127.0.0.1:1\"\ngroup = \"other\"", &[(5, "write \"main\"")]),
        (lag, &[(6, "so `max_lag` has no meaning"), (7, "so `max_lag_bytes` has no meaning")]),
        ("bind = \"127.0.0.1:1\"\nreads = \"any\"\nmaster_reads_limit = 5", &[(6, "serves them anyway")]),
        ("bind = \"127.0.0.1:1\"\nreads = \"zone\"", &[(5, "add `zone` to [redan]")]),
        (strong, &[(6, "`reads` says otherwise")]),
        ("bind = \"127.0.0.1:1\"\nreads = \"replcia\"", &[(5, "(\"replica\"?)")]),
    ]);
}

#[test]
fn tls_towards_clients() {
    let tls = |more: &str| -> &'static str {
        let pair = "cert = \"certs/redan.pem\", key = \"certs/redan.key\"";
        format!("bind = \"127.0.0.1:1\"\ntls = {{ {pair}, {more} }}").leak()
    };
    check_listeners(&[
        (tls("min_version = \"1.1\""), &[(5, "\"1.1\" is no choice")]),
        (tls("handshake_timeout = \"5ms\""), &[(5, "write 100ms to 1m")]),
        (tls("client_crl = \"certs/ca.crl\""), &[(5, "name the `client_ca` that signs them")]),
        (
            tls("client_ca = \"certs/ca.pem\", client_crl = [\"certs/none\", 5]"),
            &[(5, "certs/none cannot be"), (5, "of type integer")],
        ),
        (
            tls("certificates = [{ cert = \"certs/redan.pem\", key = \"certs/redan.key\" }]"),
            &[(5, "stands beside `certificates`")],
        ),
        ("bind = \"127.0.0.1:1\"\ntls = { certificates = [] }", &[(5, "`certificates` is empty")]),
        ("bind = \"127.0.0.1:1\"\ntls = { certificates = [{ cert = \"certs/redan.pem\" }] }", &[(5, "lacks `key`")]),
        ("bind = \"127.0.0.1:1\"\ntls = { key = \"none\" }", &[(5, "lacks `cert`"), (5, "No such file")]),
    ]);
}

#[test]
fn what_clients_may_cost() {
    let output_limit =
        |limits: &str| -> &'static str { format!("bind = \"127.0.0.1:1\"\noutput_limit = {limits}").leak() };
    check_listeners(&[
        ("bind = \"127.0.0.1:1\"\nmax_clients_per_source = 0", &[(5, "1 to 1000000")]),
        ("bind = \"127.0.0.1:1\"\nmax_clients = 0", &[(5, "1 to 1000000")]),
        ("bind = \"127.0.0.1:1\"\ntcp_keepalive = \"500ms\"", &[(5, "at least 1s")]),
        ("bind = \"127.0.0.1:1\"\ntcp_keepalive = \"2h\"", &[(5, "write 0s to 1h")]),
        (output_limit("\"64mb\""), &[(5, "a table: `output_limit = { normal = … }`")]),
        (output_limit("{ normal = \"1kb\" }"), &[(5, "write 64kb to")]),
        (output_limit("{ pubsub = \"4mb\", pubsub_soft = \"8mb\" }"), &[(5, "not below `pubsub`")]),
        (output_limit("{ normal_soft_for = \"1m\" }"), &[(5, "only with `normal_soft`")]),
        (output_limit("{ replica = \"1mb\" }"), &[(5, "take one of: normal, normal_soft")]),
    ]);
}

#[test]
fn who_comes_in_and_what_they_may_do() {
    check_listeners(&[
        ("bind = \"127.0.0.1:1\"\nadmin_commands = true", &[(5, "of type boolean")]),
        ("bind = \"127.0.0.1:1\"\nauth = \"passthru\"", &[(5, "write \"passthrough\"")]),
        ("bind = \"127.0.0.1:1\"\nauth = \"passthrough\"\nusers = \"users.toml\"", &[(5, "remove one")]),
        ("bind = \"127.0.0.1:1\"\nusers = \"nobody.toml\"", &[(5, "nobody.toml cannot be read")]),
        ("bind = \"127.0.0.1:1\"\nusers = \"certs\"", &[(5, "not a regular file")]),
        ("bind = \"127.0.0.1:1\"\ndeny = \"flushall\"", &[(5, "write a list")]),
        ("bind = \"127.0.0.1:1\"\ndeny = [\"flushal\"]", &[(5, "did you mean \"flushall\"?")]),
        ("bind = \"127.0.0.1:1\"\ndeny = [\"@dangeros\", 5]", &[(5, "\"@dangerous\"?"), (5, "in quotes")]),
        ("bind = \"127.0.0.1:1\"\ndeny = [\"config|sett\"]", &[(5, "did you mean \"config|set\"?")]),
        ("bind = \"127.0.0.1:1\"\ndeny = [\"hello\"]", &[(5, "servers let everyone send it")]),
        ("bind = \"127.0.0.1:1\"\nallow = [\"-get\"]", &[(5, "without or with \"+\"")]),
        ("bind = \"127.0.0.1:1\"\nallow = []", &[(5, "`allow` is empty")]),
        ("bind = \"127.0.0.1:1\"\nallow = [\"zzzzzzzzz\"]", &[(5, "no command and no category")]),
    ]);
}
