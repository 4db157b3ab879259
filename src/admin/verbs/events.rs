//! EVENTS: what has happened of late, in words. LIVE: the same for `redan top`, with the whole report.

use time::OffsetDateTime;

use super::{Call, Doing, Verb, number};
use crate::admin::live;
use crate::admin::table::table;
use crate::events::Happened;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "EVENTS",
        usage: "[number]",
        help: "what has happened of late, the newest last; 30 lines without a number",
        arity: (0, 1),
        run: events,
    },
    Verb {
        name: "LIVE",
        usage: "[id]",
        help: "for `redan top`: the events after this one and the state, as GET /live sends them",
        arity: (0, 1),
        run: live,
    },
];

const USUAL: u64 = 30;

fn events(call: Call) -> Doing {
    Box::pin(async move {
        let most = if call.words.is_empty() { USUAL } else { number("the number of lines", &call.text(0))? };
        let kept: Vec<Happened> = call.state.chronicle.events().after(0).cloned().collect();
        let shown = &kept[kept.len().saturating_sub(usize::try_from(most).unwrap_or(usize::MAX))..];
        let row = |event: &Happened| {
            vec![
                clock(event.at_ms),
                event.weight.name().to_owned(),
                event.about.clone().unwrap_or_default(),
                match event.times {
                    1 => event.words.clone(),
                    times => format!("{} (×{times})", event.words),
                },
            ]
        };
        let data: Vec<_> = shown
            .iter()
            .map(|event| {
                serde_json::json!({
                    "at": event.at_ms as f64 / 1000.0, "level": event.weight.name(), "about": event.about,
                    "words": event.words, "times": event.times,
                })
            })
            .collect();
        call.shown(table(&["time", "level", "about", "what"], &shown.iter().map(row).collect::<Vec<_>>()), &data)
    })
}

fn live(call: Call) -> Doing {
    Box::pin(async move {
        let seen = call.text(0);
        let text = live::piece(&call.state, Some(&*seen).filter(|seen| !seen.is_empty()));
        call.shown(text.clone(), &text)
    })
}

/// As the log writes it, to the second.
fn clock(at_ms: u64) -> String {
    let at = i64::try_from(at_ms / 1000).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let Some(at) = at else { return String::new() };
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_as_in_the_log() {
        assert_eq!(super::clock(1_796_030_295_182), "2026-11-30T09:18:15Z");
    }
}
