//! The files of one TLS setting as they were at one moment, so that what is compared is also what is used.
//!
//! Read by `server` and `nodes` at the start, and again and again by `renewal`. Its digest says whether anything has changed;
//! names and times of files do not: Kubernetes swaps links, network file systems round times.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::TlsError;

/// A revocation list of a million entries has 40 MB. What is longer was named by mistake.
const LONGEST: u64 = 64 * 1024 * 1024;

/// SHA-256 of the contents of several files.
pub(crate) type Digest = [u8; 32];

#[derive(Debug, Default)]
pub(crate) struct Contents(BTreeMap<PathBuf, Result<Vec<u8>, String>>);

impl Contents {
    pub(crate) fn read<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let read = |file: &Path| (file.to_owned(), whole(file).map_err(|error| error.to_string()));
        Self(files.into_iter().map(read).collect())
    }

    /// Of all of them, those that cannot be read included.
    pub(crate) fn digest(&self) -> Digest {
        self.digest_of(self.0.keys().map(PathBuf::as_path))
    }

    pub(super) fn digest_of<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Digest {
        let mut context = Context::new(&SHA256);
        for file in files {
            let (kind, bytes) = match self.0.get(file) {
                Some(Ok(bytes)) => (1, &bytes[..]),
                Some(Err(problem)) => (2, problem.as_bytes()),
                None => (3, &[][..]),
            };
            // With their lengths, so that no two lists of files come to the same bytes.
            context.update(&[kind]);
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }

    pub(super) fn of(&self, file: &Path) -> Result<&[u8], TlsError> {
        let unreadable = |problem: &str| TlsError::Unreadable { file: file.to_owned(), problem: problem.to_owned() };
        match self.0.get(file) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(problem)) => Err(unreadable(problem)),
            None => Err(unreadable("it was not read: a defect of Redan")),
        }
    }
}

fn whole(file: &Path) -> io::Result<Vec<u8>> {
    // Opening a FIFO would wait for a writer.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other("it is longer than 64 MiB; is it the right file?"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_what_stands_in_the_files_and_of_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        let write = |one: &str, other: &str| {
            std::fs::write(&a, one).expect("writable");
            std::fs::write(&b, other).expect("writable");
            Contents::read([a.as_path(), b.as_path()]).digest()
        };
        let first = write("one", "two");
        assert_ne!(first, write("onet", "wo"), "where a file ends counts");
        assert_ne!(first, write("two", "one"));
        assert_eq!(first, write("one", "two"), "when it was written does not");
        std::fs::remove_file(&b).expect("it was there");
        let contents = Contents::read([a.as_path(), b.as_path()]);
        assert_ne!(first, contents.digest());
        assert!(contents.of(&a).is_ok());
        assert!(contents.of(&b).expect_err("it is gone").to_string().contains("cannot be read"));
        assert!(whole(folder.path()).expect_err("a folder").to_string().contains("not a regular file"));
    }
}
