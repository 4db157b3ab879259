//! Frames of `redan top`, drawn into memory: what stands where, at 80 by 24 and at other sizes. One of them is the picture in
//! the documents.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::feed::News;
use super::model::{Key, Model};
use super::state::{Clients, Event, Group, Holds, Latency, Link, Node, Process, Sentinels, State, Traffic};
use super::view;

const START: f64 = 1_796_030_295.0;

fn node(address: &str, state: &str, replicates: Option<&str>, commands: u64) -> Node {
    Node {
        address: address.to_owned(),
        role: if state == "master" { "master" } else { "replica" }.to_owned(),
        is_master: state == "master",
        state: state.to_owned(),
        replicates: replicates.map(ToOwned::to_owned),
        lag_bytes: Some(0),
        lag_seconds: Some(0.0),
        round_trip_seconds: Some(0.00021),
        commands,
        ..Node::default()
    }
}

/// So many seconds after the start; `moved`: the master is another one by now.
fn state(second: u64, moved: bool) -> State {
    let wave = |base: u64, swing: u64| (0..=second).map(|at| base + at * 37 % swing).sum::<u64>();
    let [first, heir] = ["10.0.0.5:6379", "10.0.0.6:6379"];
    let mut nodes = vec![
        node(
            first,
            if moved { "down" } else { "master" },
            None,
            wave(if moved { 0 } else { 810 }, 1 + 90 * u64::from(!moved)),
        ),
        node(heir, if moved { "master" } else { "ok" }, (!moved).then_some(first), wave(2300, 600)),
        Node {
            lag_bytes: Some(1240),
            lag_seconds: Some(0.012),
            ..node("10.0.0.7:6379", "ok", Some(if moved { heir } else { first }), wave(2250, 700))
        },
        Node { round_trip_seconds: Some(0.0184), ..node("link:to-dc2", "ok", Some("10.0.0.7:6379"), wave(140, 60)) },
    ];
    nodes[0].problem = moved.then(|| "the connection is refused: start the server, or correct the port".to_owned());
    // Nine of ten below 256 µs, the last hundredth below 2 ms.
    let latency =
        Latency { bounds: vec![0.000256, 0.001, 0.002], client: [900, 90, 10, 0].map(|count| count * second).to_vec() };
    let link = Link {
        name: "to-dc2".to_owned(),
        end: "entry".to_owned(),
        to: "dc2.example:7443".to_owned(),
        connections: 2,
        resumes: 1,
        bytes_in: second * 1300,
        bytes_out: second * 84_000,
        round_trip_seconds: Some(0.0182),
        ..Link::default()
    };
    State {
        at: START + second as f64,
        process: Process {
            version: "0.1.0".to_owned(),
            uptime_seconds: 93_784.0,
            state: "serving".to_owned(),
            resident_bytes: Some(31 << 20),
            ..Process::default()
        },
        clients: Clients { open: 386 },
        holds: Holds::default(),
        traffic: Traffic { commands_read: wave(4600, 900), commands_write: wave(800, 100), ..Traffic::default() },
        latency,
        groups: vec![Group {
            name: "main".to_owned(),
            master: Some(if moved { heir } else { first }.to_owned()),
            since_seconds: 5.0,
            reason: "Sentinel epoch 7".to_owned(),
            sentinels: Some(Sentinels { known: 3, answering: 3 }),
            nodes,
            ..Group::default()
        }],
        links: vec![link],
    }
}

fn event(id: u64, level: &str, about: &str, words: &str) -> News {
    News::Event(Event {
        at: START + 40.0 + id as f64,
        level: level.to_owned(),
        about: Some(about.to_owned()),
        words: words.to_owned(),
        times: 1,
        id: format!("a-{id}"),
        ..Event::default()
    })
}

/// A minute of watching, with a failover at its end.
fn model() -> Model {
    let mut model = Model::default();
    for second in 0..60 {
        model.take(News::State(Box::new(state(second, second >= 52))));
    }
    model.take(event(
        1,
        "warn",
        "link 'to-dc2'",
        "the link of 127.0.0.1:51324 broke: connection reset; both sides are kept for 30s",
    ));
    model.take(event(
        4,
        "info",
        "link 'to-dc2'",
        "the link of 127.0.0.1:51324 goes on after 2.8s; 18211 bytes are sent again",
    ));
    model.take(event(
        10,
        "error",
        "main",
        "writes are held: the master 10.0.0.5:6379 cannot be asked, and no other node has taken over",
    ));
    model.take(event(12, "warn", "main", "10.0.0.6:6379 has changed its role: it is a master now"));
    model.take(event(13, "warn", "main", "the master moved from 10.0.0.5:6379 to 10.0.0.6:6379: Sentinel epoch 7; held for 1.9 s, 214 waits, 0 commands in doubt"));
    model
}

fn drawn(model: &Model, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    terminal.draw(|frame| view::draw(frame, model, "127.0.0.1:9180")).expect("memory");
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let rows = buffer.content().chunks(usize::from(buffer.area.width));
    let row = |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
    rows.map(|cells| row(cells).trim_end().to_owned() + "\n").collect()
}

#[test]
fn eighty_columns_show_all_that_matters() {
    let shown = text(&drawn(&model(), 80, 24));
    for words in [
        "redan 0.1.0  ▲ serving, 1 down",
        "127.0.0.1:9180  up 1d 2h",
        "386 clients  0 waiting",
        "p99 1.0ms  31.0M",
        "master for 5s, 3 of 3 Sentinels",
        "\n● 10.0.0.6:6379",
        "\n  ○ 10.0.0.7:6379",
        "\n    ○ link:to-dc2",
        "12ms -1.2K",
        "\n✕ 10.0.0.5:6379",
        "no answer    the connection is refused",
        "\n● to-dc2 → dc2.example:7443     2 open",
        "↓1.3K/s ↑82.0K/s 18ms, 1 resumed",
        "▲ main the master moved from",
        "■ main writes are held",
        "\nq quit  p freeze",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
}

#[test]
fn no_size_breaks_it_and_little_room_leaves_the_head_and_the_newest_events() {
    let model = model();
    for (width, height) in [(1, 1), (20, 6), (30, 8), (80, 10), (200, 60), (500, 5), (80, 200)] {
        drawn(&model, width, height);
    }
    let shown = text(&drawn(&model, 80, 12));
    assert!(
        shown.starts_with("redan 0.1.0") && shown.contains("the master moved") && shown.contains("taller"),
        "{shown}"
    );
}

#[test]
fn a_held_group_is_told_in_a_line_of_its_own() {
    let mut model = model();
    let mut held = state(61, true);
    held.groups[0] = Group { master: None, held: 214, since_seconds: 1.9, ..held.groups[0].clone() };
    held.holds = Holds { now: 214, longest_seconds: 1.9 };
    model.take(News::State(Box::new(held)));
    let shown = text(&drawn(&model, 100, 24));
    for words in
        ["■ no master: main", "'main' is held for 1.9s, 214 clients wait", "▲ 214 waiting, 1.9s", "no master for 1.9s"]
    {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
}

#[test]
fn keys_freeze_sort_filter_and_scroll() {
    let mut model = model();
    model.press(Key::Freeze);
    model.take(News::State(Box::new(State { clients: Clients { open: 1 }, ..state(70, true) })));
    let shown = text(&drawn(&model, 80, 24));
    assert!(shown.contains("386 clients") && shown.contains("‖ frozen"), "{shown}");
    model.press(Key::Freeze);
    model.press(Key::Sort);
    let shown = text(&drawn(&model, 80, 24));
    let places = ["10.0.0.7:6379 ", "link:to-dc2 ", "10.0.0.5:6379 "].map(|node| shown.find(node));
    assert!(places.is_sorted() && shown.contains("order: traffic"), "{places:?}\n{shown}");
    model.press(Key::Warnings);
    let shown = text(&drawn(&model, 80, 24));
    assert!(!shown.contains("goes on after") && shown.contains("warnings only"), "{shown}");
    model.press(Key::Older(2));
    let shown = text(&drawn(&model, 80, 24));
    assert!(!shown.contains("the master moved") && shown.contains("writes are held"), "{shown}");
    model.press(Key::Older(usize::MAX / 2));
    model.press(Key::Newer(usize::MAX));
    assert!(text(&drawn(&model, 80, 24)).contains("the master moved"));
}

#[test]
fn a_lost_connection_and_another_process_are_noticed() {
    let mut model = model();
    model.take(News::Lost("it does not answer".to_owned()));
    assert!(text(&drawn(&model, 80, 24)).contains("△ no connection"));
    model.take(News::State(Box::new(state(70, false))));
    assert!(text(&drawn(&model, 80, 24)).contains("● serving"));
    let mut young = state(0, false);
    young.at = START + 71.0;
    model.take(News::State(Box::new(young)));
    assert_eq!(model.rate("all"), Some(0.0), "it counts from the beginning");
    let mut empty = Model::default();
    empty.take(News::Lost("refused".to_owned()));
    assert!(text(&drawn(&empty, 80, 24)).contains("no news from Redan yet: refused"));
}

/// The frame as a picture whose letters stay letters.
fn svg(buffer: &Buffer) -> String {
    let (columns, rows) = (buffer.area.width, buffer.area.height);
    let (width, height) = (f64::from(columns) * 8.4 + 32.0, f64::from(rows) * 18.0 + 32.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <title>redan top</title>\n<rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"#16181d\"/>\n"
    );
    let colour = |colour: Color| match colour {
        Color::Cyan => "#7cc4e8",
        Color::Yellow => "#f0c067",
        Color::Red => "#ff8d83",
        Color::Blue => "#7d9ff0",
        Color::DarkGray => "#858c99",
        Color::Black => "#16181d",
        _ => "#e4e6ea",
    };
    for (row, cells) in (0u16..).zip(buffer.content().chunks(usize::from(columns))) {
        let mut column = 0;
        for run in cells.chunk_by(|a, b| (a.fg, a.modifier) == (b.fg, b.modifier)) {
            let words: String = run.iter().map(ratatui::buffer::Cell::symbol).collect();
            let (x, y) = (16.0 + column as f64 * 8.4, f64::from(row) * 18.0 + 30.0);
            column += run.len();
            if words.trim().is_empty() {
                continue;
            }
            let bold = if run[0].modifier.contains(Modifier::BOLD) { " font-weight=\"700\"" } else { "" };
            let words = words.trim_end().replace('&', "&amp;").replace('<', "&lt;");
            let length = words.chars().count() as f64 * 8.4;
            writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{y:.0}\" fill=\"{}\"{bold} textLength=\"{length:.1}\" xml:space=\"preserve\">{words}</text>",
                colour(run[0].fg)
            )
            .expect("memory");
        }
    }
    out + "</svg>\n"
}

#[test]
fn the_picture_in_the_documents_is_what_is_drawn() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures/top.svg");
    let drawn = svg(&drawn(&model(), 96, 20));
    if std::env::var_os("REDAN_WRITE_PICTURES").is_some() {
        fs::write(&file, &drawn).expect("written");
    }
    let stored = fs::read_to_string(&file).unwrap_or_default();
    assert!(stored == drawn, "docs/pictures/top.svg is old: run the test again with REDAN_WRITE_PICTURES=1");
}
