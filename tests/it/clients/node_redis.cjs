// node-redis in RESP2 and RESP3 against HOST:PORT [CA.pem]; exits 1 and says what differed.

const { createClient, createClientPool, RESP_TYPES, WatchError } = require('redis');
const { version } = require('redis/package.json');
const { host, port, ca, same, refused, within, collector, run } = require('./check.cjs');

async function checks(RESP) {
  const key = (name) => `node-redis:${RESP}:${name}`;
  const tls = ca ? { tls: true, ca, checkServerIdentity: () => undefined } : {};
  const options = { RESP, socket: { host, port, reconnectStrategy: false, ...tls } };
  const open = async (more = {}) => {
    const client = createClient({ ...options, ...more });
    client.on('error', (error) => { throw error; });
    return client.connect();
  };
  const client = await open();
  await forget(client, key);

  same('PING', await client.ping(), 'PONG');
  same('GET of nothing', await client.get(key('none')), null);
  same('SET', await client.set(key('s'), 'grüße'), 'OK');
  same('GET', await client.get(key('s')), 'grüße');
  const buffers = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  const everyByte = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
  await client.set(key('bytes'), everyByte);
  same('every byte', Buffer.compare(await buffers.get(key('bytes')), everyByte), 0);
  await client.hSet(key('h'), { a: '1', b: '2' });
  same('HGETALL', { ...(await client.hGetAll(key('h'))) }, { a: '1', b: '2' });
  await client.zAdd(key('z'), [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }]);
  same('ZRANGE', (await client.zRangeWithScores(key('z'), 0, -1)).map(({ value, score }) => [value, score]),
    [['a', 1], ['b', 2.5]]);
  await refused('LPUSH on a string', client.lPush(key('s'), 'x'), /WRONGTYPE/);
  await refused('an unknown command', client.sendCommand(['NOSUCHCOMMAND']), /unknown command/);
  for (let n = 0; n < 300; n += 1) {
    await client.set(key('own'), String(n));
    same('GET after own SET', await client.get(key('own')), String(n));
  }
  for (const size of [16_384, 1_000_000, 8_000_000]) {
    const value = 'v'.repeat(size);
    await client.set(key('large'), value);
    same(`GET of ${size}`, (await client.get(key('large'))) === value, true);
  }
  await client.del(key('large'));

  // Commands of one tick go out together.
  const counted = await Promise.all(Array.from({ length: 2000 }, () => client.incr(key('parallel'))));
  same('2000 parallel INCR in order', counted, Array.from({ length: 2000 }, (_, n) => n + 1));
  same('MULTI', await client.multi().set(key('m'), 'a').get(key('m')).exec(), ['OK', 'a']);
  same('pipeline', await client.multi().set(key('m'), 'b').get(key('m')).execAsPipeline(), ['OK', 'b']);
  await optimistic(client, open, key);
  await databases(client, open, key);
  await publish(client, open, key);
  await blocking(client, open, key);

  const names = Array.from({ length: 500 }, (_, n) => key(`scan:${n}`));
  await client.mSet(names.map((name) => [name, 'x']));
  const found = new Set();
  for await (const page of client.scanIterator({ MATCH: key('scan:*'), COUNT: 20 })) {
    (Array.isArray(page) ? page : [page]).forEach((name) => found.add(name));
  }
  same('SCAN finds every key', names.filter((name) => !found.has(name)).length, 0);
  same('EVAL', await client.eval('return {1, ARGV[1]}', { keys: [], arguments: ['x'] }), [1, 'x']);

  const sha = await client.scriptLoad("return redis.call('GET', KEYS[1])");
  await client.set(key('script'), 'read');
  for (let n = 0; n < 20; n += 1) {
    const what = { keys: [key('script')], arguments: [] };
    same('EVALSHA', await client.evalSha(sha, what), 'read');
    same('EVALSHA_RO', await client.evalShaRo(sha, what), 'read');
  }
  await refused('EVALSHA of no script', client.evalSha('0'.repeat(40), { keys: [], arguments: [] }), /NOSCRIPT/);
  await client.sAdd(key('members'), names);
  const members = new Set();
  for await (const page of client.sScanIterator(key('members'), { COUNT: 20 })) {
    (Array.isArray(page) ? page : [page]).forEach((name) => members.add(name));
  }
  same('SSCAN', members.size, names.length);

  // Its clean-up after three seconds closes clients that close() has closed, and throws, also with a bare server.
  const pool = createClientPool(options, { minimum: 2, maximum: 8, cleanupDelay: 600_000 });
  pool.on('error', (error) => { throw error; });
  await pool.connect();
  const pooled = await Promise.all(Array.from({ length: 500 }, () => pool.incr(key('pooled'))));
  same('INCR through a pool', pooled.sort((a, b) => a - b), Array.from({ length: 500 }, (_, n) => n + 1));
  await pool.close();
  await forget(client, key);
  await client.close();
}

async function optimistic(client, open, key) {
  const other = await open();
  await client.watch(key('m'));
  await other.set(key('m'), 'changed');
  let failed = false;
  try {
    await client.multi().set(key('m'), 'lost').exec();
  } catch (error) {
    if (!(error instanceof WatchError)) throw error;
    failed = true;
  }
  same('EXEC fails after a change', failed, true);
  same('the watched key', await client.get(key('m')), 'changed');
  await other.close();
}

async function databases(client, open, key) {
  const three = await open({ database: 3 });
  await three.set(key('db'), 'three');
  await client.set(key('db'), 'zero');
  same('db 3', await three.get(key('db')), 'three');
  await three.select(0);
  same('db 0', await three.get(key('db')), 'zero');
  await three.select(3);
  await three.del(key('db'));
  await three.close();
}

async function publish(client, open, key) {
  const subscriber = await open();
  const messages = collector();
  await subscriber.subscribe(key('one'), (text, channel) => messages.push([channel, text]));
  await subscriber.pSubscribe(key('p:*'), (text, channel) => messages.push([channel, text]));
  same('PUBLISH', await client.publish(key('one'), 'first'), 1);
  same('message', await messages.take(1, 'message'), [[key('one'), 'first']]);
  await client.publish(key('p:x'), 'second');
  same('pmessage', await messages.take(1, 'pmessage'), [[key('p:x'), 'second']]);
  for (let n = 0; n < 1000; n += 1) client.publish(key('one'), String(n)).catch((error) => { throw error; });
  same('1000 messages in order', (await messages.take(1000, 'messages')).map(([, text]) => text),
    Array.from({ length: 1000 }, (_, n) => String(n)));
  await subscriber.unsubscribe(key('one'));
  await subscriber.pUnsubscribe(key('p:*'));
  // node-redis may hand out this one reply as bytes.
  same('commands after pub/sub', String(await subscriber.ping()), 'PONG');
  await subscriber.close();
}

async function blocking(client, open, key) {
  const waiter = await open();
  same('BLPOP of nothing', await within(5000, 'BLPOP', waiter.blPop(key('queue'), 1)), null);
  const taken = waiter.blPop(key('queue'), 10);
  for (let n = 0; n < 50; n += 1) await client.set(key('beside'), String(n));
  await client.rPush(key('queue'), 'job');
  same('BLPOP', { ...(await within(10_000, 'BLPOP', taken)) }, { key: key('queue'), element: 'job' });
  await waiter.close();
}

async function forget(client, key) {
  const names = await client.keys(key('*'));
  if (names.length > 0) await client.del(names);
}

run(`node-redis ${version}`, async () => {
  await checks(2);
  await checks(3);
});
