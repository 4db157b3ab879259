//! How many files the process has open: the number that ends in "too many open files".
//!
//! Opened before Redan gives up its view of other files; what is open may be read for ever.

use std::sync::Mutex;

use rustix::fs::{Dir, Mode, OFlags, open};

/// `/proc/self/fd`. Behind a lock for its place in the list alone: only the admin thread reads it.
#[derive(Debug)]
pub(crate) struct OpenFiles(Option<Mutex<Dir>>);

impl OpenFiles {
    pub(crate) fn open() -> Self {
        let folder = open("/proc/self/fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Self(folder.and_then(Dir::new).ok().map(Mutex::new))
    }

    /// `None` on systems without `/proc`.
    pub(crate) fn count(&self) -> Option<u64> {
        let mut folder = self.0.as_ref()?.lock().ok()?;
        folder.rewind();
        // `.` and `..` are no files of the process.
        let names =
            folder.by_ref().filter_map(Result::ok).filter(|entry| !entry.file_name().to_bytes().starts_with(b"."));
        Some(names.count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_is_counted_each_time_it_is_asked() {
        let files = OpenFiles::open();
        let before = files.count().expect("this system has /proc");
        let more: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").expect("readable")).collect();
        // Other tests of this process open and close some meanwhile.
        assert!(files.count().expect("counted") >= before + 50, "{before}");
        drop(more);
    }
}
