//! Text of the configuration into values: durations, addresses, hashes. Pure: no files, no findings.
//!
//! Every function answers a value or one sentence, without the setting's name, that says what it would take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::identity::Identity;

/// `500ms`, `10s`, `5m`, `1h`, `2d`. A number without a unit is refused: half of the readers would take it for
/// seconds, the other half for milliseconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a duration; write a whole number and a unit: 500ms, 10s, 5m, 1h or 2d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor_ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// The shortest text `duration` reads as this value; for messages about ranges.
pub(super) fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.into_iter().find(|(factor, _)| ms >= *factor && ms.is_multiple_of(*factor));
    whole.map_or_else(
        || if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") },
        |(factor, unit)| format!("{}{unit}", ms / factor),
    )
}

/// The name of a zone, as clouds and operators have them.
pub(super) fn zone(text: &str) -> Result<Arc<str>, String> {
    let plain = (1..=64).contains(&text.len()) && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    plain.then(|| text.into()).ok_or_else(|| format!("\"{text}\" is no zone; write 1 to 64 letters without spaces"))
}

/// `512b`, `64kb`, `32mb`, `2gb`, in either case: a whole number and a unit, in powers of 1024 as in redis.conf. A
/// number without a unit is refused, and so is `64m`, which redis.conf reads as 64,000,000 and most people do not.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is not a size; write a whole number and a unit: 512b, 64kb, 32mb or 2gb");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "b" => 0,
        "kb" => 10,
        "mb" => 20,
        "gb" => 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// The shortest text `size` reads as this value; for messages about ranges.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [(30, "gb"), (20, "mb"), (10, "kb")];
    let whole = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    whole.map_or_else(|| format!("{bytes}b"), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// An address to listen on. Names are not resolved here: which of a name's addresses was meant would depend on
/// the resolver of the day.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("\"{text}\" is not an IP address and port; write for instance \"127.0.0.1:6380\" or \"[::1]:6380\"")
    })
}

/// `host:port` of a node, which may be a name. Returns the host as well, without the brackets of IPv6.
pub(super) fn node_address(text: &str) -> Result<&str, String> {
    let wrong = |why: &str| {
        format!("\"{text}\" is not a node's address ({why}); write \"host:port\", IPv6 in brackets: \"[::1]:6379\"")
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("it has no port"))?;
    if !matches!(port.parse::<u16>(), Ok(1..)) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("the port must be a number from 1 to 65535"));
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        inner.parse::<std::net::Ipv6Addr>().map_err(|_| wrong("what stands in brackets is not an IPv6 address"))?;
        return Ok(inner);
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    match host {
        "" => Err(wrong("it has no host")),
        _ if host.contains(':') => Err(wrong("an IPv6 address needs brackets")),
        _ if !host.bytes().all(is_name) => Err(wrong("the host has a character that no host name has")),
        _ => Ok(host),
    }
}

/// Names appear in errors to clients and in labels of metrics, so they keep to what needs no quoting there.
pub(super) fn name(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("\"{text}\" is not a name; use 1 to 64 letters, digits, dots, dashes and underscores"))
}

/// The permission bits of a Unix socket, in octal.
pub(super) fn permissions(text: &str) -> Result<u32, String> {
    let octal = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(bits @ 1..=0o777) if octal => Ok(bits),
        _ => Err(format!("\"{text}\" is not a file mode; write octal permission bits such as \"0700\" or \"0770\"")),
    }
}

/// `sha256:` and 64 hexadecimal digits, or `#` and the same, as `ACL SETUSER` writes it.
pub(super) fn password_hash(text: &str) -> Result<[u8; 32], String> {
    // The text is not repeated: whoever wrote a password here by mistake should not read it in a log.
    let wrong = || "a password hash is \"sha256:\" and 64 hexadecimal digits; `redan passwd` makes one".to_owned();
    let hex = text.strip_prefix("sha256:").or_else(|| text.strip_prefix('#')).ok_or_else(wrong)?;
    sha256(hex).ok_or_else(wrong)
}

/// `sha256:` and 64 hexadecimal digits: a public key.
pub(crate) fn pin(text: &str) -> Result<[u8; 32], String> {
    text.strip_prefix("sha256:").and_then(sha256).ok_or_else(|| {
        format!(
            "\"{text}\" is not a pin; write \"sha256:\" and 64 hexadecimal digits, as `redan cert pin FILE` prints it"
        )
    })
}

/// The keys of one peer of a link, with spaces between them.
pub(crate) fn peer(text: &str) -> Result<Vec<Identity>, String> {
    let key = |word: &str| word.parse::<Identity>().map_err(|why| format!("\"{word}\" is no identity: {why}"));
    let keys = text.split_whitespace().map(key).collect::<Result<Vec<_>, String>>()?;
    if keys.is_empty() {
        return Err("\"\" is no identity: copy the line that `redan keygen` printed at the other end".to_owned());
    }
    Ok(keys)
}

fn sha256(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16).unwrap_or(0) as u8;
        *byte = digit(0) << 4 | digit(1);
    }
    Some(hash)
}

/// A filter of `tracing`: `info`, or `redan::control=debug,info`. Checked here because the library takes any
/// unknown word for the name of a module, and a mistyped level would silence the log without a word.
pub(crate) fn log_filter(text: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let module = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
        !name.is_empty() && name.bytes().all(allowed)
    };
    let valid = |part: &str| match part.split_once('=') {
        Some((target, level)) => module(target) && LEVELS.contains(&level),
        None => LEVELS.contains(&part),
    };
    if text.split(',').all(valid) {
        return Ok(());
    }
    Err(format!(
        "\"{text}\" is not a log level; write off, error, warn, info, debug or trace, or several parts such as \
         \"redan::control=debug,info\""
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_come_back_as_they_were_written() {
        for text in ["0s", "1ms", "500ms", "10s", "5m", "1h", "2d", "1500ms", "90s", "25h"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["", "10", "s", "1.5s", "-1s", "10 s", "10S", "10sec", "99999999999999999999s", "9999999999999999d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_need_a_unit_and_come_back_as_they_were_written() {
        for text in ["0b", "1b", "1kb", "1023kb", "1mb", "64mb", "1gb", "1025mb", "1048577b"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        assert_eq!(size("2GB"), Ok(2 << 30));
        for text in ["", "64", "64m", "mb", "1.5gb", "-1mb", "64 mb", "64mib", "18446744073709551616b", "17179869184gb"]
        {
            let message = size(text).unwrap_err();
            assert!(message.contains("64kb"), "{text}: {message}");
        }
    }

    #[test]
    fn node_addresses() {
        for (text, host) in [
            ("10.0.0.1:6379", "10.0.0.1"),
            ("redis-0.redis.svc:6379", "redis-0.redis.svc"),
            ("[::1]:6379", "::1"),
            ("my_host:1", "my_host"),
        ] {
            assert_eq!(node_address(text), Ok(host));
        }
        for text in
            ["", "host", "host:", ":6379", "host:0", "host:65536", "host:+80", "::1:6379", "[x]:1", "a b:1", "a/b:1"]
        {
            assert!(node_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn permissions_are_octal() {
        for (text, bits) in [("0700", 0o700), ("770", 0o770), ("0666", 0o666)] {
            assert_eq!(permissions(text), Ok(bits));
        }
        for text in ["", "0", "0800", "rwx", "07777", "1777", "+700"] {
            assert!(permissions(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hashes_are_read_in_both_notations_and_never_repeated() {
        let hex = "00112233445566778899aabbccddeeffFFEEDDCCBBAA99887766554433221100";
        let hash = password_hash(&format!("sha256:{hex}")).unwrap();
        assert_eq!((hash[0], hash[1], hash[15], hash[16], hash[31]), (0x00, 0x11, 0xff, 0xff, 0x00));
        assert_eq!(password_hash(&format!("#{hex}")), Ok(hash));
        for text in ["hunter2", "sha256:", "sha256:abc", &format!("sha256:{hex}0"), &format!("sha256:g{}", &hex[1..])] {
            let message = password_hash(text).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_mistyped_level_is_no_module() {
        for text in ["info", "redan::control=debug,info", "off", "warn,hyper=error"] {
            assert_eq!(log_filter(text), Ok(()));
        }
        for text in ["", "inof", "info,", "redan=loud", "=info", "redan"] {
            assert!(log_filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        assert_eq!(name("main-1.eu_west"), Ok(()));
        for text in ["", "a b", "a\"b", "ä", &"x".repeat(65)] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
