//! The files of `redan cert`: new ones are never written over old ones, and what must change changes as a whole.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// For a private key, and for all else.
pub(super) const SECRET: u32 = 0o600;
pub(super) const PUBLIC: u32 = 0o644;

pub(super) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path)
        .map_err(|error| format!("{}: cannot be read: {error}; check the path and its permissions", path.display()))
}

/// `path` with `.ending` behind it, whatever dots it has already: a host name is full of them.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(ending);
    name.into()
}

/// None of them may be there.
pub(super) fn refuse_existing(paths: &[&Path]) -> Result<(), String> {
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => {
            Err(format!("{} exists already and is kept; move it away, or choose another --out", path.display()))
        }
        None => Ok(()),
    }
}

pub(super) fn create(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| unwritable(path, &error))
}

/// Whoever reads it meanwhile reads the old one or the new one.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let new = with_ending(path, "new");
    // Left by an attempt that was cut off.
    let _ = fs::remove_file(&new);
    create(&new, text, mode)?;
    fs::rename(&new, path).map_err(|error| unwritable(path, &error))
}

pub(super) fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("{}: cannot be written: {error}; check the folder and its permissions", path.display())
}
