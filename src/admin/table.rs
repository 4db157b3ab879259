//! Text for people: aligned columns, and numbers in units that a person reads.
//!
//! Used by the operator's commands alone; programs read JSON.

/// A table with a line of names above it. Columns of numbers stand to the right.
pub(super) fn table(names: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        cells.chain([names[column].chars().count()]).max().unwrap_or(0)
    };
    let numeric = |column: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(column)).filter(|cell| *cell != "-").peekable();
        cells.peek().is_some()
            && cells.all(|cell| cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.contains(':'))
    };
    let columns: Vec<(usize, bool)> = (0..names.len()).map(|column| (width(column), numeric(column))).collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.into_iter().zip(&columns).map(|(cell, (width, right))| {
            let (width, right) = (*width, *right);
            if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = line(names.to_vec());
    let rows = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
}

/// What is not known is a dash.
pub(super) fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `2d 3h`, `4m 5s`, `1.5s`, `250ms`.
pub(super) fn seconds(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        86400.. => format!("{}d {}h", whole / 86400, whole % 86400 / 3600),
        3600.. => format!("{}h {}m", whole / 3600, whole % 3600 / 60),
        60.. => format!("{}m {}s", whole / 60, whole % 60),
        10.. => format!("{whole}s"),
        1.. => format!("{seconds:.1}s"),
        0 if seconds >= 0.001 => format!("{:.0}ms", seconds * 1000.0),
        0 if seconds > 0.0 => format!("{:.0}us", seconds * 1_000_000.0),
        0 => "0s".to_owned(),
    }
}

/// `512b`, `3.2kb`, `18mb`: in powers of 1024, as in the configuration.
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["b", "kb", "mb", "gb", "tb"].into_iter().peekable();
    while let Some(unit) = units.next() {
        if value < 1024.0 || units.peek().is_none() {
            return if unit == "b" || value >= 10.0 {
                format!("{value:.0}{unit}")
            } else {
                format!("{value:.1}{unit}")
            };
        }
        value /= 1024.0;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let row = |cells: [&str; 3]| cells.map(ToOwned::to_owned).to_vec();
        let rows = [row(["10.0.0.1:6379", "7", "ok"]), row(["é", "-", "x y"]), row(["a", "1500", ""])];
        let text = table(&["node", "lag", "state"], &rows);
        let expected =
            "node            lag  state\n10.0.0.1:6379     7  ok\né                 -  x y\na              1500";
        assert_eq!(text, expected);
    }

    #[test]
    fn numbers_are_read_by_people() {
        let times = [0.0, 0.000_25, 0.25, 1.5, 12.0, 65.0, 7260.0, 90_000.0].map(seconds);
        assert_eq!(times, ["0s", "250us", "250ms", "1.5s", "12s", "1m 5s", "2h 1m", "1d 1h"]);
        assert_eq!([0, 512, 3300, 18 << 20, 5 << 40].map(bytes), ["0b", "512b", "3.2kb", "18mb", "5.0tb"]);
    }
}
