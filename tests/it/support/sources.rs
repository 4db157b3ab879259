//! The project's own source files, for tests that read them.

use std::fs;
use std::path::Path;

/// A source file, with `/` in its path.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// All below a folder of the project, whose name their paths lack.
    pub(crate) fn below(folder: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut sources = Vec::new();
        read(&root, &root, &mut sources);
        sources
    }

    /// Without comments and what stands in quotes; every line is where it was.
    pub(crate) fn code(&self) -> String {
        let (mut code, mut rest) = (String::with_capacity(self.text.len()), self.text.as_str());
        while let Some(letter) = rest.chars().next() {
            let behind_a_word = code.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
            let aside = aside(rest, behind_a_word).unwrap_or(0);
            if aside == 0 {
                code.push(letter);
            }
            let (passed, next) = rest.split_at(if aside == 0 { letter.len_utf8() } else { aside });
            if aside > 0 {
                code.push(' ');
                code.extend(passed.matches('\n'));
            }
            rest = next;
        }
        code
    }
}

/// How long the comment, the text or the character is that `code` begins with.
fn aside(code: &str, behind_a_word: bool) -> Option<usize> {
    let up_to = |end: &str, from: usize| code[from..].find(end).map_or(code.len(), |at| from + at + end.len());
    if code.starts_with("//") {
        return Some(code.find('\n').unwrap_or(code.len()));
    }
    if code.starts_with("/*") {
        return Some(up_to("*/", 2));
    }
    let raw = code.strip_prefix('b').unwrap_or(code).strip_prefix('r').filter(|_| !behind_a_word);
    if let Some(raw) = raw {
        let marks = raw.trim_start_matches('#');
        if marks.starts_with('"') {
            let hashes = "#".repeat(raw.len() - marks.len());
            return Some(up_to(&format!("\"{hashes}"), code.len() - marks.len() + 1));
        }
    }
    let quote = code.chars().next()?;
    let lifetime = || !code.starts_with("'\\") && code.chars().nth(2) != Some('\'');
    if quote != '"' && (quote != '\'' || lifetime()) {
        return None;
    }
    let mut letters = code.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            _ if letter == quote => return Some(at + 1),
            _ => {}
        }
    }
    Some(code.len())
}

fn read(folder: &Path, root: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() {
            read(&path, root, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8").replace('\\', "/");
            sources.push(Source { path: relative, text: fs::read_to_string(&path).expect("a source file is text") });
        }
    }
}
