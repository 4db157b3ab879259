// node-redis with its default settings against HOST:PORT [CA.pem], while the proxy is replaced again and again.
//
// As through_upgrades.py. Over TLS a connection ends, which the library tells of: the command that was on its way then must not have
// been executed, so the next number is the one that would have come.

const { createClient } = require('redis');
const { host, port, ca, same } = require('./check.cjs');

const tls = ca ? { tls: true, ca, checkServerIdentity: () => undefined } : {};
const open = async (more = {}) => {
  const client = createClient({ socket: { host, port, ...tls }, ...more });
  client.on('error', (error) => { if (!ca) fail(error); });
  return client.connect();
};
let over = false;
let turns = 0;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function fail(error) {
  console.log(error);
  process.exit(1);
}

// The answer, or nothing where the connection ended without one.
async function asked(command) {
  try {
    return await command;
  } catch (error) {
    if (!ca || !/[Ss]ocket|closed|ECONNRESET/.test(String(error))) throw error;
    return undefined;
  }
}

async function counts(key) {
  const client = await open();
  for (let number = 1; !over; turns += 1) {
    const got = await asked(client.incr(key));
    if (got === undefined) continue;
    same(`INCR ${key}`, got, number);
    const read = await asked(client.get(key));
    if (read !== undefined) same(`GET ${key}`, read, String(number));
    number += 1;
    await pause(1);
  }
  await client.close();
}

async function pipes(key) {
  const client = await open({ RESP: 3 });
  for (let number = 0; !over; turns += 1) {
    const got = await Promise.all(Array.from({ length: 50 }, () => asked(client.incr(key))));
    const answered = got.filter((one) => one !== undefined);
    same(`50 times INCR ${key}`, answered, answered.map((_, place) => number + place + 1));
    number += answered.length;
    await pause(2);
  }
  await client.close();
}

async function transacts(key) {
  const client = await open();
  for (let number = 1; !over; turns += 1) {
    const got = await asked(client.multi().incr(key).get(key).exec());
    if (got === undefined) continue;
    same(`MULTI ${key}`, got, [number, String(number)]);
    number += 1;
    await pause(2);
  }
  await client.close();
}

async function connects(key) {
  for (let number = 1; !over; turns += 1) {
    const client = await open();
    const got = await asked(client.incr(key));
    if (got !== undefined) {
      same(`a new connection, INCR ${key}`, got, number);
      number += 1;
    }
    client.destroy();
    await pause(5);
  }
}

process.stdin.resume();
process.stdin.on('end', () => { over = true; });
const told = setInterval(() => console.log(turns), 50);
Promise.all([counts('node:a'), counts('node:b'), pipes('node:p'), transacts('node:t'), connects('node:n')]).then(() => {
  clearInterval(told);
  console.log('everything as it should be');
  process.exit(0);
}, fail);
