//! Everything found wrong in the configuration, each with its place, so that one run of `redan check` shows it all.
//!
//! The readers beside this file report here and go on with a stand-in value; `load` looks at the end. Nothing
//! in here may decide what is wrong.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a configuration cannot be used: one line per finding, `proxy.toml:12: what is wrong; what to do`.
#[derive(Debug)]
pub(crate) struct Errors(Vec<String>);

impl Errors {
    pub(super) fn one(line: String) -> Self {
        Self(vec![line])
    }

    pub(super) fn of(lines: Vec<String>) -> Self {
        Self(lines)
    }

    /// With one more line at the end.
    pub(super) fn and(mut self, line: &str) -> Self {
        self.0.push(line.to_owned());
        self
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Errors {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

#[derive(Debug)]
struct Finding {
    severity: Severity,
    /// Files in the order they were opened: the main file is 0 and comes first.
    file: usize,
    line: usize,
    text: String,
}

/// The findings of one load, over all files it read.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: RefCell<Vec<Finding>>,
    files: RefCell<usize>,
}

impl Findings {
    /// Errors when there is one, else the warnings; both in the order of files and lines.
    pub(super) fn conclude(self) -> Result<Vec<String>, Errors> {
        let mut list = self.list.into_inner();
        // The sort is stable, so what was found first on a line stays first.
        list.sort_by_key(|finding| (finding.file, finding.line));
        // The TOML parser may say one thing twice.
        list.dedup_by(|later, earlier| later.text == earlier.text);
        let (errors, warnings): (Vec<_>, Vec<_>) = list.into_iter().partition(|f| f.severity == Severity::Error);
        let texts = |findings: Vec<Finding>| findings.into_iter().map(|finding| finding.text).collect::<Vec<_>>();
        if errors.is_empty() { Ok(texts(warnings)) } else { Err(Errors(texts(errors))) }
    }
}

/// One file being read: knows its lines and its name, and takes findings about them.
#[derive(Debug)]
pub(super) struct Source<'a> {
    findings: &'a Findings,
    number: usize,
    /// Empty for what was written from the environment, in which nobody can look a line up.
    path: PathBuf,
    /// Where words of the environment stand, and the names of their variables.
    variables: RefCell<HashMap<usize, Vec<String>>>,
    /// Offset of the first byte of each line, ascending, beginning with 0.
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(findings: &'a Findings, path: &Path, text: &str) -> Self {
        let number = findings.files.replace_with(|count| *count + 1);
        let after_newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self {
            findings,
            number,
            path: path.to_owned(),
            variables: RefCell::default(),
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
        }
    }

    /// What the environment's variables stand for, which is in no file.
    pub(super) fn of_environment(findings: &'a Findings, text: &str) -> Self {
        Self::new(findings, Path::new(""), text)
    }

    /// What stands at `offset` is, in part at least, what the variable `name` holds.
    pub(super) fn comes_from(&self, offset: usize, name: &str) {
        let mut variables = self.variables.borrow_mut();
        let names = variables.entry(offset).or_default();
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    pub(super) fn is_variable(&self, offset: usize) -> bool {
        self.variables.borrow().contains_key(&offset)
    }

    /// Lines count from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// `text` says what is wrong, a semicolon, and what to do.
    pub(super) fn error(&self, offset: usize, text: impl fmt::Display) {
        self.add(Severity::Error, offset, text);
    }

    pub(super) fn warn(&self, offset: usize, text: impl fmt::Display) {
        self.add(Severity::Warning, offset, text);
    }

    /// What the TOML parser could not read.
    pub(super) fn syntax(&self, errors: &[toml::de::Error]) {
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            let what = error.message().trim_end().replace('\n', ", ");
            self.error(offset, format!("{what}; correct the TOML syntax here"));
        }
    }

    fn add(&self, severity: Severity, offset: usize, text: impl fmt::Display) {
        let line = self.line(offset);
        let variables = self.variables.borrow();
        let names = variables.get(&offset).map(|names| names.join(", "));
        let text = match (self.is_file(), names) {
            (true, None) => format!("{}:{line}: {text}", self.path.display()),
            (true, Some(names)) => format!("{}:{line}, {names}: {text}", self.path.display()),
            (false, None) => format!("the environment: {text}"),
            (false, Some(names)) => format!("{names}: {text}"),
        };
        self.findings.list.borrow_mut().push(Finding { severity, file: self.number, line, text });
    }

    /// A path in this file is relative to the file, so that it means the same wherever Redan is started.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or_else(|| Path::new("")).join(path)
    }

    /// It is not what the environment's variables stand for.
    pub(super) fn is_file(&self) -> bool {
        !self.path.as_os_str().is_empty()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn findings(&self) -> &'a Findings {
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_come_in_the_order_of_files_and_lines_and_errors_hide_warnings() {
        let findings = Findings::default();
        let main = Source::new(&findings, Path::new("dir/proxy.toml"), "a\nbb\n\nc");
        let users = Source::new(&findings, Path::new("users.toml"), "x\ny");
        users.error(2, "second file");
        main.warn(0, "only a warning");
        for (offset, line) in [(6, 4), (0, 1), (1, 1), (2, 2), (4, 2), (5, 3), (7, 4)] {
            main.error(offset, format!("offset {offset} is line {line}"));
        }
        assert_eq!(main.resolve("certs/a.pem"), Path::new("dir/certs/a.pem"));
        assert_eq!(main.resolve("/etc/a.pem"), Path::new("/etc/a.pem"));
        assert_eq!(users.resolve("a.pem"), Path::new("a.pem"));
        let errors = findings.conclude().unwrap_err();
        assert_eq!(
            errors.lines(),
            [
                "dir/proxy.toml:1: offset 0 is line 1",
                "dir/proxy.toml:1: offset 1 is line 1",
                "dir/proxy.toml:2: offset 2 is line 2",
                "dir/proxy.toml:2: offset 4 is line 2",
                "dir/proxy.toml:3: offset 5 is line 3",
                "dir/proxy.toml:4: offset 6 is line 4",
                "dir/proxy.toml:4: offset 7 is line 4",
                "users.toml:2: second file",
            ]
        );
        let findings = Findings::default();
        Source::new(&findings, Path::new("p"), "").warn(0, "careful");
        assert_eq!(findings.conclude().unwrap(), ["p:1: careful"]);
    }
}
