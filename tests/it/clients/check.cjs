// What the Node scripts share: comparison, deadlines, and where to connect.
// The address is the first argument, HOST:PORT; a CA file may be the second.

const { isDeepStrictEqual, inspect } = require('node:util');
const { readFileSync } = require('node:fs');

const [host, port] = process.argv[2].split(':');
const ca = process.argv[3] ? readFileSync(process.argv[3]) : undefined;

function same(what, got, wanted) {
  if (!isDeepStrictEqual(got, wanted)) {
    throw new Error(`${what}: got ${shorten(got)}, wanted ${shorten(wanted)}`);
  }
}

function shorten(value) {
  const text = inspect(value);
  return text.length < 300 ? text : `${text.slice(0, 300)}… (${text.length} characters)`;
}

// The error that `promise` must end in.
async function refused(what, promise, pattern) {
  let got;
  try {
    got = await promise;
  } catch (error) {
    if (!pattern.test(String(error.message))) throw new Error(`${what}: refused with ${error.message}`);
    return;
  }
  throw new Error(`${what}: not refused, got ${shorten(got)}`);
}

// A promise that gives up, so that a lost reply is a failure and not a hang.
function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Collects what arrives until there are `count`.
function collector() {
  const items = [];
  let wake = () => {};
  return {
    push(item) {
      items.push(item);
      wake();
    },
    async take(count, what) {
      while (items.length < count) {
        await within(10_000, `${what} (${items.length} of ${count})`, new Promise((resolve) => { wake = resolve; }));
      }
      return items.splice(0, count);
    },
  };
}

function run(name, main) {
  // A reply that never comes must be a failure that names itself, not a hang.
  within(60_000, 'the whole test', main()).then(
    () => {
      console.log(`${name}: everything as it should be`);
      process.exit(0);
    },
    (error) => {
      console.error(`${name}: ${error.stack}`);
      process.exit(1);
    },
  );
}

module.exports = { host, port: Number(port), ca, same, refused, within, collector, run };
