// One group as a drawing: Redan with its listeners on the left, the nodes below each other on the right, the master first.
// Lines lead from Redan to the nodes it asks, and from each node to those that copy it. When the master moves, the cards do.
import { Spark, bytes, count, draw, make, plural, rate, say, seconds } from "./words.js";

const GAP = 12;
const MOVING_MS = 900;
const NARROW = 700;

export class Topology {
  constructor(acts) {
    this.acts = acts;
    this.cards = new Map();
    this.copies = new Map();
    this.moving = 0;
    this.wires = draw("svg", { class: "wires", "aria-hidden": "true" });
    this.hubTitle = make("h3", {}, mark(), "Redan");
    this.doors = make("ul");
    this.waits = make("p", { class: "wait" });
    this.hub = make("div", { class: "hub" }, this.hubTitle, this.doors, this.waits);
    this.list = make("ol", { "aria-label": "Nodes" });
    this.element = make("div", { class: "stage" }, this.wires, this.hub, this.list);
    new ResizeObserver(() => this.settle(true)).observe(this.element);
  }

  show(group, listeners, rateOf) {
    this.group = group;
    this.showHub(group, listeners);
    const seen = new Set();
    for (const node of group.nodes) {
      seen.add(node.address);
      if (!this.cards.has(node.address)) this.cards.set(node.address, this.card());
      this.fill(this.cards.get(node.address), node, rateOf(node));
    }
    for (const [address, card] of this.cards) {
      if (seen.has(address)) continue;
      card.element.classList.add("going");
      this.cards.delete(address);
      card.wire.remove();
      card.flow.remove();
      setTimeout(() => card.element.remove(), 500);
    }
    this.showCopies(group);
    this.settle(false);
  }

  showHub(group, listeners) {
    const rows = listeners.map((listener) => {
      const where = `${listener.bind}${listener.tls ? ", TLS" : ""}`;
      return [listener.name, where, plural(listener.clients, "client")];
    });
    while (this.doors.children.length > rows.length) this.doors.lastChild.remove();
    rows.forEach(([name, where, clients], index) => {
      const row = this.doors.children[index] ?? this.doors.appendChild(
        make("li", {}, make("span", { class: "count" }), make("b"), make("div", { class: "where" })));
      say(row.children[0], clients);
      say(row.children[1], name);
      say(row.children[2], where);
    });
    this.hub.classList.toggle("held", group.master === null || isPaused(group));
    say(this.waits, group.held > 0 ? `${plural(group.held, "client")} ${group.held === 1 ? "waits" : "wait"}` : "");
    this.waits.hidden = group.held === 0;
  }

  card() {
    const card = { spark: new Spark(), at: null, to: null };
    card.address = make("span", { class: "address" });
    card.role = make("span", { class: "role" });
    card.rate = make("span", { class: "rate" });
    card.facts = make("p", { class: "facts" });
    card.acts = make("div", { class: "acts", hidden: "" });
    card.element = make("li", { class: "node" }, make("div", { class: "title" }, card.address, card.role), card.rate, card.facts, card.spark.svg, card.acts);
    card.wire = draw("path", { class: "line" });
    card.flow = draw("path", { class: "flow idle" });
    this.wires.append(card.wire, card.flow);
    this.list.append(card.element);
    return card;
  }

  fill(card, node, perSecond) {
    const silent = node.state === "down";
    const unread = node.state === "unreadable" || node.state === "drained";
    card.node = node;
    say(card.address, node.address);
    card.address.title = node.address;
    say(card.role, roleWords(node));
    card.element.classList.toggle("is-master", node.is_master);
    card.element.classList.toggle("silent", silent);
    card.element.classList.toggle("unread", unread);
    if (perSecond !== null) card.spark.add(perSecond);
    card.rate.replaceChildren(perSecond === null ? "–" : rate(perSecond), make("small", {}, " /s"));
    const facts = [];
    if (node.problem) facts.push(make("span", { class: "why" }, (silent || node.state === "drained" ? "" : "no reads: ") + node.problem));
    else if (!node.is_master && node.role === "replica") facts.push(behind(node));
    if (!silent) {
      facts.push(node.version ? `${node.server} ${node.version}` : node.server);
      if (node.zone) facts.push(`zone ${node.zone}`);
      facts.push(`${seconds(node.round_trip_seconds)} away`);
      if (node.pins > 0) facts.push(`${count(node.pins)} pinned`);
    }
    const line = facts.flatMap((fact, at) => (at === 0 ? [fact] : [" · ", fact]));
    card.facts.replaceChildren(...line);
    card.facts.title = card.facts.textContent;
    const link = silent ? "off" : unread ? "off" : node.is_master ? "write" : "read";
    card.wire.setAttribute("class", `line ${link}`);
    const speed = !perSecond || silent ? "idle" : perSecond < 50 ? "slow" : perSecond < 2000 ? "" : "fast";
    card.flow.setAttribute("class", `flow ${speed}`);
    this.acts?.(card.acts, this.group, node);
  }

  // Lines of replication, kept by both ends, so that a new one appears beside the old one's fading.
  showCopies(group) {
    const wanted = new Map();
    for (const node of group.nodes) {
      if (!node.replicates || node.replicates === node.address) continue;
      if (!this.cards.has(node.replicates)) continue;
      const parent = group.nodes.find((other) => other.address === node.replicates);
      const broken = node.state === "down" || parent?.state === "down" || /link to its master/.test(node.problem ?? "");
      wanted.set(`${node.replicates}>${node.address}`, { from: node.replicates, to: node.address, broken });
    }
    for (const [name, copy] of this.copies) {
      if (wanted.has(name)) continue;
      copy.line.remove();
      copy.head.remove();
      this.copies.delete(name);
    }
    for (const [name, want] of wanted) {
      let copy = this.copies.get(name);
      if (!copy) {
        copy = { line: draw("path"), head: draw("path") };
        this.wires.append(copy.line, copy.head);
        this.copies.set(name, copy);
      }
      Object.assign(copy, want);
      copy.line.setAttribute("class", want.broken ? "copy off" : "copy");
      copy.head.setAttribute("class", want.broken ? "head off" : "head");
    }
  }

  // Where everything belongs; moves it there, or puts it there at once.
  settle(atOnce) {
    if (!this.group) return;
    const width = this.element.clientWidth;
    if (width === 0) return;
    const narrow = width < NARROW;
    const hubWidth = narrow ? width : Math.min(270, width * 0.25);
    this.hub.style.width = `${hubWidth}px`;
    const hubHeight = this.hub.offsetHeight;
    const left = narrow ? 24 : hubWidth + Math.min(170, width * 0.14);
    const right = narrow ? 26 : 58;
    // Without a master everything stays where it is: nobody knows yet who comes first.
    const before = this.group.master === null ? this.before : undefined;
    const ordered = order(this.group.nodes, before);
    this.before = new Map(ordered.map(({ node, depth }, index) => [node.address, { index, depth }]));
    let y = narrow ? hubHeight + 18 : 0;
    const top = y;
    let latest = y;
    for (const { node, depth } of ordered) {
      const card = this.cards.get(node.address);
      const indent = Math.max(0, depth - 1) * (narrow ? 8 : 24);
      const cardWidth = width - left - right - indent;
      card.element.style.width = `${cardWidth}px`;
      card.height = card.element.offsetHeight;
      card.width = cardWidth;
      card.next = { x: left + indent, y };
      latest = y + card.height;
      y = latest + GAP;
    }
    const height = Math.max(latest, narrow ? 0 : hubHeight);
    const down = narrow ? 0 : Math.max(0, (height - (latest - top)) / 2);
    for (const { node } of ordered) this.cards.get(node.address).next.y += down;
    this.element.style.height = `${height}px`;
    const hubTop = narrow ? 0 : (height - hubHeight) / 2;
    this.hub.style.top = `${hubTop}px`;
    this.place = { narrow, hubWidth, hubHeight, hubTop, cards: ordered.map(({ node }) => this.cards.get(node.address)) };
    const { cards } = this.place;
    const same = (a, b) => a && Math.abs(a.x - b.x) + Math.abs(a.y - b.y) < 0.5;
    // A move that is under way to the right place goes on.
    const known = cards.length > 0 && cards.every((card) => same(card.to, card.next));
    for (const card of cards) card.to = card.next;
    if (known && !atOnce) return this.draw();
    const still = atOnce || matchMedia("(prefers-reduced-motion: reduce)").matches;
    const [began, run] = [performance.now(), ++this.moving];
    const starts = cards.map((card) => (card.at === null || still ? { ...card.to } : { ...card.at }));
    if (cards.every((card, index) => same(starts[index], card.to))) return this.step(starts, 1);
    const frame = (now) => {
      if (run !== this.moving) return;
      const part = Math.min(1, (now - began) / MOVING_MS);
      this.step(starts, part);
      if (part < 1) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  step(starts, part) {
    const eased = part < 0.5 ? 4 * part ** 3 : 1 - (-2 * part + 2) ** 3 / 2;
    this.place.cards.forEach((card, index) => {
      const start = starts[index];
      card.at = { x: start.x + (card.to.x - start.x) * eased, y: start.y + (card.to.y - start.y) * eased };
      card.element.style.transform = `translate(${card.at.x.toFixed(1)}px, ${card.at.y.toFixed(1)}px)`;
    });
    this.draw();
  }

  draw() {
    const { narrow, hubWidth, hubHeight, hubTop, cards } = this.place;
    const byHeight = [...cards].sort((a, b) => a.at.y - b.at.y);
    byHeight.forEach((card, index) => {
      const y = card.at.y + card.height / 2;
      let path;
      if (narrow) {
        path = `M10 ${hubHeight}V${y - 10}Q10 ${y} 20 ${y}H${card.at.x}`;
      } else {
        const room = Math.min(hubHeight - 30, byHeight.length * 16);
        const from = hubTop + hubHeight / 2 + (byHeight.length < 2 ? 0 : (index / (byHeight.length - 1) - 0.5) * room);
        const middle = (card.at.x - hubWidth) / 2;
        path = `M${hubWidth} ${from}C${hubWidth + middle} ${from} ${card.at.x - middle} ${y} ${card.at.x} ${y}`;
      }
      card.wire.setAttribute("d", path);
      card.flow.setAttribute("d", path);
    });
    const place = new Map(cards.map((card) => [card.node.address, card]));
    for (const copy of this.copies.values()) {
      const [from, to] = [place.get(copy.from), place.get(copy.to)];
      if (!from || !to) continue;
      const steps = Math.abs(byHeight.indexOf(from) - byHeight.indexOf(to));
      const x1 = from.at.x + from.width;
      const [y1, y2] = [from.at.y + from.height / 2, to.at.y + to.height / 2 - 4];
      const bend = x1 + (narrow ? 8 + 5 * Math.min(steps, 3) : 16 + 10 * Math.min(steps, 4));
      const x2 = to.at.x + to.width;
      copy.line.setAttribute("d", `M${x1} ${y1}C${bend} ${y1} ${bend} ${y1} ${bend} ${(y1 + y2) / 2}S${bend} ${y2} ${x2 + 5} ${y2}`);
      copy.head.setAttribute("d", `M${x2 + 1} ${y2}l7 -4v8z`);
    }
  }
}

const isPaused = (group) => (group.paused_seconds_left ?? null) !== null;

const mark = () => {
  const svg = draw("svg", { class: "mark", viewBox: "0 0 24 24", "aria-hidden": "true" });
  svg.append(draw("path", { d: "M3 17 12 5l9 12" }), draw("path", { d: "M3 21 12 13l9 8", class: "faint" }));
  return svg;
};

const roleWords = (node) => {
  if (node.state === "down") return "✕ no answer";
  if (node.is_master) return "● master";
  if (node.role === "master") return "○ says master";
  if (node.state === "drained") return "◌ drained";
  if (node.role === "replica") return node.state === "unreadable" ? "○ replica, not read" : "○ replica";
  return "○ unknown";
};

const behind = (node) => {
  if (node.lag_bytes === null && node.lag_seconds === null) return "lag unknown";
  if (node.lag_bytes === 0 || (!node.lag_bytes && !node.lag_seconds)) return "in step";
  const parts = [];
  if (node.lag_seconds !== null) parts.push(seconds(node.lag_seconds));
  if (node.lag_bytes !== null) parts.push(bytes(node.lag_bytes));
  return parts.join(", ") + " behind";
};

// The master, whoever copies it, and whoever copies those; what hangs on nothing comes last.
const order = (nodes, before) => {
  if (before && nodes.every((node) => before.has(node.address))) {
    const kept = nodes.map((node) => ({ node, ...before.get(node.address) }));
    return kept.sort((a, b) => a.index - b.index);
  }
  const done = new Set();
  const ordered = [];
  const walk = (node, depth) => {
    if (done.has(node.address)) return;
    done.add(node.address);
    ordered.push({ node, depth });
    nodes.filter((other) => other.replicates === node.address).forEach((other) => walk(other, depth + 1));
  };
  nodes.filter((node) => node.is_master).forEach((node) => walk(node, 0));
  nodes.filter((node) => node.role === "master" && node.state !== "down").forEach((node) => walk(node, 0));
  nodes.filter((node) => node.state !== "down" && !nodes.some((other) => other.address === node.replicates)).forEach((node) => walk(node, 1));
  nodes.filter((node) => node.state !== "down").forEach((node) => walk(node, 1));
  nodes.forEach((node) => walk(node, 1));
  return ordered;
};
