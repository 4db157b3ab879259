//! The documents say what is so: the README's configuration serves, and every error that clients can get is explained.

mod commands;
mod guide;
mod guides;
mod lines;
mod metrics;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};

use super::support::proxy::Proxy;
use super::support::redis::{Redis, eventually};

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_configuration_in_the_readme_serves() {
    let readme = document("README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (toml, _) = rest.split_once("```").unwrap();
    assert!(toml.lines().filter(|line| !line.is_empty()).count() <= 10, "{toml}");
    let master = Redis::start();
    let replica = Redis::options().replica_of(&master).start();
    replica.wait_for_link();
    let mut here = toml.to_owned();
    for (theirs, ours) in [
        ("127.0.0.1:9180", "127.0.0.1:0".to_owned()),
        ("127.0.0.1:6380", "127.0.0.1:0".to_owned()),
        ("10.0.0.1:6379", replica.address()),
        ("10.0.0.2:6379", master.address()),
    ] {
        assert!(here.contains(theirs), "{toml}");
        here = here.replace(theirs, &ours);
    }
    let proxy = Proxy::start(&here);
    let client = redis::Client::open(format!("redis://{}/", proxy.address(1))).unwrap();
    let mut connection = client.get_connection().unwrap();
    redis::cmd("SET").arg("k").arg("v").exec(&mut connection).unwrap();
    assert_eq!(redis::cmd("GET").arg("k").query::<String>(&mut connection).unwrap(), "v");
    let metrics = || {
        let mut stream = std::net::TcpStream::connect(proxy.address(0)).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: redan\r\nConnection: close\r\n\r\n";
        std::io::Write::write_all(&mut stream, request).unwrap();
        std::io::read_to_string(stream).unwrap()
    };
    eventually("the read and the write are counted", || {
        let metrics = metrics();
        metrics.contains("redan_commands_total{kind=\"write\"} 1\n")
            && metrics.contains("redan_commands_total{kind=\"read\"} 1\n")
    });
}

#[test]
fn no_page_asks_for_another_program_to_make_keys() {
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")) {
        if path.extension().is_some_and(|kind| kind == "md") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains("openssl "), "{}", path.display());
        }
    }
}

#[test]
fn every_error_for_clients_is_documented() {
    let documented = spaces(&document("docs/errors.md").replace("\\|", "|"));
    let mut errors = 0;
    for file in ["session", "worker", "acceptor", "resp/request.rs", "resp/inline.rs"] {
        for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)) {
            let source = fs::read_to_string(&path).unwrap();
            for error in literals(without_tests(&source)).iter().filter(|text| is_error(text)) {
                errors += 1;
                for part in fixed_parts(error) {
                    let found = documented.contains(&part);
                    assert!(found, "docs/errors.md does not have \"{part}\" of \"{error}\" in {}", path.display());
                }
            }
        }
    }
    assert!(errors > 35, "only {errors} errors were found in the source: the search is broken");
}

#[test]
fn errors_are_recognised() {
    let source = r#"
        // "ERR in a comment"
        let a = b"-ERR max number\r\n"; let z = b"-READONLY You"; let quote = '"'; let b = "plain"; let c = "ERR it's {name}: '{}'";
        #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
        const LONG: &str = "LOADING one \
             two"; let d = "SET"; let e = "A sentence."; let f = "INDOUBT \"quoted\"";
    "#;
    let found = literals(source);
    let errors: Vec<&str> = found.iter().filter(|text| is_error(text)).map(String::as_str).collect();
    let expected = [
        "-ERR max number\r\n",
        "ERR it's {name}: '{}'",
        "Protocol error: expected '$', got '{}'",
        "LOADING one two",
        "INDOUBT \"quoted\"",
    ];
    assert_eq!(errors, expected);
    assert_eq!(fixed_parts(expected[1]), ["ERR it's", ": '", "'"]);
}

/// All files at or below a path.
fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut found: Vec<PathBuf> =
        fs::read_dir(path).unwrap().flat_map(|entry| sources(&entry.unwrap().path())).collect();
    found.retain(|path| path.file_name().is_some_and(|name| name != "tests.rs"));
    found
}

fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// A code as servers write it, then words; or the words of a protocol error, whose code is added when it is sent.
fn is_error(text: &str) -> bool {
    if text.starts_with('-') && !text.ends_with("\r\n") {
        // What a node's error is recognised by.
        return false;
    }
    let code = text.trim_start_matches('-').split(' ').next().unwrap_or_default();
    let coded = code.len() > 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    (coded && text.contains(' ')) || text.starts_with("Protocol error: ")
}

/// What does not depend on the moment.
fn fixed_parts(error: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = error.trim_start_matches('-');
    while let Some((before, behind)) = rest.split_once('{') {
        parts.push(before);
        rest = behind.split_once('}').map_or("", |(_, rest)| rest);
    }
    parts.push(rest);
    parts.iter().map(|part| spaces(part)).filter(|part| !part.is_empty()).collect()
}

fn spaces(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The string literals of Rust source, with their escapes resolved as far as errors use them. Crude, since it is no
/// parser: comments and characters are skipped, raw strings do not occur.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (mark, behind) = rest[at..].split_at(1);
        rest = match mark {
            "/" if behind.starts_with('/') => behind.split_once('\n').map_or("", |(_, rest)| rest),
            "'" if behind.starts_with("\"'") => &behind[2..],
            "\"" => {
                let (text, behind) = literal(behind);
                found.push(text);
                behind
            }
            _ => behind,
        };
    }
    found
}

/// The literal whose opening quote was just passed, and what follows it.
fn literal(source: &str) -> (String, &str) {
    let mut text = String::new();
    let mut letters = source.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (text, &source[at + 1..]),
            '\\' => match letters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 'r')) => text.push('\r'),
                // The line goes on behind the white space of the next one.
                Some((next, '\n')) => {
                    let (continued, behind) = literal(source[next..].trim_start());
                    return (text + &continued, behind);
                }
                Some((_, other)) => text.push(other),
                None => {}
            },
            other => text.push(other),
        }
    }
    (text, "")
}
