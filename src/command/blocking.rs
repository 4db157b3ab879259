//! Whether an XREAD or XREADGROUP waits, which decides between a lane and a connection of its own.

/// Whether `arguments` (the command's name first) ask to wait: `BLOCK` as an option, not as the name of a group, a
/// consumer or a stream, nor as another option's value.
///
/// An option it does not know is passed over alone. Should a later server give it a value, and should that be
/// `BLOCK`, the answer is true where it should be false: that costs a pin, the other error would stall a lane.
pub(crate) fn has_block_option<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut arguments = arguments.into_iter().skip(1);
    while let Some(option) = arguments.next() {
        let values = if option.eq_ignore_ascii_case(b"STREAMS") {
            return false;
        } else if option.eq_ignore_ascii_case(b"BLOCK") {
            return true;
        } else if option.eq_ignore_ascii_case(b"GROUP") {
            2
        } else {
            // CLAIM (Redis 8.4) and COUNT take a number, NOACK nothing.
            usize::from(option.eq_ignore_ascii_case(b"COUNT") || option.eq_ignore_ascii_case(b"CLAIM"))
        };
        for _ in 0..values {
            arguments.next();
        }
    }
    false
}

/// In what a command counts how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// With a fraction.
    Seconds,
    Milliseconds,
}

/// Which of its arguments (the name is number 0) says how long the command `name` waits. `None`: none is known.
pub(crate) fn timeout_place<'a>(name: &str, arguments: impl IntoIterator<Item = &'a [u8]>) -> Option<(usize, Unit)> {
    let mut arguments = arguments.into_iter();
    match name {
        "blpop" | "brpop" | "bzpopmin" | "bzpopmax" | "brpoplpush" | "blmove" => {
            Some((arguments.count().checked_sub(1)?, Unit::Seconds))
        }
        "blmpop" | "bzmpop" => Some((1, Unit::Seconds)),
        // The option that `has_block_option` found is the first of this name that is no other option's value; a group of
        // this name would stand before it, behind GROUP.
        "xread" | "xreadgroup" => {
            let mut place = 1;
            arguments.next();
            while let Some(option) = arguments.next() {
                if option.eq_ignore_ascii_case(b"BLOCK") {
                    return Some((place + 1, Unit::Milliseconds));
                }
                let values = if option.eq_ignore_ascii_case(b"GROUP") {
                    2
                } else if option.eq_ignore_ascii_case(b"STREAMS") {
                    return None;
                } else {
                    usize::from(option.eq_ignore_ascii_case(b"COUNT") || option.eq_ignore_ascii_case(b"CLAIM"))
                };
                for _ in 0..values {
                    arguments.next();
                }
                place += 1 + values;
            }
            None
        }
        _ => None,
    }
}

/// Whether an XREAD asks for what comes after this moment, which means something else a moment later: `$` among the ids.
pub(crate) fn reads_from_now<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut arguments = arguments.into_iter();
    if !arguments.next().is_some_and(|name| name.eq_ignore_ascii_case(b"XREAD")) {
        return false;
    }
    let streams: Vec<&[u8]> = arguments.skip_while(|word| !word.eq_ignore_ascii_case(b"STREAMS")).skip(1).collect();
    streams[streams.len() / 2..].contains(&&b"$"[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn the_timeout_is_found_where_servers_read_it() {
        let seconds = |at| Some((at, Unit::Seconds));
        #[rustfmt::skip]
        let table = [
            ("BLPOP a b 0", seconds(3)),
            ("brpoplpush a b 1.5", seconds(3)),
            ("BLMOVE a b LEFT LEFT 2", seconds(5)),
            ("BLMPOP 3 1 a LEFT", seconds(1)),
            ("BZMPOP 3 1 a MIN COUNT 5", seconds(1)),
            ("XREAD BLOCK 100 STREAMS s $", Some((2, Unit::Milliseconds))),
            ("XREAD COUNT 2 block 100 STREAMS s $", Some((4, Unit::Milliseconds))),
            ("XREADGROUP GROUP block block NOACK BLOCK 7 STREAMS s >", Some((6, Unit::Milliseconds))),
            ("XREAD STREAMS block 0", None),
            ("MODULE.BLOCK 7", None),
        ];
        for (line, expected) in table {
            let name = line.split(' ').next().expect("a name").to_ascii_lowercase();
            assert_eq!(timeout_place(&name, words(line)), expected, "{line}");
        }
    }

    #[test]
    fn only_an_id_means_now() {
        for (line, expected) in [
            ("XREAD BLOCK 0 STREAMS s $", true),
            ("XREAD BLOCK 0 STREAMS a b 0 $", true),
            ("XREAD BLOCK 0 STREAMS $ 0", false),
            ("XREAD BLOCK 0 STREAMS", false),
            ("BLPOP $ 0", false),
        ] {
            assert_eq!(reads_from_now(words(line)), expected, "{line}");
        }
    }
}
