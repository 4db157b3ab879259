//! Imports go one way, the core does no I/O, and one place starts threads: read from the source files themselves.
//!
//! Crude, since it reads words and not Rust; a sentence in the failure says what is wrong and where the table is.

use std::collections::BTreeSet;

use crate::support::sources::Source;

/// Every top-level module, from the bottom up. One may import what stands on lower lines, never its own line or above.
const LAYERS: &[&[&str]] = &[
    // The core.
    &["events", "identity", "limits", "rarely", "throttle"],
    &["resp"],
    &["command", "topology"],
    &["assurance", "insight", "mark", "reading"],
    &["route"],
    // The shell, bottom.
    &["chronicle", "config", "metrics"],
    &["memory", "net", "notify", "reload"],
    &["handover"],
    &["tls"],
    &["link"],
    &["transport"],
    // The data plane.
    &["backend"],
    &["session"],
    &["worker"],
    // Around it.
    &["otel", "renewal", "upgrade"],
    &["acceptor", "admin", "control", "drain"],
    &["app"],
    &["cli"],
    // The crate itself, and what opens parts of it to the fuzzer.
    &["fuzzing", "lib", "main", "testing"],
];

/// How many lines of the table are the core: it decides and never does I/O.
const CORE_LINES: usize = 5;

/// Upward all the same, each with its reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    // A route follows the operator's policy, whose words are `config::Reads` and `config::Consistency`: plain data.
    ("route", "config"),
    // The property tests of the parser check what the fuzzer checks.
    ("resp", "fuzzing"),
    ("link", "fuzzing"),
];

/// Downward and still wrong: these threads must not reach into the data path.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("acceptor", &["backend"]),
    // It asks workers through the switchboard of sessions, and nobody else.
    ("admin", &["backend", "worker"]),
    ("control", &["backend", "session", "worker"]),
    ("drain", &["backend", "session"]),
    ("otel", &["backend", "session", "worker"]),
    ("renewal", &["backend", "session"]),
    ("tls", &["resp"]),
];

/// Parts of the shell that decide and do no I/O, as the core.
const PURE: &[&str] = &[
    "link/buffer",
    "link/flight",
    "link/frame",
    "link/pace",
    "link/pack",
    "link/policy",
    "link/records",
    "link/replication",
    "link/stream",
    "link/traffic",
];

/// What the core gets as an argument instead, or leaves to the shell.
const IMPURE: &[&str] = &[
    "tokio",
    "Instant::now",
    "SystemTime::now",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
];

const TEST_ONLY: &str = "#[cfg(test)]";

/// Threads are part of the wiring.
const WIRING: &[&str] = &["thread::spawn", "thread::Builder"];

impl Source {
    fn module(&self) -> &str {
        let top = self.path.split('/').next().unwrap_or_default();
        top.strip_suffix(".rs").unwrap_or(top)
    }

    /// Without the tests at its end.
    fn code_without_tests(&self) -> String {
        let code = self.code();
        let tests = code.match_indices(TEST_ONLY).find(|(at, mark)| {
            let declared = declared_module(&code[at + mark.len()..]);
            declared.is_some_and(|(_, inline)| inline)
        });
        code[..tests.map_or(code.len(), |(at, _)| at)].to_owned()
    }

    /// How many modules stand between this one and the crate: `net.rs` and `tls/mod.rs` 1, `tls/pem.rs` 2.
    fn depth(&self) -> usize {
        let folders = self.path.matches('/').count();
        if self.path.ends_with("/mod.rs") { folders } else { folders + 1 }
    }

    /// The folder in which the modules that this file declares stand.
    fn folder(&self) -> String {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        stem.strip_suffix("mod")
            .filter(|stem| stem.ends_with('/'))
            .map_or_else(|| format!("{stem}/"), ToOwned::to_owned)
    }

    /// The folders and files of its modules that are compiled for tests alone.
    fn test_modules(&self) -> Vec<String> {
        let code = self.code();
        let declared = code.split(TEST_ONLY).skip(1).filter_map(declared_module);
        declared.filter(|(_, inline)| !inline).map(|(name, _)| self.folder() + name).collect()
    }

    /// The top-level modules that this file names.
    fn imports(&self) -> BTreeSet<String> {
        let code = self.code();
        let mut found = BTreeSet::new();
        for root in ["crate::".to_owned(), "super::".repeat(self.depth())] {
            for (at, _) in code.match_indices(&root) {
                let before = code[..at].chars().next_back();
                if before.is_some_and(|letter| letter.is_alphanumeric() || matches!(letter, '_' | ':' | '$')) {
                    continue;
                }
                let names = names_after(&code[at + root.len()..]);
                // `super::` may also name an item of the module itself, seen from its tests.
                found.extend(names.into_iter().filter(|name| root == "crate::" || line_of(name).is_some()));
            }
        }
        found
    }
}

/// The module that `code` begins with the declaration of, and whether its body stands there too.
fn declared_module(code: &str) -> Option<(&str, bool)> {
    let code = code.trim_start();
    let code = ["pub(crate) ", "pub(super) ", "pub "].iter().find_map(|word| code.strip_prefix(word)).unwrap_or(code);
    let end = code.find(['{', ';'])?;
    let name = code[..end].strip_prefix("mod ")?.trim();
    Some((name, code[end..].starts_with('{')))
}

/// The first segments of the path or of the braces full of paths that `code` begins with.
fn names_after(code: &str) -> Vec<String> {
    let first = |path: &str| path.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let Some(inside) = code.strip_prefix('{') else {
        return vec![first(code)];
    };
    let mut depth = 0_usize;
    let mut names = vec![String::new()];
    for letter in inside.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            _ => {}
        }
        if let (0, Some(name)) = (depth, names.last_mut())
            && letter != ','
        {
            name.push(letter);
        }
    }
    names.iter().map(|name| first(name.trim())).filter(|name: &String| !name.is_empty()).collect()
}

fn line_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// One sentence for each thing that is wrong.
fn violations(sources: &[Source]) -> Vec<String> {
    let test_modules: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    let is_test = |path: &str| {
        let under =
            |module: &String| path.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']));
        test_modules.iter().any(under)
    };
    let mut wrong = Vec::new();
    for source in sources {
        let (path, module) = (&source.path, source.module());
        let Some(line) = line_of(module) else {
            wrong.push(format!("{path}: `{module}` has no place in LAYERS; give it one"));
            continue;
        };
        for import in source.imports() {
            wrong.extend(wrong_import(path, module, line, &import));
        }
        if is_test(path) {
            continue;
        }
        let code = source.code_without_tests();
        let pure = PURE.iter().any(|pure| path.strip_prefix(*pure).is_some_and(|rest| rest.starts_with(['.', '/'])));
        if line < CORE_LINES || pure {
            let found = IMPURE.iter().filter(|word| code.contains(*word));
            wrong
                .extend(found.map(|word| format!("{path}: the core must not know of `{word}`; pass in what it needs")));
        }
        if module != "app" {
            let found = WIRING.iter().filter(|word| code.contains(*word));
            wrong.extend(found.map(|word| format!("{path}: `{word}` belongs into `app`, which alone starts threads")));
        }
    }
    wrong
}

fn wrong_import(path: &str, module: &str, line: usize, import: &str) -> Option<String> {
    if import == module || EXCEPTIONS.contains(&(module, import)) {
        return None;
    }
    let Some(imported) = line_of(import) else {
        return Some(format!("{path}: `crate::{import}` has no place in LAYERS; import it from its module"));
    };
    if imported >= line {
        return Some(format!("{path}: `{module}` imports `{import}`, which does not stand below it in LAYERS"));
    }
    let forbidden = FORBIDDEN.iter().any(|(of, never)| *of == module && never.contains(&import));
    forbidden.then(|| format!("{path}: `{module}` must not reach into `{import}`"))
}

#[test]
fn imports_go_one_way_and_the_core_is_pure() {
    let sources = Source::below("src");
    assert!(sources.len() > 30, "only {} files were found", sources.len());
    let wrong = violations(&sources);
    assert!(wrong.is_empty(), "the table is in tests/it/layers.rs\n{}", wrong.join("\n"));
}

/// What `violations` says of files with such content.
fn said(files: &[(&str, &str)]) -> Vec<String> {
    let source = |(path, text): &(&str, &str)| Source { path: (*path).to_owned(), text: (*text).to_owned() };
    violations(&files.iter().map(source).collect::<Vec<_>>())
}

#[test]
fn each_kind_of_violation_is_found() {
    let table = [
        ("backend/pool.rs", "use crate::session::Session;", "imports `session`"),
        ("backend/pool.rs", "fn f(x: &crate::session::Session) {}", "imports `session`"),
        ("backend/pool.rs", "use crate::{\n    net::{self, dial},\n    session::Session,\n};", "imports `session`"),
        ("backend/pool.rs", "use super::super::session::Session;", "imports `session`"),
        ("backend/mod.rs", "use super::session::Session;", "imports `session`"),
        ("net.rs", "use super::tls;", "imports `tls`"),
        ("drain.rs", "use crate::acceptor;", "imports `acceptor`"),
        ("session/mod.rs", "use crate::app;", "imports `app`"),
        ("control/probe.rs", "use crate::backend::dial;", "must not reach into `backend`"),
        ("odds.rs", "", "has no place in LAYERS"),
        ("worker/mod.rs", "use crate::Odds;", "has no place in LAYERS"),
        ("topology/tracker.rs", "let now = Instant::now();", "must not know of `Instant::now`"),
        ("resp/reply.rs", "use tokio::io::AsyncRead;", "must not know of `tokio`"),
        ("worker/mod.rs", "std::thread::spawn(|| {});", "belongs into `app`"),
        ("link/stream.rs", "let now = Instant::now();", "must not know of `Instant::now`"),
        ("mark.rs", "use tokio::io;\n#[cfg(test)]\nmod tests {\n}", "must not know of `tokio`"),
        ("mark.rs", "#[cfg(test)]\nmod tests;\nuse tokio::io;", "must not know of `tokio`"),
    ];
    for (path, text, expected) in table {
        let said = said(&[(path, text)]);
        assert!(said.len() == 1 && said[0].starts_with(path) && said[0].contains(expected), "{path}: {text}: {said:?}");
    }
}

#[test]
fn what_is_allowed_is_not_complained_about() {
    let table = [
        ("session/mod.rs", "use crate::backend::pool::Pool;\nuse crate::session::plan;\nuse super::limits;"),
        ("session/mod.rs", "// See crate::worker.\n//! `crate::app` makes it."),
        ("route.rs", "use crate::config::{Consistency, Reads};"),
        ("mark.rs", "#[cfg(test)]\nmod tests {\n    fn f() { Instant::now(); }\n}"),
        ("net.rs", "mod tests {\n    use super::bind;\n}"),
        ("app/mod.rs", "use crate::{acceptor, worker};\nuse std::thread;\nfn f() { thread::spawn(g); }"),
    ];
    for (path, text) in table {
        assert_eq!(said(&[(path, text)]), Vec::<String>::new(), "{path}: {text}");
    }
    let files = [
        ("topology/tracker.rs", "#[cfg(test)]\npub(crate) mod simulation;\nfn f() {}"),
        ("topology/tracker/simulation.rs", "Instant::now()"),
    ];
    assert_eq!(said(&files), Vec::<String>::new());
    assert_eq!(said(&files[1..]).len(), 1, "without the declaration it is no test");
}
