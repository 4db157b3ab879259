//! Numbers, times and lines of the past as text, for `redan top`.

use std::collections::VecDeque;

/// `1240`, `12.4k`, `3.1M`; small ones with a decimal.
pub(super) fn rate(number: Option<f64>) -> String {
    match number {
        None => "-".to_owned(),
        Some(number) if number > 0.0 && number < 9.95 => format!("{number:.1}"),
        Some(number) if number < 99_950.0 => format!("{number:.0}"),
        Some(number) if number < 999_500.0 => format!("{:.0}k", number / 1e3),
        Some(number) => format!("{:.1}M", number / 1e6),
    }
}

pub(super) fn bytes(number: Option<f64>) -> String {
    let Some(mut number) = number else { return "-".to_owned() };
    let mut units = ["B", "K", "M", "G"].iter();
    let mut unit = units.next();
    while number >= 1024.0
        && let Some(next) = units.next()
    {
        number /= 1024.0;
        unit = Some(next);
    }
    let unit = unit.unwrap_or(&"T");
    if number >= 100.0 || *unit == "B" { format!("{number:.0}{unit}") } else { format!("{number:.1}{unit}") }
}

pub(super) fn seconds(time: Option<f64>) -> String {
    match time {
        None => "-".to_owned(),
        Some(time) if time < 0.001 => format!("{:.0}µs", time * 1e6),
        Some(time) if time < 0.01 => format!("{:.1}ms", time * 1e3),
        Some(time) if time < 1.0 => format!("{:.0}ms", time * 1e3),
        Some(time) if time < 100.0 => format!("{time:.1}s"),
        Some(time) => long(time),
    }
}

pub(super) fn long(time: f64) -> String {
    let whole = time as u64;
    let (days, hours, minutes) = (whole / 86400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days}d {hours}h"),
        (0, 1.., _) => format!("{hours}h {minutes}min"),
        (0, 0, 1..) => format!("{minutes}min"),
        _ => format!("{whole}s"),
    }
}

/// The time of day, by the clock of the whole world: the terminal may be anywhere.
pub(super) fn clock(at: f64) -> String {
    let of_day = (at as u64) % 86400;
    format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// At most so many letters; the last is `…` where some are left out.
pub(super) fn fitted(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        short.push('…');
    }
    short
}

/// Cut between words into rows of so many letters; the first has `taken` fewer.
pub(super) fn wrapped(text: &str, width: usize, taken: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut room = width.saturating_sub(taken);
    for word in text.split(' ') {
        let length = word.chars().count();
        let Some(row) = rows.last_mut() else { break };
        if row.is_empty() && length <= room {
            *row = fitted(word, width);
        } else if !row.is_empty() && length < room {
            row.push(' ');
            row.push_str(word);
            room -= 1;
        } else {
            room = width;
            rows.push(fitted(word, width));
        }
        room = room.saturating_sub(length);
    }
    rows
}

/// What this part of all took no longer than. `counts` are of what lies below each bound; the last has none.
pub(super) fn percentile(bounds: &[f64], counts: &[u64], part: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let mut left = part * all as f64;
    for (index, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = *count as f64;
        if left <= count {
            let low = if index == 0 { 0.0 } else { *bounds.get(index - 1)? };
            // Within a bucket nothing is known.
            return Some(bounds.get(index).map_or(low, |high| low + (high - low) * left / count));
        }
        left -= count;
    }
    None
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The newest values, one letter each, against the greatest of them.
pub(super) fn sparkline(values: &VecDeque<f64>, width: usize) -> String {
    let shown = values.iter().skip(values.len().saturating_sub(width));
    let most = shown.clone().copied().fold(0.0, f64::max);
    let bar = |value: &f64| if most > 0.0 { BARS[(value / most * 7.0).round() as usize % 8] } else { BARS[0] };
    shown.map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_letters() {
        assert_eq!(
            [None, Some(0.0), Some(3.12), Some(1240.4), Some(123_456.0), Some(3_140_000.0)].map(rate),
            ["-", "0", "3.1", "1240", "123k", "3.1M"]
        );
        assert_eq!(
            [None, Some(0.0), Some(1536.0), Some(1e6), Some(5e15)].map(bytes),
            ["-", "0B", "1.5K", "977K", "4656613G"]
        );
        let times = [Some(0.00021), Some(0.0042), Some(0.25), Some(1.94), Some(5000.0), Some(90_000.0)];
        assert_eq!(times.map(seconds), ["210µs", "4.2ms", "250ms", "1.9s", "1h 23min", "1d 1h"]);
        assert_eq!(clock(1_796_030_295.9), "09:18:15");
        assert_eq!([fitted("abc", 3), fitted("abcd", 3), fitted("é→ü", 2), fitted("a", 0)], ["abc", "ab…", "é…", ""]);
    }

    #[test]
    fn a_percentile_lies_within_its_bucket() {
        let bounds = [0.001, 0.002];
        assert_eq!(percentile(&bounds, &[100, 0, 0], 0.5), Some(0.0005));
        assert_eq!(percentile(&bounds, &[50, 50, 0], 0.99), Some(0.00198));
        assert_eq!(percentile(&bounds, &[0, 0, 7], 0.99), Some(0.002));
        assert_eq!(percentile(&bounds, &[0, 0, 0], 0.99), None);
        assert_eq!(percentile(&[], &[], 0.99), None);
    }

    #[test]
    fn long_sentences_are_cut_between_words() {
        assert_eq!(wrapped("the master moved to b", 10, 4), ["the", "master", "moved to b"]);
        assert_eq!(wrapped("the master moved to b", 40, 4), ["the master moved to b"]);
        assert_eq!(wrapped("unbreakable words", 6, 5), ["", "unbre…", "words"]);
        assert_eq!(wrapped("", 6, 0), [""]);
    }

    #[test]
    fn a_line_of_the_past_shows_the_newest() {
        let values: VecDeque<f64> = [9.0, 0.0, 1.0, 7.0].into();
        assert_eq!(sparkline(&values, 3), "▁▂█");
        assert_eq!(sparkline(&[0.0, 0.0].into(), 3), "▁▁");
        assert_eq!(sparkline(&VecDeque::new(), 3), "");
    }
}
