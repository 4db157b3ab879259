//! What the configuration's readers ask of the file system: can it be read, what secret does it hold.
//!
//! Answers a value or one sentence that names the file. Contents of certificates are not judged here.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Secret;

/// A configuration or users file of ten thousand entries has less than 1 MiB; what is longer was named by mistake.
const TEXT: u64 = 1024 * 1024;

/// The longest password Redan sends. Redis itself takes any; 4 KiB tells a password from a wrong file.
const SECRET: u64 = 4096;

fn failed(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "create it or correct the path (relative paths start at the file that names them)",
        io::ErrorKind::PermissionDenied => "let the user that Redan runs as read it",
        _ => "name another file",
    };
    format!("{} cannot be read: {error}; {advice}", path.display())
}

/// Opens and closes the file.
pub(super) fn readable(path: &Path) -> Result<(), String> {
    open(path).map(drop)
}

/// Opening a FIFO would wait for a writer, so the kind is asked first. (Process substitution makes FIFOs, but
/// a file that is read again on every reload cannot be one.)
fn open(path: &Path) -> Result<File, String> {
    let metadata = path.metadata().map_err(|error| failed(path, &error))?;
    if !metadata.is_file() {
        return Err(format!("{} is not a regular file; name one", path.display()));
    }
    File::open(path).map_err(|error| failed(path, &error))
}

fn read(path: &Path, limit: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    open(path)?.take(limit + 1).read_to_end(&mut bytes).map_err(|error| failed(path, &error))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{} is longer than {limit} bytes; is it the right file?", path.display()));
    }
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text; is it the right file?", path.display()))
}

/// A whole TOML file.
pub(super) fn text(path: &Path) -> Result<String, String> {
    read(path, TEXT)
}

/// A password: the file without one newline at its end, which editors and `echo` put there.
pub(super) fn secret(path: &Path) -> Result<Secret, String> {
    let text = read(path, SECRET)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(format!("{} is empty; write the password into it", path.display()));
    }
    if line.contains(['\n', '\r', '\0']) {
        return Err(format!("{} has more than one line; a password file holds the password alone", path.display()));
    }
    Ok(Secret::new(line))
}

/// Whether any user of the machine may read the file. A file that cannot be asked has been reported already.
pub(super) fn readable_by_all(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
