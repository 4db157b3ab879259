// The page: listens to the stream of states and events, and puts them where they belong.
import { Topology } from "./topology.js";
import { Rates, Spark, Times, bytes, count, draw, long, make, plural, rate, say, seconds } from "./words.js";
import { Orders } from "./orders.js";

const at = (id) => document.getElementById(id);
const EVENTS = 200;
const rates = new Rates();
const times = { client: new Times(), node: new Times() };
const groups = new Map();
const figures = new Map();
const links = new Map();
const orders = new Orders(at);
let frozen = false;
let lastEvent = null;
let source = null;
let latest = null;
let lost = null;

// ---- The stream ----

const connect = () => {
  if (source !== null || frozen || document.hidden) return;
  source = new EventSource("live" + (lastEvent === null ? "" : `?after=${encodeURIComponent(lastEvent)}`));
  source.addEventListener("state", (message) => show(JSON.parse(message.data)));
  source.addEventListener("happened", (message) => {
    lastEvent = message.lastEventId;
    happened(JSON.parse(message.data), message.lastEventId);
  });
  source.onerror = () => {
    // A stream ends now and then, and is there again in a moment.
    clearTimeout(lost);
    lost = setTimeout(() => verdict("warn", "△", "No connection to Redan; trying again"), 1500);
    // The browser tries again by itself, save after an answer that is no stream: too many viewers, for instance.
    if (source?.readyState === EventSource.CLOSED) {
      disconnect();
      setTimeout(connect, 3000);
    }
  };
};

const disconnect = () => {
  clearTimeout(lost);
  source?.close();
  source = null;
};

// Nobody looks: Redan need not tell.
document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));

const freeze = () => {
  frozen = !frozen;
  at("freeze").setAttribute("aria-pressed", String(frozen));
  say(at("freeze"), frozen ? "Frozen" : "Freeze");
  if (frozen) disconnect();
  else connect();
};
at("freeze").addEventListener("click", freeze);
const warningsOnly = () => at("events").classList.toggle("warnings-only", at("only-warnings").checked);
at("only-warnings").addEventListener("change", warningsOnly);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || at("ask").open || event.target.matches("input:not([type=checkbox])")) return;
  if (event.key === "p") freeze();
  if (event.key === "w") {
    at("only-warnings").checked = !at("only-warnings").checked;
    warningsOnly();
  }
});

// ---- The state ----

const show = (state) => {
  clearTimeout(lost);
  latest = state;
  const now = state.at;
  showVerdict(state);
  const latency = {};
  for (const of of ["client", "node"]) latency[of] = state.latency ? times[of].add(state.latency.bounds, state.latency[of], now) : null;
  showFigures(state, now, latency);
  const names = new Set();
  for (const group of state.groups) {
    names.add(group.name);
    showGroup(group, state.listeners.filter((listener) => listener.group === group.name), now);
  }
  for (const [name, shown] of groups) {
    if (names.has(name)) continue;
    shown.element.remove();
    groups.delete(name);
  }
  showLinks(state.links, now);
  showLatency(latency);
  showWaits(state);
  showCertificates(state.certificates ?? []);
  orders.offer(state.actions === true);
};

const verdict = (kind, glyph, words) => {
  at("verdict").className = `verdict ${kind}`;
  say(at("verdict").firstElementChild, glyph);
  say(at("verdict-words"), words);
};

const showVerdict = (state) => {
  const process = state.process;
  const without = state.groups.filter((group) => group.master === null);
  const paused = state.groups.filter((group) => (group.paused_seconds_left ?? null) !== null).length;
  const down = state.groups.flatMap((group) => group.nodes).filter((node) => node.state === "down").length;
  if (process.state === "draining") verdict("warn", "◔", "Shutting down");
  else if (without.length > 0) verdict("bad", "■", without.length === 1 ? `${without[0].name}: no master` : `${without.length} groups without a master`);
  else if (paused > 0) verdict("warn", "‖", "Paused");
  else if (process.problems.length > 0) verdict("bad", "■", "Not ready");
  else if (down > 0) verdict("warn", "▲", `Serving, ${plural(down, "node")} down`);
  else verdict("", "●", "Serving");
  say(at("about"), `${location.host} · version ${process.version} · up ${long(process.uptime_seconds)}`);
  document.title = (without.length > 0 ? "■ " : down > 0 ? "▲ " : "") + "Redan " + location.host;
  const alarm = at("alarm");
  const alarms = without.map((group) => {
    const wait = group.held > 0 ? `; ${plural(group.held, "client")} ${group.held === 1 ? "waits" : "wait"}` : "";
    return [`Writes to '${group.name}' are held for ${seconds(group.since_seconds)}${wait}. `, group.reason];
  });
  for (const group of state.groups.filter((group) => (group.paused_seconds_left ?? null) !== null)) {
    const wait = `${plural(group.held, "client")} ${group.held === 1 ? "waits" : "wait"}`;
    alarms.push([`'${group.name}' is paused by the operator, `, `for ${seconds(group.paused_seconds_left)} more at most; ${wait}.`]);
  }
  process.problems.filter((problem) => !without.some((group) => problem.includes(`'${group.name}'`))).forEach((problem) => alarms.push(["Not ready. ", problem]));
  alarm.hidden = alarms.length === 0;
  alarm.replaceChildren(...alarms.map(([strong, rest]) => make("div", {}, make("strong", {}, strong), strong.endsWith(". ") ? rest.charAt(0).toUpperCase() + rest.slice(1) : rest)));
};

const figure = (id, name) => {
  if (!figures.has(id)) {
    const shown = { spark: new Spark(), value: make("div", { class: "value" }), more: make("div", { class: "more" }) };
    shown.element = make("div", { class: "figure" }, make("div", { class: "name" }, name), shown.value, shown.spark.svg, shown.more);
    at("figures").append(shown.element);
    figures.set(id, shown);
  }
  return figures.get(id);
};

const setFigure = (id, name, value, unit, sample, more, warn = false) => {
  const shown = figure(id, name);
  shown.value.replaceChildren(value, ...(unit ? [make("small", {}, unit)] : []));
  shown.spark.add(sample);
  say(shown.more, more);
  shown.more.title = more;
  shown.element.classList.toggle("warn", warn);
};

const showFigures = (state, now, latency) => {
  const { traffic, clients, holds, process } = state;
  if (state.listeners.length > 0) {
    const reads = rates.of("reads", traffic.commands_read, now);
    const writes = rates.of("writes", traffic.commands_write, now);
    const other = rates.of("other", traffic.commands_local + traffic.commands_pinned, now);
    const all = reads === null ? null : reads + writes + other;
    setFigure("commands", "Commands", rate(all), "/s", all, `${rate(reads)} reads, ${rate(writes)} writes`);
    const toReplicas = rates.of("reads-replica", traffic.reads_replica, now);
    const share = reads > 0 ? Math.min(100, Math.round((100 * toReplicas) / reads)) : null;
    setFigure("share", "Reads from replicas", share === null ? "–" : String(share), share === null ? "" : "%", share ?? 0, `${rate(toReplicas)} /s`);
    setFigure("clients", "Clients", count(clients.open), "", clients.open, `over ${plural(traffic.lanes + traffic.pins, "connection")}`);
    const waits = holds.now > 0 ? `longest ${seconds(holds.longest_seconds)}` : `${count(holds.total)} since the start`;
    setFigure("waiting", "Waiting for a master", count(holds.now), "", holds.now, waits, holds.now > 0);
  }
  if (state.listeners.length > 0) {
    const { p50, p99 } = latency.client ?? { p50: null, p99: null };
    const [value, unit] = seconds(p99).split(" ");
    setFigure("latency", "Latency, 99 %", value, unit, (p99 ?? 0) * 1e6, `median ${seconds(p50)}`);
  }
  const [value, unit] = bytes(process.resident_bytes ?? process.buffers_bytes).split(" ");
  setFigure("memory", "Memory", value, unit, process.resident_bytes ?? 0, `${bytes(process.buffers_bytes)} in buffers`);
  if (state.links.length > 0 && state.listeners.length === 0) {
    const out = rates.of("links-out", state.links.reduce((sum, link) => sum + link.bytes_out, 0), now);
    const into = rates.of("links-in", state.links.reduce((sum, link) => sum + link.bytes_in, 0), now);
    const [value, unit] = bytes((out ?? 0) + (into ?? 0)).split(" ");
    setFigure("links", "Links", out === null ? "–" : value, out === null ? "" : unit + "/s", (out ?? 0) + (into ?? 0), `${bytes(into)}/s in, ${bytes(out)}/s out`);
  }
};

const showGroup = (group, listeners, now) => {
  if (!groups.has(group.name)) {
    const shown = { title: make("h2"), reason: make("p", { class: "reason" }), sentinels: make("p", { class: "sentinels" }) };
    shown.acts = make("span");
    shown.topology = new Topology((...what) => orders.ofNode(...what));
    const id = `group-${groups.size}`;
    shown.title.id = id;
    shown.element = make("section", { class: "group", "aria-labelledby": id }, make("header", { class: "group-head" }, shown.title, shown.reason, shown.sentinels, shown.acts), shown.topology.element);
    at("groups").append(shown.element);
    groups.set(group.name, shown);
  }
  const shown = groups.get(group.name);
  say(shown.title, `Group ${group.name}`);
  const held = group.master === null;
  say(shown.reason, held ? `No master for ${seconds(group.since_seconds)}` : `Master for ${long(group.since_seconds)}: ${group.reason}`);
  shown.reason.classList.toggle("held", held);
  showSentinels(shown.sentinels, group.sentinels);
  orders.ofGroup(shown.acts, group);
  shown.topology.show(group, listeners, (node) => rates.of(`node ${group.name} ${node.address}`, node.commands, now));
};

const showSentinels = (element, sentinels) => {
  element.hidden = !sentinels;
  if (!sentinels) return;
  const svg = draw("svg", { viewBox: `0 0 ${14 * sentinels.known} 12`, "aria-hidden": "true" });
  for (let index = 0; index < sentinels.known; index += 1) {
    svg.append(draw("path", { d: `M${14 * index + 6} 1l5 5-5 5-5-5z`, class: index < sentinels.answering ? "on" : "off" }));
  }
  element.classList.toggle("warn", !sentinels.in_charge);
  const words = `${sentinels.answering} of ${plural(sentinels.known, "Sentinel")} ${sentinels.answering === 1 ? "answers" : "answer"}, ${sentinels.in_charge ? "in charge" : "not in charge"}, epoch ${sentinels.epoch}`;
  element.replaceChildren(svg, words);
};

// ---- Links ----

const showLinks = (list, now) => {
  at("links-panel").hidden = list.length === 0;
  at("lower").classList.toggle("alone", list.length === 0);
  const names = new Set();
  for (const link of list) {
    names.add(link.name);
    if (!links.has(link.name)) {
      const shown = { state: make("span", { class: "state" }), facts: make("p", { class: "facts" }), progress: make("progress", { max: "1", "aria-label": "Full sync" }) };
      shown.svg = draw("svg", { class: "drawing", "aria-hidden": "true" });
      shown.element = make("li", {}, shown.state, make("span", { class: "name" }, link.name), shown.svg, shown.facts, shown.progress);
      at("links").append(shown.element);
      links.set(link.name, shown);
    }
    const shown = links.get(link.name);
    const broken = link.detached > 0;
    shown.element.className = broken ? "warn" : link.connections === 0 ? "idle" : "";
    shown.state.classList.toggle("warn", broken);
    const state = broken ? `▲ ${plural(link.detached, "connection")} broken, kept` : link.connections > 0 ? `● ${plural(link.connections, "connection")}` : "○ nobody connected";
    say(shown.state, state);
    drawLink(shown, link);
    const [into, out] = [rates.of(`in ${link.name}`, link.bytes_in, now), rates.of(`out ${link.name}`, link.bytes_out, now)];
    const facts = [`${link.end}`, `${bytes(into)}/s in, ${bytes(out)}/s out`];
    if (link.round_trip_seconds !== null) facts.push(`${seconds(link.round_trip_seconds)} round trip`);
    if (link.lag_seconds !== null) facts.push(`replica ${seconds(link.lag_seconds)} behind`);
    if (link.breaks > 0) facts.push(`${plural(link.breaks, "break")}, ${count(link.resumes)} resumed, ${count(link.losses)} lost`);
    if (link.syncs_now > 0) facts.push(`full sync: ${bytes(link.rdb_bytes)}${link.rdb_total_bytes > 0 ? " of " + bytes(link.rdb_total_bytes) : ""}`);
    say(shown.facts, facts.join(" · "));
    shown.progress.hidden = link.syncs_now === 0;
    if (link.rdb_total_bytes > 0) shown.progress.value = link.rdb_bytes / link.rdb_total_bytes;
    else shown.progress.removeAttribute("value");
  }
  for (const [name, shown] of links) {
    if (names.has(name)) continue;
    shown.element.remove();
    links.delete(name);
  }
};

// This end's address in a box, a tube to the other end's. An entry is on the left of its exit, wherever this Redan is.
const drawLink = (shown, link) => {
  const width = shown.svg.clientWidth || 320;
  const here = link.bind ?? "groups of this Redan";
  const to = link.to.replace(" (main)", "").replace(/(^|, )main=/g, "$1");
  const signature = `${width} ${here} ${to}`;
  if (shown.signature === signature) return;
  shown.signature = signature;
  const [left, right] = link.end === "entry" ? [here, to] : ["entries", link.bind ?? ""];
  const beyond = link.end === "exit" ? to : null;
  const box = (text, x, most) => {
    const letters = Math.max(4, Math.floor((most - 14) / 7));
    const short = text.length > letters ? text.slice(0, letters - 1) + "…" : text;
    const size = short.length * 7 + 14;
    return { size, draw: (from) => [draw("rect", { x: from, y: 5, width: size, height: 24, rx: 5 }), Object.assign(draw("text", { x: from + 7, y: 21 }), { textContent: short })] };
  };
  const third = width * (beyond ? 0.3 : 0.38);
  const [a, b] = [box(left, 0, third), box(right, 0, third)];
  const c = beyond ? box(beyond, 0, third) : null;
  const end = c ? width - c.size : width;
  const bAt = c ? end - 22 - b.size : width - b.size;
  const parts = [draw("path", { class: "tube", d: `M${a.size} 17H${bAt}` }), draw("path", { class: "core", d: `M${a.size} 17H${bAt}` })];
  if (c) parts.push(draw("path", { class: "lead", d: `M${bAt + b.size} 17H${end}` }), ...c.draw(end));
  shown.svg.replaceChildren(...parts, ...a.draw(0.5), ...b.draw(bAt - (c ? 0 : 0.5)));
};

// ---- The rest ----

const showLatency = (latency) => {
  at("latency-panel").hidden = !latency.client;
  if (!latency.client) return;
  const row = (name, of) => make("tr", {}, make("th", { scope: "row" }, name), ...["p50", "p99", "p999"].map((part) => make("td", {}, seconds(of[part]))));
  const head = make("thead", {}, make("tr", {}, make("th"), ...["median", "99 %", "99.9 %"].map((name) => make("th", { scope: "col" }, name))));
  const rows = [];
  if (latency.client) rows.push(row("seen by clients", latency.client));
  if (latency.node) rows.push(row("of it, nodes", latency.node));
  at("latency").replaceChildren(head, make("tbody", {}, ...rows));
};

const showWaits = ({ holds, traffic, clients }) => {
  const rows = [
    ["Waits for a master", count(holds.total), false],
    ["Waits that ended with an error", count(holds.expired), holds.expired > 0],
    ["Commands sent again, safely", count(traffic.replays), false],
    ["Commands in doubt", count(traffic.in_doubt), traffic.in_doubt > 0],
    ["Clients turned away by a limit", count(clients.rejected), clients.rejected > 0],
    ["Wrong passwords", count(clients.auth_failures), clients.auth_failures > 0],
  ];
  at("waits").replaceChildren(...rows.flatMap(([name, value, warn]) => make("div", {}, make("dt", {}, name), make("dd", warn ? { class: "warn" } : {}, (warn ? "▲ " : "") + value))));
};

const showCertificates = (list) => {
  at("certificates-panel").hidden = list.length === 0;
  at("certificates").replaceChildren(...list.map(({ owner, file, days }) => {
    const words = days < 0 ? "✕ has ended" : days < 21 ? `▲ ${plural(Math.floor(days), "day")} left` : `${plural(Math.floor(days), "day")} left`;
    return make("li", {}, make("span", { title: file }, `${owner}: ${file.split("/").at(-1)}`), make("span", days < 21 ? { class: "warn" } : {}, words));
  }));
};

const GLYPHS = { info: "·", warn: "▲", error: "■" };

const happened = (event, id) => {
  const list = at("events");
  at("no-events").hidden = true;
  if (event.replaces) list.querySelector(`[data-id="${CSS.escape(event.replaces)}"]`)?.remove();
  if (list.querySelector(`[data-id="${CSS.escape(id)}"]`)) return;
  const time = new Date(event.at * 1000);
  const clock = time.toLocaleTimeString("en-GB");
  const words = make("span", { class: "words" }, event.words);
  const element = make("li", { class: event.level, "data-id": id },
    make("time", { datetime: time.toISOString(), title: time.toLocaleString() }, clock),
    make("span", { class: "glyph", role: "img", "aria-label": event.level === "info" ? "notice" : event.level === "warn" ? "warning" : "error" }, GLYPHS[event.level] ?? "·"),
    make("div", {}, event.about ? make("span", { class: "about-what" }, event.about) : null, words, event.times > 1 ? make("span", { class: "times" }, ` ×${event.times}`) : null));
  // Not for what was there before the page.
  if (latest !== null && latest.at - event.at < 5) element.classList.add("new");
  list.prepend(element);
  while (list.children.length > EVENTS) list.lastChild.remove();
};

connect();
