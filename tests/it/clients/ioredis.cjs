// ioredis with its default settings against HOST:PORT [CA.pem]; exits 1 and says what differed.

const Redis = require('ioredis');
const { version } = require('ioredis/package.json');
const { host, port, ca, same, refused, within, collector, run } = require('./check.cjs');

const open = (options = {}) => {
  // servername '' sends no SNI, which may not be an address; the certificate is still verified.
  const tls = ca ? { tls: { ca, servername: '', checkServerIdentity: () => undefined } } : {};
  const redis = new Redis({ host, port, ...tls, ...options });
  // Without a listener ioredis prints and goes on; every failure must end the test.
  redis.on('error', (error) => { throw error; });
  return redis;
};
const key = (name) => `ioredis:${name}`;

async function basics(redis) {
  same('PING', await redis.ping(), 'PONG');
  same('GET of nothing', await redis.get(key('none')), null);
  same('SET', await redis.set(key('s'), 'grüße'), 'OK');
  same('GET', await redis.get(key('s')), 'grüße');
  const everyByte = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, n) => n)), Buffer.from('\r\n$-1\r\n')]);
  await redis.set(key('bytes'), everyByte);
  same('getBuffer', Buffer.compare(await redis.getBuffer(key('bytes')), everyByte), 0);
  await redis.hset(key('h'), { a: '1', b: '2' });
  same('HGETALL', { ...(await redis.hgetall(key('h'))) }, { a: '1', b: '2' });
  await redis.zadd(key('z'), 1, 'a', 2.5, 'b');
  same('ZRANGE', await redis.zrange(key('z'), 0, -1, 'WITHSCORES'), ['a', '1', 'b', '2.5']);
  await refused('LPUSH on a string', redis.lpush(key('s'), 'x'), /WRONGTYPE/);
  await refused('an unknown command', redis.call('NOSUCHCOMMAND'), /unknown command/);
  for (let n = 0; n < 300; n += 1) {
    await redis.set(key('own'), n);
    same('GET after own SET', await redis.get(key('own')), String(n));
  }
}

async function large(redis) {
  for (const size of [16_384, 1_000_000, 8_000_000]) {
    const value = 'v'.repeat(size);
    same(`SET of ${size}`, await redis.set(key('large'), value), 'OK');
    same(`GET of ${size}`, (await redis.get(key('large'))) === value, true);
  }
}

async function pipelines(redis) {
  const pipeline = redis.pipeline();
  for (let n = 0; n < 1000; n += 1) pipeline.set(key(`p:${n}`), n).get(key(`p:${n}`));
  const replies = await pipeline.exec();
  same('pipeline', replies.filter((_, n) => n % 2).map(([error, value]) => error ?? value),
    Array.from({ length: 1000 }, (_, n) => String(n)));
  same('MULTI', await redis.multi().set(key('m'), 'a').get(key('m')).exec(), [[null, 'OK'], [null, 'a']]);
  // pipeline: false sends MULTI and every command by itself: the block is open for several round trips.
  await redis.multi({ pipeline: false });
  same('QUEUED', await redis.set(key('m'), 'b'), 'QUEUED');
  same('QUEUED read', await redis.get(key('m')), 'QUEUED');
  same('EXEC', await redis.exec(), [[null, 'OK'], [null, 'b']]);
  await redis.multi({ pipeline: false });
  await redis.set(key('m'), 'c');
  same('DISCARD', await redis.discard(), 'OK');
  same('after DISCARD', await redis.get(key('m')), 'b');
  const other = open();
  await redis.watch(key('m'));
  await other.set(key('m'), 'changed');
  same('EXEC after a change', await redis.multi().set(key('m'), 'lost').exec(), null);
  await other.quit();
  const all = await Promise.all(Array.from({ length: 2000 }, (_, n) => redis.incrby(key('parallel'), n - n + 1)));
  same('2000 parallel INCRBY in order', all, Array.from({ length: 2000 }, (_, n) => n + 1));
}

async function autopipelining() {
  const redis = open({ enableAutoPipelining: true });
  await Promise.all(Array.from({ length: 500 }, (_, n) => redis.set(key(`auto:${n}`), n)));
  const got = await Promise.all(Array.from({ length: 500 }, (_, n) => redis.get(key(`auto:${n}`))));
  same('auto pipelining', got, Array.from({ length: 500 }, (_, n) => String(n)));
  await redis.quit();
}

async function databases() {
  const three = open({ db: 3 });
  const zero = open();
  await three.set(key('db'), 'three');
  await zero.set(key('db'), 'zero');
  same('db 3', await three.get(key('db')), 'three');
  same('SELECT', await three.select(0), 'OK');
  same('db 0', await three.get(key('db')), 'zero');
  await three.select(3);
  await three.del(key('db'));
  await Promise.all([three.quit(), zero.quit()]);
}

async function publish() {
  const subscriber = open();
  const publisher = open();
  const messages = collector();
  subscriber.on('message', (channel, text) => messages.push([channel, text]));
  subscriber.on('pmessage', (pattern, channel, text) => messages.push([pattern, channel, text]));
  same('SUBSCRIBE', await subscriber.subscribe(key('one'), key('two')), 2);
  same('PSUBSCRIBE', await subscriber.psubscribe(key('p:*')), 3);
  same('PUBLISH', await publisher.publish(key('one'), 'first'), 1);
  same('message', await messages.take(1, 'message'), [[key('one'), 'first']]);
  await publisher.publish(key('p:x'), 'second');
  same('pmessage', await messages.take(1, 'pmessage'), [[key('p:*'), key('p:x'), 'second']]);
  for (let n = 0; n < 1000; n += 1) publisher.publish(key('two'), n);
  same('1000 messages in order', (await messages.take(1000, 'messages')).map(([, text]) => text),
    Array.from({ length: 1000 }, (_, n) => String(n)));
  // By name: ioredis waits without an end for UNSUBSCRIBE of everything while a pattern remains.
  await subscriber.unsubscribe(key('one'), key('two'));
  await subscriber.punsubscribe(key('p:*'));
  same('commands after pub/sub', await subscriber.set(key('after'), 'x'), 'OK');
  await Promise.all([subscriber.quit(), publisher.quit()]);
}

async function blocking() {
  const waiter = open();
  const pusher = open();
  same('BLPOP of nothing', await within(5000, 'BLPOP', waiter.blpop(key('queue'), 1)), null);
  const taken = waiter.blpop(key('queue'), 10);
  for (let n = 0; n < 50; n += 1) await pusher.set(key('beside'), n);
  await pusher.rpush(key('queue'), 'job');
  same('BLPOP', await within(10_000, 'BLPOP', taken), [key('queue'), 'job']);
  const entry = waiter.xread('BLOCK', 10_000, 'STREAMS', key('stream'), '0');
  const id = await pusher.xadd(key('stream'), '*', 'f', 'v');
  same('XREAD BLOCK', await within(10_000, 'XREAD', entry), [[key('stream'), [[id, ['f', 'v']]]]]);
  await Promise.all([waiter.quit(), pusher.quit()]);
}

async function scripts(redis) {
  redis.defineCommand('put', { numberOfKeys: 1, lua: "redis.call('SET', KEYS[1], ARGV[1]) return ARGV[1]" });
  same('script', await redis.put(key('script'), 'a'), 'a');
  same('script again', await redis.put(key('script'), 'b'), 'b');
  const sha = await redis.script('LOAD', "return redis.call('GET', KEYS[1])");
  for (let n = 0; n < 20; n += 1) same('EVALSHA', await redis.evalsha(sha, 1, key('script')), 'b');
  same('EVALSHA_RO', await redis.call('EVALSHA_RO', sha, 1, key('script')), 'b');
  same('EVALSHA in MULTI', await redis.multi().evalsha(sha, 1, key('script')).exec(), [[null, 'b']]);
  await refused('EVALSHA of no script', redis.evalsha('0'.repeat(40), 0), /NOSCRIPT/);
  const names = Array.from({ length: 500 }, (_, n) => key(`scan:${n}`));
  await redis.mset(names.flatMap((name) => [name, 'x']));
  const found = new Set();
  for await (const page of redis.scanStream({ match: key('scan:*'), count: 20 })) page.forEach((name) => found.add(name));
  same('SCAN finds every key', names.filter((name) => !found.has(name)).length, 0);
  await redis.sadd(key('members'), names);
  const members = new Set();
  for await (const page of redis.sscanStream(key('members'), { count: 20 })) page.forEach((name) => members.add(name));
  same('SSCAN', members.size, names.length);
}

async function forget(redis) {
  const names = await redis.keys(key('*'));
  if (names.length > 0) await redis.del(...names);
}

run(`ioredis ${version}`, async () => {
  const redis = open();
  await forget(redis);
  await basics(redis);
  await large(redis);
  await pipelines(redis);
  await autopipelining();
  await databases();
  await publish();
  await blocking();
  await scripts(redis);
  await forget(redis);
  same('QUIT', await redis.quit(), 'OK');
});
