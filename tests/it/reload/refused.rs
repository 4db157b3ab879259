//! What a reload refuses: nothing is changed by it, and it is said why.

use std::net::TcpListener;
use std::process::Command;

use super::traffic::Traffic;
use crate::support::endpoint::Endpoint;
use crate::support::operator::redan;
use crate::support::redis::Redis;

const NOTHING: &str = "reload: nothing was changed; correct this, and reload again";

#[test]
fn a_file_that_cannot_be_used_changes_nothing() {
    let redis = Redis::start();
    let endpoint = Endpoint::of(&[&redis], "hold = \"10s\"");
    let traffic = Traffic::start(&endpoint.address(), 2);
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("bound");
    let good = endpoint.config();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let more = |text: &str| format!("{}\n{text}", good.replace("hold = \"10s\"", "hold = \"1s\"\ndeny = [\"set\"]"));
    for (toml, words) in [
        (
            good.replace("hold = \"10s\"", "hold = 10\nreads = \"nowhere\""),
            vec!["`hold` is of type", "\"nowhere\" is no choice"],
        ),
        (more("[[listener"), vec!["correct the TOML syntax"]),
        (
            more(&format!("[[listener]]\nname = \"more\"\nbind = \"{taken}\"\n")),
            vec!["listener 'more': cannot listen on", "another process listens there"],
        ),
        (
            more(&format!(
                "[[listener]]\nname = \"tls\"\nbind = \"127.0.0.1:1\"\ntls = {{ cert = {0:?}, key = {0:?} }}",
                file.path()
            )),
            vec!["listener 'tls': ", "holds no certificate"],
        ),
        (
            good.replace("workers = 1", "workers = 3"),
            vec!["proxy.toml:2: [redan]: workers 1 → 3: this takes a restart"],
        ),
    ] {
        let said = endpoint.reload(&toml);
        assert!(said.contains(NOTHING), "{toml}\n{said}");
        words.iter().for_each(|words| assert!(said.contains(words), "{words}\n{said}"));
        traffic.goes_on();
    }
    assert_eq!(endpoint.metric("redan_config_reloads_total{outcome=\"refused\"}"), 5.0);
    assert_eq!(endpoint.metric("redan_config_last_reload_accepted"), 0.0);
    assert_eq!(endpoint.metric("redan_config_generation"), 1.0);
    let (said, code) = redan(&endpoint.file(), &["reload"]);
    assert_eq!(code, 1, "the last of them is still there: {said}");
    assert!(said.contains("workers 1 → 3: this takes a restart; nothing was changed"), "{said}");
    let said = endpoint.reload(&good);
    let (answer, code) = redan(&endpoint.file(), &["reload"]);
    assert!(code == 0 && answer.starts_with("nothing differs in the configuration"), "{answer}");
    assert!(said.contains("reload: nothing differs in the configuration"), "{said}");
    assert_eq!(endpoint.metric("redan_config_last_reload_accepted"), 1.0);
    traffic.end();
}

#[test]
fn what_a_reload_would_do_can_be_asked_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, process: &str, listener: &str| {
        let file = folder.path().join(name);
        let toml = format!(
            "[redan]\n{process}\n[[listener]]\nname = \"app\"\nbind = \"127.0.0.1:6380\"\n{listener}\n\
             [[group]]\nname = \"main\"\nnodes = [\"127.0.0.1:1\"]\n"
        );
        std::fs::write(&file, toml).expect("writable");
        file
    };
    let diff = |old: &std::path::Path, new: &std::path::Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_redan")).arg("diff").arg(old).arg(new).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let old = write("old.toml", "", "");
    let new = write("new.toml", "", "hold = \"30s\"\nmax_clients = 7");
    let (code, said) = diff(&old, &new);
    assert_eq!(code, Some(0));
    assert!(said.contains("listener 'app': hold (unset) → 30s: at once, for what is connected too"), "{said}");
    assert!(said.contains("listener 'app': max_clients (unset) → 7: for what connects from then on"), "{said}");
    assert_eq!(diff(&old, &old).0, Some(0));
    let (code, said) = diff(&old, &write("restart.toml", "workers = 9", ""));
    assert_eq!(code, Some(1));
    assert!(said.contains("restart.toml:2: [redan]: workers (unset) → 9: this takes a restart"), "{said}");
}
