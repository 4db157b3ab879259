//! What must hold of the reader of configurations for any text whatever; panics where it does not. No part of the product.

use std::env::VarError;
use std::path::Path;

use super::diff::Diff;
use super::read;

/// Odd seeds have an environment with everything in it.
pub(crate) fn file(seed: u8, text: &str) {
    let environment = |name: &str| match (seed & 1, name) {
        (0, _) => Err(VarError::NotPresent),
        (_, "EMPTY") => Ok(String::new()),
        _ => Ok("127.0.0.1:6379".to_owned()),
    };
    let load = || read::load_file(Path::new("proxy.toml"), text, &environment);
    match (load(), load()) {
        (Ok(one), Ok(other)) => {
            assert!(Diff::between(&one, &other).is_empty(), "it differs from itself");
        }
        (Err(one), Err(other)) => {
            assert_eq!(one.lines(), other.lines());
            assert!(!one.lines().is_empty(), "it is refused, and nothing is said");
            let defect = one.lines().iter().find(|line| line.is_empty() || line.contains("a defect of Redan"));
            assert_eq!(defect, None, "it is refused without a reason");
        }
        _ => panic!("it is read once and refused once"),
    }
}

#[cfg(test)]
mod tests {
    use super::file;

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_with_a_reason(seed: u8, text: String) {
            file(seed, &text);
        }

        #[test]
        fn the_example_with_a_piece_of_it_elsewhere_is_read_or_refused_with_a_reason(
            seed: u8,
            from in 0_usize..300,
            lines in 0_usize..20,
            to in 0_usize..300,
        ) {
            // Every setting is switched on: its mark has no space behind it.
            let on = |line: &'static str| line.strip_prefix('#').filter(|on| !on.starts_with([' ', '#'])).unwrap_or(line);
            let example: Vec<&str> = include_str!("../../proxy.toml").lines().map(on).collect();
            let (from, to) = (from % example.len(), to % example.len());
            let piece = &example[from..(from + lines).min(example.len())];
            let text = [&example[..to], piece, &example[to..]].concat().join("\n");
            file(seed, &text);
        }
    }
}
