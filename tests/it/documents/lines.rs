//! Every command line in the README and in the documents beside the guides is run as it stands there, in the order in which they
//! stand, or is listed here with the reason why not. The configuration is the README's.

use std::fs;
use std::path::Path;

use super::document;
use super::stage::carry_out;
use crate::support::network::inside;

/// What lines of these documents begin with when they are commands.
const PROGRAMS: &[&str] = &["redan ", "redis-cli ", "make ", "curl ", "cargo "];

/// Lines that begin so are not run.
const NOT_RUN: &[(&str, &str)] = &[
    ("make demo", "tests of the demo run it"),
    ("make test", "this is a part of it"),
    ("make deb", "builds the package, and the release before it"),
    ("cargo install", "builds the release"),
    ("cargo build", "builds the release"),
    ("curl http://127.0.0.1:8080/", "asks the counter in a container"),
    ("redan completions", "writes into folders of the system"),
    ("redan man ", "writes into folders of the system"),
    ("redan status", "tests of the operator's commands have it"),
    ("redan nodes", "the same"),
    ("redan node ", "the same"),
    ("redan pause", "the same"),
    ("redan sessions", "the same"),
    ("redis-cli -3 -s", "the same; the socket has another name each time"),
    ("redan 0.1.0", "what a command prints"),
    ("redan top", "wants a terminal"),
    ("redan events", "tests of events have it"),
    ("curl -N ", "does not end"),
    ("curl -H ", "tests of the dashboard have it"),
    ("redis-cli -h A client pause", "a switch by hand, which tests of role changes make step by step"),
    ("redis-cli -h B replicaof no one", "the same"),
    ("redis-cli -h A replicaof B", "the same"),
    ("redis-cli -h A client unpause", "the same"),
    ("redis-cli -h C replicaof B", "the same"),
];

/// Two servers, as the README's configuration names them, and a host for Redan.
const BEFORE: &str = "\
<!-- test: host n1 10.0.0.1 -->
<!-- test: host n2 10.0.0.2 -->
<!-- test: host app 10.0.0.9 -->

On `n1` and `n2`, `redis.conf`:

```conf
port 6379
protected-mode no
```

On `n2`, more in `redis.conf`:

```conf
replicaof 10.0.0.1 6379
```

On `n1` and `n2`:

```sh
redis-server redis.conf &
```

<!-- test: wait n2 redis-cli INFO replication # prints: master_link_status:up -->
<!-- test: wait app mkdir -p keys && redan keygen keys/dc1.key -->
On `app`, `proxy.toml`:

";

/// Of what the documents ask that is there already.
const LINK: &str = "
[[link]]
name = \"dc2\"
entry = \"127.0.0.1:8000\"
to = \"192.0.2.9:7443\"
identity = \"keys/dc1.key\"
peers = [\"redan1…\"] # the line of app
";

fn command_lines(text: &str) -> Vec<&str> {
    let lines =
        text.lines().map(str::trim_start).filter(|line| PROGRAMS.iter().any(|program| line.starts_with(program)));
    // Sentences in the text are neither indented nor in a block.
    let code = |line: &&str| text.contains(&format!("\n    {line}\n"));
    lines.filter(code).collect()
}

#[test]
fn command_lines_of_the_documents_are_run() {
    inside("documents::lines::command_lines_of_the_documents_are_run", |network| {
        let readme = document("README.md");
        let (_, rest) = readme.split_once("```toml\n").unwrap();
        let (toml, _) = rest.split_once("```").unwrap();
        let mut guide = format!("{BEFORE}```toml\n{toml}{LINK}```\n");
        for text in documents() {
            guide += "\n<!-- test: wait app rm -rf certs keys/redan.key && cp keys/dc1.key own.key -->\n\nOn `app`:\n\n```sh\n";
            for line in command_lines(&text) {
                if NOT_RUN.iter().any(|(start, _)| line.starts_with(start)) {
                    continue;
                }
                match line {
                    _ if line.starts_with("redan run") => guide += "redan run proxy.toml &\n",
                    _ if line.starts_with("redan promote") => {
                        // Where it is the master already there is nothing to be moved.
                        guide += "redan promote main 10.0.0.1:6379 || redan check proxy.toml\n";
                        guide += &format!("{line}\n");
                    }
                    _ if line.starts_with("redan diff") => guide += &format!("cp proxy.toml running.toml\n{line}\n"),
                    _ if line.contains("stunnel.pem  ") => guide += &format!("cp redan.pem stunnel.pem\n{line}\n"),
                    _ => guide += &format!("{line}\n"),
                }
            }
            guide += "```\n";
        }
        assert!(guide.lines().filter(|line| line.starts_with("redan ")).count() > 15, "{guide}");
        carry_out(network, &guide);
    });
}

#[test]
fn what_is_not_run_is_still_there() {
    let texts = documents().concat();
    for (start, _) in NOT_RUN {
        assert!(
            command_lines(&texts).iter().any(|line| line.starts_with(start)),
            "no line begins with '{start}' any more"
        );
    }
}

/// The README first, since it says how to begin; then the pages beside it.
fn documents() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
    paths.sort();
    let pages = paths.iter().map(|path| fs::read_to_string(path).unwrap());
    std::iter::once(document("README.md")).chain(pages).collect()
}
