//! What a bad file is told: the line of each mistake, what is wrong there and what to do about it.

use super::*;

mod listeners;

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
fn a_file_that_cannot_be_read_is_named() {
    let errors = load(Path::new("/nonexistent/proxy.toml")).unwrap_err().to_string();
    assert!(errors.starts_with("/nonexistent/proxy.toml cannot be read: No such file"), "{errors}");
}
