//! Whole files in, errors or values out; and the documents held to what the reader knows.

use std::env::VarError;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

mod diff;
mod documents;
mod exposure;
mod links;
mod mistakes;
mod values;

const SHA256_OF_FOO: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// A directory with one of each file a configuration may name, none readable by others.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        for folder in ["certs", "keys", "secrets"] {
            fs::create_dir(directory.0.path().join(folder)).unwrap();
        }
        for file in [
            "certs/redan.pem",
            "certs/redan.key",
            "certs/ca.pem",
            "certs/ca.crl",
            "certs/node.pins",
            "keys/dc1.key",
            "keys/peers",
        ] {
            directory.write(file, "PEM, judged by whoever loads it\n");
        }
        directory.write("secrets/redis", "hunter2\n");
        directory.write("secrets/admin-token", "correct-horse-battery\n");
        directory.write("users.toml", &format!("[[user]]\nname = \"app\"\npasswords = [\"{SHA256_OF_FOO}\"]\n"));
        directory
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn load(&self, text: &str) -> Result<Config, Vec<String>> {
        let path = self.write("proxy.toml", text);
        let environment = |name: &str| match name {
            "REDIS_PASSWORD" => Ok("from the environment".to_owned()),
            "EMPTY" => Ok(String::new()),
            _ => Err(VarError::NotPresent),
        };
        let shorten = |line: &String| line.replace(&format!("{}/", self.0.path().display()), "");
        match read::load_with(&path, &environment) {
            Ok(mut config) => {
                config.warnings = config.warnings.iter().map(shorten).collect();
                Ok(config)
            }
            Err(errors) => Err(errors.lines().iter().map(shorten).collect()),
        }
    }
}

/// A loopback listener and a group, with room for more lines in each: `LISTENER` is line 4, `GROUP` line 8.
fn file(redan: &str, listener: &str, group: &str) -> String {
    format!(
        "[redan]\n{redan}\n[[listener]]\n{listener}\n{}\n[[group]]\n{}\n{group}\n",
        if listener.starts_with("name =") { "" } else { "name = \"app\"" },
        if group.starts_with("name =") { "" } else { "name = \"main\"" },
    )
}

const BIND: &str = "bind = \"127.0.0.1:6380\"";
const NODES: &str = "nodes = [\"127.0.0.1:6379\"]";
