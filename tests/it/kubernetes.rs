//! The manifests in docs/kubernetes/: Kubernetes would take them, and Redan would take the settings in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::left_out::{left_out, target};

fn manifests() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kubernetes");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 2, "{files:?}");
    files
}

#[test]
fn the_manifests_are_what_kubernetes_takes() {
    let tool = target().join("tools/kubernetes/bin/kubernetes-validate");
    if !tool.exists() {
        return left_out("docs/kubernetes", &format!("there is no {}: make kubernetes-schemas", tool.display()));
    }
    let valid = |files: &[PathBuf]| {
        let output =
            Command::new(&tool).args(["--strict", "--kubernetes-version", "1.30"]).args(files).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said.into_owned())
    };
    let (good, said) = valid(&manifests());
    assert!(good, "{said}");
    // The tool finds what is wrong.
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.yaml");
    let text = fs::read_to_string(&manifests()[0]).unwrap();
    fs::write(&broken, text.replacen("readinessProbe:", "readynessProbe:", 1)).unwrap();
    assert!(!valid(&[broken]).0);
}

/// The lines below `key: |`, without their indentation.
fn block(text: &str, key: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("{key}: |\n"))?;
    let indent = rest.len() - rest.trim_start_matches(' ').len();
    let inside = |line: &&str| line.trim().is_empty() || line.len() - line.trim_start().len() >= indent;
    let lines = rest.lines().take_while(inside).map(|line| line.get(indent..).unwrap_or_default());
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// With files below `folder` in the places where secrets are mounted.
fn here(text: &str, folder: &Path) -> String {
    let text = text.replace("/etc/redan/", &format!("{}/", folder.display()));
    for named in text.split('"').map(Path::new).filter(|path| path.is_absolute()) {
        fs::create_dir_all(named.parent().unwrap()).unwrap();
        fs::write(named, "judged by whoever loads it\n").unwrap();
    }
    text
}

#[test]
fn the_settings_in_the_manifests_are_settings() {
    let mut found = 0;
    for path in manifests() {
        let text = fs::read_to_string(&path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_redan"));
        check.arg("check").env_clear();
        if let Some(toml) = block(&text, "proxy.toml") {
            let file = folder.path().join("proxy.toml");
            fs::write(&file, here(&toml, folder.path())).unwrap();
            check.arg(file);
        }
        // Without the file, what the container is given; a variable of a Secret has its own form, with more lines.
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(name) = line.trim().strip_prefix("- name: REDAN_") else { continue };
            let value = lines.peek().and_then(|next| next.trim().strip_prefix("value: "));
            let value = here(value.unwrap_or("a word"), folder.path());
            check.env(format!("REDAN_{name}"), value.trim_matches('"'));
        }
        let output = check.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        // Nobody has the names of the nodes here, which is the one thing that may be wrong.
        assert_eq!(output.status.code(), Some(1), "{}: {said}", path.display());
        found += 1;
    }
    assert!(found >= 2);
}
