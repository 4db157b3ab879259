//! What a package holds: the unit, the manual pages, completions, and the .deb of them all.

mod machine;
mod notices;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::left_out::{left_out, target};

const PROGRAM: &str = env!("CARGO_BIN_EXE_redan");

fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What it printed on both; fails with it where the program does.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ends with {}:\n{said}", output.status);
    said.into_owned()
}

fn has(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status().unwrap().success()
}

#[test]
fn the_manual_has_a_page_for_every_subcommand_and_each_can_be_set() {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new(PROGRAM).arg("man").arg(folder.path()));
    let help = run(Command::new(PROGRAM).arg("--help"));
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<&str> = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        let page = fs::read_to_string(folder.path().join(format!("redan-{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    if !has("groff") {
        return left_out("whether the manual pages can be set", "there is no groff: .ci/install packages");
    }
    for page in fs::read_dir(folder.path()).unwrap() {
        let path = page.unwrap().path();
        let said = run(Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(&path));
        assert_eq!(said, "", "{}", path.display());
    }
}

#[test]
fn completions_are_scripts_of_their_shells() {
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef redan"), ("fish", "complete -c redan")] {
        let script = run(Command::new(PROGRAM).args(["completions", shell]));
        assert!(script.contains(word) && script.contains("promote"), "{shell}");
        if !has(shell) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script");
        fs::write(&file, script).unwrap();
        // Reads the script and runs nothing.
        assert_eq!(run(Command::new(shell).arg("-n").arg(&file)), "", "{shell}");
    }
    // In bash they are tried: `redan pro` and the tabulator.
    let script = "source <($0 completions bash); COMP_WORDS=(redan pro); COMP_CWORD=1; _redan redan pro redan; echo \"${COMPREPLY[@]}\"";
    let completed = run(Command::new("bash").args(["-c", script, PROGRAM]));
    assert_eq!(completed.trim(), "promote");
}

#[test]
fn the_unit_is_valid_and_tight() {
    if !has("systemd-analyze") {
        return left_out("packaging/redan.service", "there is no systemd-analyze: .ci/install packages");
    }
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("redan.service");
    // The program is not installed here.
    let text = fs::read_to_string(tree("packaging/redan.service")).unwrap();
    fs::write(&unit, text.replace("/usr/bin/redan", PROGRAM)).unwrap();
    let said = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
    assert!(!said.contains("redan.service"), "{said}");
    // 0 is nothing allowed, 100 everything; docs/install.md says what it is.
    run(Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=15"]).arg(&unit));
}

/// Of a release that is this build, in a folder of its own.
fn make(tool: &Path, folder: &Path) -> PathBuf {
    let release = folder.join("release");
    fs::create_dir(&release).unwrap();
    fs::copy(PROGRAM, release.join("redan")).unwrap();
    run(Command::new(tree("packaging/prepare")).arg(PROGRAM));
    let package = folder.join("redan.deb");
    let mut making = Command::new(tool);
    making.current_dir(tree("")).env("CARGO_TARGET_DIR", folder);
    making.args(["deb", "--no-build", "--strip", "--fast", "--offline", "--output"]).arg(&package);
    run(&mut making);
    package
}

#[test]
fn the_debian_package_holds_what_belongs_into_one() {
    let tool = target().join("tools/bin/cargo-deb");
    if !tool.exists() || !has("dpkg-deb") {
        return left_out(
            "the Debian package",
            &format!("there is no {} or no dpkg-deb: make packager", tool.display()),
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let package = make(&tool, folder.path());
    let list = run(Command::new("dpkg-deb").arg("-c").arg(&package));
    for (mode, path) in [
        ("-rwxr-xr-x", "./usr/bin/redan"),
        ("-rw-r--r--", "./etc/redan/proxy.toml"),
        ("-rw-r--r--", "./usr/lib/systemd/system/redan.service"),
        ("-rw-r--r--", "./usr/share/man/man1/redan.1.gz"),
        ("-rw-r--r--", "./usr/share/man/man1/redan-promote.1.gz"),
        ("-rw-r--r--", "./usr/share/bash-completion/completions/redan"),
        ("-rw-r--r--", "./usr/share/zsh/vendor-completions/_redan"),
        ("-rw-r--r--", "./usr/share/fish/vendor_completions.d/redan.fish"),
        ("-rw-r--r--", "./usr/share/doc/redan/docs/configuration.md"),
        ("-rw-r--r--", "./usr/share/doc/redan/docs/alerts.yml"),
        ("-rw-r--r--", "./usr/share/doc/redan/docs/grafana/redan.json"),
        ("-rw-r--r--", "./usr/share/doc/redan/copyright"),
        ("-rw-r--r--", "./usr/share/doc/redan/third-party-notices"),
        ("-rw-r--r--", "./usr/share/doc/redan/changelog.gz"),
        ("-rw-r--r--", "./usr/share/doc/redan/changelog.Debian.gz"),
    ] {
        let found = list.lines().any(|line| line.starts_with(mode) && line.ends_with(&format!(" {path}")));
        assert!(found, "{path} is not there as {mode}:\n{list}");
    }
    let control = folder.path().join("control");
    run(Command::new("dpkg-deb").arg("-e").arg(&package).arg(&control));
    assert_eq!(fs::read_to_string(control.join("conffiles")).unwrap().trim(), "/etc/redan/proxy.toml");
    let about = fs::read_to_string(control.join("control")).unwrap();
    assert!(about.contains(&format!("Version: {}-1\n", env!("CARGO_PKG_VERSION"))), "{about}");
    assert!(about.contains("libc6 (>= ") && about.contains("passwd"), "{about}");
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").arg("-n").arg(control.join(script)));
    }
    assert!(fs::read_to_string(control.join("postinst")).unwrap().contains("useradd --system"));
    machine::install(&package);
    let unpacked = folder.path().join("unpacked");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked));
    let version = run(Command::new(unpacked.join("usr/bin/redan")).arg("--version"));
    assert_eq!(version.trim(), format!("redan {}", env!("CARGO_PKG_VERSION")));
}
