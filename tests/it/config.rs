//! The program as an operator meets it before it serves anyone: arguments, mistakes in files, `redan passwd`.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn redan(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_redan"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that reads nothing may be gone already.
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_wrong_file_is_refused_with_all_its_mistakes_and_exit_code_78() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    let content = "[redan]\nworkers = 0\n[[listener]]\nname = \"app\"\nbind = \"0.0.0.0:6380\"\nhodl = \"1s\"\n";
    std::fs::write(&file, content).unwrap();
    let shown = file.to_str().unwrap();
    for subcommand in ["run", "check"] {
        let output = redan(&[subcommand, shown], b"");
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(text(&output.stdout), "");
        let errors = text(&output.stderr);
        let lines: Vec<&str> = errors.lines().collect();
        let expected = [
            (1, "there is no Redis or Valkey to connect to; add a [[group]]"),
            (2, "`workers` is out of range; write a whole number from 1 to 64, without quotes"),
            (5, "this address is reachable from other machines and the listener has no `tls`;"),
            (5, "this address is reachable from other machines and anyone may use it;"),
            (6, "unknown setting `hodl` in [[listener]]; did you mean `hold`?"),
        ];
        assert_eq!(lines.len(), expected.len(), "{errors}");
        for (line, (number, start)) in lines.iter().zip(expected) {
            assert!(line.starts_with(&format!("{shown}:{number}: {start}")), "{line}\n{start}");
        }
    }
}

/// Those that can have tests of their own.
#[cfg(not(feature = "otel"))]
#[test]
fn a_program_that_cannot_send_traces_refuses_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    let content = "[redan]\ntrace_sample = 0.5\ntrace_export = \"http://127.0.0.1:4318\"\n[[listener]]\nname = \"app\"\n\
                   bind = \"127.0.0.1:6380\"\n[[group]]\nname = \"main\"\nnodes = [\"127.0.0.1:6379\"]\n";
    std::fs::write(&file, content).unwrap();
    for subcommand in ["run", "check"] {
        let output = redan(&[subcommand, file.to_str().unwrap()], b"");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(
            said.contains("proxy.toml:3: `trace_export` needs a Redan that was built with the feature `otel`"),
            "{said}"
        );
        assert!(said.contains("cargo install --path . --features otel"), "{said}");
    }
}

#[test]
fn a_missing_file_is_the_operators_mistake() {
    let output = redan(&["run", "/nonexistent/proxy.toml"], b"");
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).starts_with("/nonexistent/proxy.toml cannot be read: "));
}

#[test]
fn arguments() {
    let version = redan(&["--version"], b"");
    assert_eq!((version.status.code(), text(&version.stdout)), (Some(0), "redan 0.1.0\n".to_owned()));
    let help = redan(&["--help"], b"");
    assert_eq!(help.status.code(), Some(0));
    for subcommand in ["run", "check", "demo", "passwd"] {
        assert!(text(&help.stdout).contains(&format!("\n  {subcommand} ")), "{}", text(&help.stdout));
    }
    for wrong in [&[][..], &["serve"], &["run", "a", "b"], &["passwd", "hunter2"]] {
        assert_eq!(redan(wrong, b"").status.code(), Some(2), "{wrong:?}");
    }
    // Without a file it is the environment that says nothing.
    let run = redan(&["run"], b"");
    assert_eq!(run.status.code(), Some(78));
    assert!(text(&run.stderr).contains("REDAN_BIND is not set and no file is named"), "{}", text(&run.stderr));
}

#[test]
fn passwd_prints_the_hash_redis_would_print() {
    let foo = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n";
    let output = redan(&["passwd"], b"foo\n");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), foo));
    let output = redan(&["passwd"], b"");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(65), ""));
    assert!(text(&output.stderr).starts_with("the password is empty;"));
}

#[test]
fn a_generated_password_has_the_hash_that_is_printed_with_it() {
    let made = text(&redan(&["passwd", "--generate"], b"").stdout);
    let (password, hash) = made.split_once('\n').unwrap();
    assert_eq!(password.len(), 64);
    assert_eq!(text(&redan(&["passwd"], password.as_bytes()).stdout), hash);
}
