//! Whether a channel matches a pattern, by the rules of the servers' `stringmatchlen`.
//!
//! Pure. Used to count the clients that a PUBLISH reached through their patterns; who gets a message the node decides.
//! Oddities are kept, for a count that differs from the server's would be wrong: an unclosed `[` ends with the pattern, a
//! range may be turned around, a backslash at the end stands for itself.
//!
//! Where a star fails only the last one is tried again, so a hostile pattern costs the product of both lengths at most.

pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        // Servers do not look at a pattern when there is nothing to look at.
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and the first byte of the text that it has not swallowed.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if t == text.len() {
            return p == pattern.len();
        }
        match one(&pattern[p..], text[t]) {
            Some(len) => {
                p += len;
                t += 1;
            }
            None => {
                let Some((behind, swallowed)) = star else {
                    return false;
                };
                star = Some((behind, swallowed + 1));
                (p, t) = (behind, swallowed + 1);
            }
        }
    }
}

/// How much of the pattern, which does not begin with a star, matches this byte; `None` if it does not.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => set(pattern, byte),
        b'\\' if pattern.len() >= 2 => (pattern[1] == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

/// `[abc]`, `[^a-z]`: as servers read it, one byte behind the other.
fn set(pattern: &[u8], byte: u8) -> Option<usize> {
    let not = pattern.get(1) == Some(&b'^');
    let mut at = if not { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern.get(at) {
            // Unclosed: the pattern ends with it.
            None => break,
            Some(b']') => {
                at += 1;
                break;
            }
            Some(b'\\') if pattern.len() - at >= 2 => {
                found |= pattern[at + 1] == byte;
                at += 2;
            }
            Some(&first) if pattern.len() - at >= 3 && pattern[at + 1] == b'-' => {
                let last = pattern[at + 2];
                found |= (first.min(last)..=first.max(last)).contains(&byte);
                at += 3;
            }
            Some(&single) => {
                found |= single == byte;
                at += 1;
            }
        }
    }
    (found != not).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_servers_match() {
        // Each row was asked of redis-server 7.0.15: a client subscribed to the pattern, PUBLISH on the text.
        for (pattern, text, expected) in [
            ("*", "", false),
            ("", "", true),
            ("", "a", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("**a", "a", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hbllo", true),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("[a", "a", true),
            ("[", "a", false),
            ("[^", "a", true),
            ("[]", "a", false),
            ("[]a]", "]", false),
            ("[a-", "-", true),
            ("[a-]", "b", false),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("a\\", "a", false),
            ("A", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_the_product_of_the_lengths() {
        let pattern = b"a*".repeat(500);
        let text = [b'a'; 1000];
        let start = std::time::Instant::now();
        assert!(matches(&pattern, &text));
        assert!(!matches(&[&pattern[..], b"b"].concat(), &text));
        assert!(start.elapsed() < std::time::Duration::from_secs(2));
    }
}
