//! One frame of `redan top`. Reads the model and draws; a state has a sign besides its colour. 80 columns are enough.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::model::{Model, Series, of_node};
use super::state::{Event, Group, Link, Node, State};
use super::words::{bytes, clock, fitted, long, rate, seconds, sparkline, wrapped};

const QUIET: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const MASTER: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
const WARN: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);

/// Rows that events have at least, if there are so many.
const EVENTS: usize = 6;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, place: &str) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    if width < 20 || height < 6 {
        return;
    }
    let mut lines = vec![head(model, place, width)];
    match &model.state {
        Some(state) => {
            lines.extend(alarms(state, width));
            lines.push(Line::default());
            lines.extend(body(model, state, width));
        }
        None => {
            let why = model.lost.as_deref().unwrap_or("asking");
            lines.push(Line::styled(fitted(&format!("no news from Redan yet: {why}"), width), QUIET));
        }
    }
    let events = model.shown_events().skip(model.scrolled);
    // Two lines are the foot and the title of events.
    let most = height.saturating_sub(2 + EVENTS.min(events.clone().count()));
    if lines.len() > most {
        lines.truncate(most.saturating_sub(1));
        lines.push(Line::styled("… a taller terminal shows more", QUIET));
    }
    lines.push(rule("events", if model.warnings_only { "warnings only" } else { "" }, width));
    lines.extend(events.flat_map(|event| event_lines(event, width)).take(height));
    lines.truncate(height - 1);
    for (row, line) in (0..).zip(&lines) {
        frame.render_widget(line, Rect { y: row, height: 1, ..area });
    }
    frame.render_widget(foot(model, width), Rect { y: area.height - 1, height: 1, ..area });
}

fn head(model: &Model, place: &str, width: usize) -> Line<'static> {
    let (version, verdict) = match &model.state {
        Some(state) => (state.process.version.clone(), verdict(state)),
        None => (String::new(), Span::styled("○ connecting", QUIET)),
    };
    let verdict = match &model.lost {
        Some(_) if model.state.is_some() => Span::styled("△ no connection, trying again", WARN),
        _ if model.frozen => Span::styled("‖ frozen", WARN),
        _ => verdict,
    };
    let up =
        model.state.as_ref().map_or_else(String::new, |state| format!("up {}", long(state.process.uptime_seconds)));
    let left = vec![Span::styled(format!("redan {version}"), STRONG), Span::raw("  "), verdict];
    let right = fitted(&format!("{place}  {up}"), width / 2);
    apart(left, vec![Span::styled(right, QUIET)], width)
}

fn verdict(state: &State) -> Span<'static> {
    let without: Vec<&str> =
        state.groups.iter().filter(|group| group.master.is_none()).map(|group| &*group.name).collect();
    let down = state.groups.iter().flat_map(|group| &group.nodes).filter(|node| node.state == "down").count();
    match (&*state.process.state, without.len(), down) {
        ("draining", ..) => Span::styled("◔ shutting down", WARN),
        (_, 1.., _) => Span::styled(format!("■ no master: {}", without.join(", ")), BAD.add_modifier(Modifier::BOLD)),
        (_, 0, _) if !state.process.problems.is_empty() => Span::styled("■ not ready", BAD),
        (_, _, 1..) => Span::styled(format!("▲ serving, {down} down"), WARN),
        _ => Span::styled("● serving", MASTER),
    }
}

/// A line for each group whose clients wait.
fn alarms(state: &State, width: usize) -> Vec<Line<'static>> {
    let without = state.groups.iter().filter(|group| group.master.is_none());
    let line = |group: &Group| {
        let held = seconds(Some(group.since_seconds));
        let words = format!(" '{}' is held for {held}, {} clients wait: {} ", group.name, group.held, group.reason);
        Line::styled(fitted(&words, width), Style::new().fg(Color::Black).bg(Color::Yellow))
    };
    without.map(line).collect()
}

fn body(model: &Model, state: &State, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if !state.groups.is_empty() {
        lines.push(figures(model, state, width));
    }
    for group in &state.groups {
        lines.push(group_title(group, width));
        lines.extend(model.nodes(group).into_iter().map(|(depth, node)| node_line(model, group, depth, node, width)));
    }
    if !state.links.is_empty() {
        lines.push(rule("links", "", width));
        lines.extend(state.links.iter().map(|link| link_line(model, link, width)));
    }
    lines
}

fn figures(model: &Model, state: &State, width: usize) -> Line<'static> {
    let waiting = match state.holds.now {
        0 => Span::raw("0 waiting"),
        now => {
            let longest = seconds(Some(state.holds.longest_seconds));
            Span::styled(format!("▲ {now} waiting, {longest}"), WARN.add_modifier(Modifier::BOLD))
        }
    };
    let memory = bytes(Some(state.process.resident_bytes.unwrap_or(state.process.buffers_bytes) as f64));
    let latency = model.latency().map_or_else(String::new, |latency| format!("p99 {}  ", seconds(Some(latency))));
    let mut spans = vec![
        Span::styled(format!("{}/s ", rate(model.rate("all"))), STRONG),
        spark(model.series.get("all"), if width < 96 { 6 } else { 16 }),
        Span::raw(format!("  {} reads {} writes", rate(model.rate("reads")), rate(model.rate("writes")))),
        Span::raw(format!("  {} clients  ", state.clients.open)),
        waiting,
    ];
    if state.traffic.in_doubt > 0 {
        spans.push(Span::styled(format!("  ▲ {} in doubt", state.traffic.in_doubt), WARN));
    }
    apart(spans, vec![Span::styled(latency + &memory, QUIET)], width)
}

fn group_title(group: &Group, width: usize) -> Line<'static> {
    let since = match &group.master {
        Some(_) => format!("master for {}", long(group.since_seconds)),
        None => format!("no master for {}", seconds(Some(group.since_seconds))),
    };
    let sentinels = group.sentinels.as_ref();
    let sentinels =
        sentinels.map(|some| format!(", {} of {} Sentinels", some.answering, some.known)).unwrap_or_default();
    rule(&group.name, &format!("{since}{sentinels}"), width)
}

/// Columns besides the address and the line: role, rate, round trip.
const FIXED: usize = 13 + 10 + 9;

fn node_line(model: &Model, group: &Group, depth: usize, node: &Node, width: usize) -> Line<'static> {
    let (sign, style, role) = match (&*node.state, node.is_master) {
        ("down", _) => ("✕", BAD, "no answer"),
        (_, true) => ("●", MASTER, "master"),
        ("unreadable", _) => ("○", WARN, "not read"),
        _ if node.role == "master" => ("○", WARN, "says master"),
        _ => ("○", Style::new(), "replica"),
    };
    let address = format!("{}{sign} {}", "  ".repeat(depth.min(4)), node.address);
    let for_address = (width / 3).clamp(24, 48);
    let rest = width.saturating_sub(for_address + FIXED);
    let for_spark = (rest / 2).min(40);
    let state = match &node.problem {
        Some(problem) => problem.clone(),
        None if node.is_master => String::new(),
        None => behind(node),
    };
    let series = model.series.get(&of_node(group, node));
    let mut spans = vec![
        Span::styled(padded(&address, for_address), if node.is_master { MASTER } else { style }),
        Span::styled(padded(role, 13), style),
    ];
    if node.state == "down" {
        spans.push(Span::styled(fitted(&state, width.saturating_sub(for_address + 13)), BAD));
        return Line::from(spans);
    }
    spans.push(Span::raw(format!("{:>8}  ", format!("{}/s", rate(series.and_then(Series::now))))));
    spans.push(spark(series, for_spark));
    spans.push(Span::styled(format!("{:>8} ", seconds(node.round_trip_seconds)), QUIET));
    let state = fitted(&state, rest - for_spark);
    spans.push(Span::styled(state, if node.problem.is_some() { WARN } else { Style::new() }));
    Line::from(spans)
}

fn behind(node: &Node) -> String {
    match (node.lag_bytes, node.lag_seconds) {
        (None, None) => "lag unknown".to_owned(),
        (Some(0), _) => "in step".to_owned(),
        (Some(lag), None) => format!("-{}", bytes(Some(lag as f64))),
        (None, lag) => format!("-{}", seconds(lag)),
        (Some(lag), time) => format!("-{} -{}", seconds(time), bytes(Some(lag as f64))),
    }
}

fn link_line(model: &Model, link: &Link, width: usize) -> Line<'static> {
    let (sign, style, state) = match (link.detached, link.connections) {
        (1.., _) => ("▲", WARN, format!("{} broken, kept", link.detached)),
        (0, 0) => ("○", QUIET, "nobody".to_owned()),
        (0, open) => ("●", Style::new(), format!("{open} open")),
    };
    let arrow = if link.end == "entry" { "→" } else { "⇥" };
    let name = format!("{sign} {} {arrow} {}", link.name, link.to);
    let for_name = (width * 2 / 5).clamp(28, 60);
    let rates = ["in", "out"].map(|way| bytes(model.rate(&format!("{way} {}", link.name))));
    let resumes = if link.resumes > 0 { format!(", {} resumed", link.resumes) } else { String::new() };
    let rest = format!("↓{}/s ↑{}/s {}{resumes}", rates[0], rates[1], seconds(link.round_trip_seconds));
    let spans = vec![
        Span::styled(padded(&name, for_name), style),
        Span::styled(padded(&state, 13), style),
        Span::raw(fitted(&rest, width.saturating_sub(for_name + 13))),
    ];
    Line::from(spans)
}

/// Behind the time and the sign.
const INDENT: usize = 11;

fn event_lines(event: &Event, width: usize) -> Vec<Line<'static>> {
    let (sign, style) = match &*event.level {
        "error" => ("■", BAD),
        "warn" => ("▲", WARN),
        _ => ("·", QUIET),
    };
    let about = event.about.as_ref().map_or_else(String::new, |about| format!("{about} "));
    let times = if event.times > 1 { format!(" ×{}", event.times) } else { String::new() };
    let words = if event.level == "error" { BAD } else { Style::new() };
    let mut rows =
        wrapped(&format!("{}{times}", event.words), width.saturating_sub(INDENT), about.chars().count()).into_iter();
    let mut lines = vec![Line::from(vec![
        Span::styled(format!("{} ", clock(event.at)), QUIET),
        Span::styled(format!("{sign} "), style),
        Span::styled(about, STRONG),
        Span::styled(rows.next().unwrap_or_default(), words),
    ])];
    lines.extend(rows.map(|row| Line::styled(format!("{}{row}", " ".repeat(INDENT)), words)));
    lines
}

fn foot(model: &Model, width: usize) -> Line<'static> {
    let words = format!("q quit  p freeze  s order: {}  w warnings  ↑↓ events", model.sort.name());
    Line::styled(fitted(&words, width), QUIET)
}

/// A title with a line to the right edge, and more words at that.
fn rule(title: &str, more: &str, width: usize) -> Line<'static> {
    let more = if more.is_empty() { String::new() } else { format!(" {more}") };
    let more = fitted(&more, width.saturating_sub(title.chars().count() + 4));
    let dashes = width.saturating_sub(title.chars().count() + more.chars().count() + 1);
    Line::from(vec![
        Span::styled(format!("{title} "), STRONG),
        Span::styled("─".repeat(dashes), QUIET),
        Span::styled(more, QUIET),
    ])
}

fn spark(series: Option<&Series>, width: usize) -> Span<'static> {
    let drawn = series.map_or_else(String::new, |series| sparkline(&series.rates, width));
    Span::styled(format!("{drawn:>width$}"), Style::new().fg(Color::Blue))
}

/// The right part stands at the right edge, if there is room for it.
fn apart(mut left: Vec<Span<'static>>, right: Vec<Span<'static>>, width: usize) -> Line<'static> {
    let length = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
    if let Some(room) = width.checked_sub(length(&left) + length(&right)).filter(|room| *room > 0) {
        left.push(Span::raw(" ".repeat(room)));
        left.extend(right);
    }
    Line::from(left)
}

fn padded(text: &str, width: usize) -> String {
    format!("{:<width$}", fitted(text, width.saturating_sub(1)))
}
