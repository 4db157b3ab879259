// Numbers and times in words, and small drawings. Nothing here knows what is shown where.

export const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

export const draw = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

// Touches the page only where something is new, so that whoever has selected a word keeps it.
export const say = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

export const count = (number) => {
  if (number === null || number === undefined || !Number.isFinite(number)) return "–";
  const rounded = Math.round(number);
  if (Math.abs(rounded) < 100_000) return rounded.toLocaleString("en").replaceAll(",", "\u202f");
  if (Math.abs(rounded) < 1e6) return (rounded / 1e3).toFixed(0) + " k";
  return (rounded / 1e6).toFixed(rounded < 1e7 ? 2 : 1) + " M";
};

export const rate = (number) => {
  if (number === null || number === undefined || !Number.isFinite(number)) return "–";
  return number > 0 && number < 9.95 ? number.toFixed(1) : count(number);
};

export const bytes = (number) => {
  if (number === null || number === undefined || !Number.isFinite(number)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return (unit === 0 || number >= 100 ? Math.round(number) : number.toFixed(1)) + " " + units[unit];
};

export const seconds = (time) => {
  if (time === null || time === undefined || !Number.isFinite(time)) return "–";
  if (time < 0.0000005) return "0 ms";
  if (time < 0.001) return (time * 1e6).toFixed(0) + " µs";
  if (time < 0.01) return (time * 1e3).toFixed(1) + " ms";
  if (time < 1) return (time * 1e3).toFixed(0) + " ms";
  if (time < 100) return time.toFixed(1) + " s";
  return long(time);
};

export const long = (time) => {
  const [days, hours, minutes] = [Math.floor(time / 86400), Math.floor(time / 3600) % 24, Math.floor(time / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min` : `${Math.floor(time)} s`;
};

export const plural = (number, one, many = one + "s") => `${count(number)} ${number === 1 ? one : many}`;

// A line of the last two minutes. It has no words of its own: the figure beside it says what matters.
const SAMPLES = 120;

export class Spark {
  constructor() {
    this.values = [];
    this.area = draw("path", { class: "area" });
    this.line = draw("path");
    this.svg = draw("svg", { class: "spark", viewBox: `0 0 ${SAMPLES - 1} 24`, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.svg.append(this.area, this.line);
  }

  add(value) {
    this.values.push(Number.isFinite(value) ? value : 0);
    if (this.values.length > SAMPLES) this.values.shift();
    const most = Math.max(...this.values, 1e-9);
    const from = SAMPLES - this.values.length;
    const points = this.values.map((each, at) => `${from + at} ${(23 - (each / most) * 21).toFixed(2)}`);
    const line = "M" + points.join("L");
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", `${line}L${SAMPLES - 1} 24L${from} 24Z`);
  }
}

// What grew, per second, between two looks.
export class Rates {
  constructor() {
    this.before = new Map();
  }

  of(name, total, at) {
    const before = this.before.get(name);
    this.before.set(name, { total, at });
    if (before === undefined || at <= before.at) return before === undefined ? null : before.rate ?? null;
    // A number that fell began anew with another process.
    const grown = total >= before.total ? (total - before.total) / (at - before.at) : null;
    this.before.get(name).rate = grown;
    return grown;
  }
}

// Times of the last minute, from counts of all times since the start.
export class Times {
  constructor() {
    this.samples = [];
  }

  // Percentiles in seconds; nothing while too little is known.
  add(bounds, counts, at) {
    const before = this.samples[0]?.counts;
    if (before && counts.some((number, index) => number < before[index])) this.samples = [];
    this.samples.push({ at, counts });
    while (this.samples.length > 2 && at - this.samples[0].at > 60) this.samples.shift();
    const grown = counts.map((number, index) => number - this.samples[0].counts[index]);
    const all = grown.reduce((sum, number) => sum + number, 0);
    if (all < 10) return null;
    const percentile = (part) => {
      let left = part * all;
      for (let index = 0; index < grown.length; index += 1) {
        if (left <= grown[index] && grown[index] > 0) {
          const low = index === 0 ? 0 : bounds[index - 1];
          // Within a bucket nothing is known; the middle of it by and by is the least wrong.
          return index < bounds.length ? low + (bounds[index] - low) * (left / grown[index]) : low;
        }
        left -= grown[index];
      }
      return bounds.at(-1);
    };
    return { p50: percentile(0.5), p99: percentile(0.99), p999: percentile(0.999) };
  }
}
