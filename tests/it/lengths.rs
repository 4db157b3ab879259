//! Files and functions stay short enough to be read at one go: counted in the source files themselves, tests too.
//!
//! A file that grows too long holds two ideas, a function that does is more than one step. What is too long is to be divided by
//! what it is about; there is no table of exceptions.

use crate::support::sources::Source;

const LINES_OF_A_FILE: usize = 500;
const LINES_OF_A_FUNCTION: usize = 70;

const FOLDERS: &[&str] = &["src", "tests", "benches", "fuzz/fuzz_targets"];

struct Function<'a> {
    name: &'a str,
    /// Where it begins.
    line: usize,
    /// From `fn` to the closing brace.
    lines: usize,
}

/// Every function that has a body, also inside of another one.
fn functions(code: &str) -> impl Iterator<Item = Function<'_>> {
    code.match_indices("fn ").filter_map(|(at, word)| {
        let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
        let signature = &code[at + word.len()..];
        let name = &signature[..signature.find(|letter| !is_letter(letter))?];
        if code[..at].ends_with(is_letter) || name.is_empty() {
            return None;
        }
        let body = body(signature)?;
        let lines = signature[..body].matches('\n').count() + 1;
        Some(Function { name, line: code[..at].matches('\n').count() + 1, lines })
    })
}

/// Where the body behind this signature ends; `None` if there is none.
fn body(signature: &str) -> Option<usize> {
    let (mut parentheses, mut braces) = (0_usize, 0_usize);
    for (at, letter) in signature.char_indices() {
        match letter {
            '(' | '[' => parentheses += 1,
            ')' | ']' => parentheses -= 1,
            ';' if parentheses == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' if braces == 1 => return Some(at),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

/// One sentence for each thing that is too long.
fn violations(folder: &str, source: &Source) -> Vec<String> {
    let path = format!("{folder}/{}", source.path);
    let mut wrong = Vec::new();
    let lines = source.text.lines().count();
    if lines > LINES_OF_A_FILE {
        wrong.push(format!(
            "{path} has {lines} lines, {LINES_OF_A_FILE} at the most: give one of its ideas a file of its own"
        ));
    }
    let code = source.code();
    for Function { name, line, lines } in functions(&code).filter(|function| function.lines > LINES_OF_A_FUNCTION) {
        wrong.push(format!(
            "{path}:{line}: `{name}` has {lines} lines, {LINES_OF_A_FUNCTION} at the most: give a step of it a name of its own"
        ));
    }
    wrong
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for folder in FOLDERS {
        let sources = Source::below(folder);
        assert!(!sources.is_empty(), "no file was found in {folder}");
        wrong.extend(sources.iter().flat_map(|source| violations(folder, source)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_too_long_is_found() {
    let said = |text: String| violations("src", &Source { path: "net.rs".to_owned(), text });
    let function = |signature: &str, lines: usize| format!("\n{signature} {{{}}}\n", "\n".repeat(lines - 1));
    assert_eq!(said("\n".repeat(500)), Vec::<String>::new());
    assert_eq!(said("\n".repeat(501)).len(), 1);
    for signature in [
        "fn f()",
        "pub(crate) async fn f<T>(x: [u8; 3]) -> T\nwhere T: X",
        "fn f(_: fn(u8))",
        "impl X { fn f(&'a self)",
    ] {
        let more = signature.matches('\n').count();
        assert_eq!(said(function(signature, 70 - more)), Vec::<String>::new(), "{signature}");
        let said = said(function(signature, 71 - more));
        assert!(said.len() == 1 && said[0].starts_with("src/net.rs:2: `f` has 71 lines"), "{signature}: {said:?}");
    }
}

#[test]
fn braces_that_are_none_do_not_count() {
    for inside in [
        "// {",
        "/* { */",
        "'{'",
        "'\\''; '{'",
        "\"{\"",
        "\"\\\"{\"",
        "b\"{\"",
        "r\"{\\\"",
        "r#\"\"{\"#",
        "&'a (); '{'",
    ] {
        let source = Source { path: String::new(), text: format!("fn f() {{\n    {inside}\n}}\n\nfn g() {{}}\n") };
        let code = source.code();
        let found: Vec<_> = functions(&code).map(|function| (function.name, function.line, function.lines)).collect();
        assert_eq!(found, [("f", 1, 3), ("g", 5, 1)], "{inside}");
    }
    assert_eq!(functions("trait X { fn f(&self) -> [u8; 3]; }\nmy_fn (x) {}").count(), 0);
}
