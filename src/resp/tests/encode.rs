//! What Redan writes, byte for byte.

use proptest::prelude::*;

use crate::resp::encode;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("the cases here are text")
}

#[test]
fn each_form_in_both_versions() {
    assert_eq!(written(|out| encode::command(out, &[b"GET", b"k"])), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    assert_eq!(written(|out| encode::simple(out, "OK")), "+OK\r\n");
    assert_eq!(written(|out| encode::error(out, "ERR no")), "-ERR no\r\n");
    assert_eq!(written(|out| encode::bulk(out, b"")), "$0\r\n\r\n");
    let pair = |write: fn(&mut Vec<u8>, bool)| (written(|out| write(out, false)), written(|out| write(out, true)));
    let both = |resp2: &str, resp3: &str| (resp2.to_owned(), resp3.to_owned());
    assert_eq!(pair(encode::null), both("$-1\r\n", "_\r\n"));
    assert_eq!(pair(encode::null_array), both("*-1\r\n", "_\r\n"));
    assert_eq!(pair(|out, resp3| encode::map(out, 7, resp3)), both("*14\r\n", "%7\r\n"));
    assert_eq!(pair(|out, resp3| encode::set(out, 12, resp3)), both("*12\r\n", "~12\r\n"));
    assert_eq!(pair(|out, resp3| encode::verbatim(out, "id=1", resp3)), both("$4\r\nid=1\r\n", "=8\r\ntxt:id=1\r\n"));
}

#[test]
fn no_line_break_gets_into_a_line() {
    let hostile = "ERR unknown command 'x\r\n+OK\r\n'";
    assert_eq!(written(|out| encode::error(out, hostile)), "-ERR unknown command 'x  +OK  '\r\n");
    assert_eq!(written(|out| encode::simple(out, "a\nb")), "+a b\r\n");
}

proptest! {
    #[test]
    fn integers_are_written_as_the_standard_library_would(value in any::<i64>(), shift in 0..64_u32) {
        for value in [value, value >> shift, i64::MIN, i64::MAX, 0, 9, 10, -1] {
            prop_assert_eq!(written(|out| encode::integer(out, value)), format!(":{value}\r\n"));
        }
    }
}
