"""redis-py with its default settings against HOST:PORT [CA.pem]; exits 1 and says what differed.

Run by tests/it/clients.rs. Everything is checked in RESP2 and RESP3, with replies as bytes and as text.
Keys carry a prefix of their own, so that several clients can share a server.
"""

import sys
import threading
import time

import redis

HOST, PORT = sys.argv[1].rsplit(":", 1)
PORT = int(PORT)
CA = sys.argv[2] if len(sys.argv) > 2 else None


def same(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: got {shorten(got)}, wanted {shorten(wanted)}")


def true(what, condition):
    if not condition:
        raise AssertionError(what)


def shorten(value):
    text = repr(value)
    return text if len(text) < 300 else f"{text[:300]}… ({len(text)} characters)"


def tls():
    return {"ssl": True, "ssl_ca_certs": CA} if CA else {}


class Checks:
    def __init__(self, protocol, decode):
        self.options = dict(host=HOST, port=PORT, protocol=protocol, decode_responses=decode, **tls())
        self.decode = decode
        self.prefix = f"redis-py:{protocol}:{'text' if decode else 'bytes'}:"
        self.r = redis.Redis(**self.options)

    def key(self, name):
        return self.prefix + name

    def text(self, value):
        """What the client makes of `value` when it comes from the server."""
        return value if self.decode else value.encode()

    def run(self):
        self.forget()
        for check in [
            self.strings, self.structures, self.own_writes, self.errors, self.large, self.pipelines,
            self.optimistic, self.pool, self.databases, self.publish, self.blocking, self.scripts,
            self.connection, self.scan,
        ]:
            try:
                check()
            except Exception as error:
                error.add_note(f"in {check.__name__} with {self.prefix}")
                raise
        self.forget()
        self.r.close()

    def forget(self):
        for db in (0, 3):
            with redis.Redis(**{**self.options, "db": db}) as r:
                keys = list(r.scan_iter(match=self.prefix + "*", count=1000))
                if keys:
                    r.delete(*keys)

    def strings(self):
        r, key = self.r, self.key("string")
        same("PING", r.ping(), True)
        same("GET of nothing", r.get(key), None)
        same("SET", r.set(key, "value"), True)
        same("GET", r.get(key), self.text("value"))
        same("SET NX", r.set(key, "other", nx=True), None)
        same("SET GET", r.set(key, "grüße", get=True), self.text("value"))
        same("GET of umlauts", r.get(key), self.text("grüße"))
        same("empty", (r.set(key, ""), r.get(key)), (True, self.text("")))
        same("ECHO", r.echo("a\r\nb"), self.text("a\r\nb"))
        same("INCR", [r.incr(self.key("count")) for _ in range(3)], [1, 2, 3])
        same("INCRBYFLOAT", r.incrbyfloat(self.key("float"), 1.5), 1.5)
        same("MSET", r.mset({self.key("a"): "1", self.key("b"): "2"}), True)
        same("MGET", r.mget(self.key("a"), self.key("none"), self.key("b")), [self.text("1"), None, self.text("2")])
        same("EXPIRE", r.expire(key, 100), True)
        true("TTL", 98 <= r.ttl(key) <= 100)
        same("TYPE", r.type(key), self.text("string"))
        same("EXISTS", r.exists(key, self.key("none")), 1)
        if not self.decode:
            every_byte = bytes(range(256)) + b"\r\n$-1\r\n*3\r\n"
            r.set(key, every_byte)
            same("every byte", r.get(key), every_byte)

    def structures(self):
        r = self.r
        same("HSET", r.hset(self.key("hash"), mapping={"f": "1", "g": "2"}), 2)
        same("HGETALL", r.hgetall(self.key("hash")), {self.text("f"): self.text("1"), self.text("g"): self.text("2")})
        same("HMGET", r.hmget(self.key("hash"), "g", "none"), [self.text("2"), None])
        same("RPUSH", r.rpush(self.key("list"), *range(5)), 5)
        same("LRANGE", r.lrange(self.key("list"), 0, -1), [self.text(str(n)) for n in range(5)])
        same("SADD", r.sadd(self.key("set"), "a", "b"), 2)
        same("SMEMBERS", set(r.smembers(self.key("set"))), {self.text("a"), self.text("b")})
        same("ZADD", r.zadd(self.key("zset"), {"a": 1, "b": 2.5}), 2)
        scored = [tuple(pair) for pair in r.zrange(self.key("zset"), 0, -1, withscores=True)]
        same("ZRANGE WITHSCORES", scored, [(self.text("a"), 1.0), (self.text("b"), 2.5)])
        same("ZSCORE", r.zscore(self.key("zset"), "b"), 2.5)
        entry = r.xadd(self.key("stream"), {"k": "v"})
        same("XRANGE", r.xrange(self.key("stream")), [(entry, {self.text("k"): self.text("v")})])
        true("XREAD", r.xread({self.key("stream"): 0}))
        same("PFCOUNT", (r.pfadd(self.key("hll"), *range(10)), r.pfcount(self.key("hll"))), (1, 10))
        same("SORT", r.sort(self.key("list"), desc=True)[0], self.text("4"))

    def own_writes(self):
        """A client sees what it wrote, whichever node answers."""
        for n in range(300):
            self.r.set(self.key("own"), n)
            same("GET after own SET", self.r.get(self.key("own")), self.text(str(n)))

    def errors(self):
        self.r.set(self.key("wrong"), "text")
        try:
            self.r.lpush(self.key("wrong"), "x")
            raise AssertionError("WRONGTYPE was not raised")
        except redis.ResponseError as error:
            true(f"WRONGTYPE, got {error}", str(error).startswith("WRONGTYPE") or "wrong kind" in str(error))
        try:
            self.r.execute_command("NOSUCHCOMMAND", "a")
            raise AssertionError("an unknown command was answered")
        except redis.ResponseError as error:
            true(f"unknown command, got {error}", "unknown command" in str(error))
        same("the connection still works", self.r.get(self.key("wrong")), self.text("text"))

    def large(self):
        for size in (16 * 1024, 100_000, 1_000_000, 8_000_000):
            value = ("0123456789abcdef" * (size // 16 + 1))[:size]
            same(f"SET of {size}", self.r.set(self.key("large"), value), True)
            same(f"STRLEN of {size}", self.r.strlen(self.key("large")), size)
            same(f"GET of {size}", self.r.get(self.key("large")), self.text(value))
        many = {self.key(f"many:{n}"): str(n) for n in range(5000)}
        same("MSET of 5000", self.r.mset(many), True)
        same("MGET of 5000", self.r.mget(list(many)), [self.text(value) for value in many.values()])
        same("DEL of 5000", self.r.delete(*many), 5000)
        self.r.delete(self.key("large"))

    def pipelines(self):
        for transaction in (True, False):
            with self.r.pipeline(transaction=transaction) as pipe:
                for n in range(500):
                    pipe.set(self.key(f"pipe:{n}"), n).get(self.key(f"pipe:{n}"))
                replies = pipe.execute()
            wanted = [reply for n in range(500) for reply in (True, self.text(str(n)))]
            same(f"pipeline, transaction={transaction}", replies, wanted)
            with self.r.pipeline(transaction=transaction) as pipe:
                pipe.set(self.key("p"), "x").lpush(self.key("p"), "y").get(self.key("p"))
                replies = pipe.execute(raise_on_error=False)
            same("before the error", replies[0], True)
            true(f"the error in its place, got {replies[1]!r}", isinstance(replies[1], redis.ResponseError))
            same("after the error", replies[2], self.text("x"))
            with self.r.pipeline(transaction=transaction) as pipe:
                for n in range(20):
                    pipe.set(self.key(f"big:{n}"), "v" * 50_000)
                same("pipeline of 1 MB", pipe.execute(), [True] * 20)
        with self.r.pipeline(transaction=True) as pipe:
            pipe.set(self.key("p"), "1").execute_command("NOSUCHCOMMAND")
            try:
                pipe.execute()
                raise AssertionError("EXEC of a broken block was answered")
            except redis.ResponseError:
                pass

    def optimistic(self):
        """WATCH: threads that count together lose no step."""
        key, threads, steps = self.key("watched"), 4, 25
        self.r.set(key, 0)

        def count():
            for _ in range(steps):
                self.r.transaction(lambda pipe: step(pipe), key)

        def step(pipe):
            value = int(pipe.get(key))
            pipe.multi()
            pipe.set(key, value + 1)

        in_threads(count, threads)
        same("WATCH and MULTI", self.r.get(key), self.text(str(threads * steps)))
        with self.r.pipeline() as pipe:
            pipe.watch(key)
            self.r.set(key, "changed")
            pipe.multi()
            pipe.set(key, "lost")
            try:
                pipe.execute()
                raise AssertionError("EXEC succeeded although a watched key had changed")
            except redis.WatchError:
                pass
        same("the watched key", self.r.get(key), self.text("changed"))

    def pool(self):
        pool_options = {key: value for key, value in self.options.items() if key != "ssl"}
        kind = redis.SSLConnection if CA else redis.Connection
        pool = redis.BlockingConnectionPool(max_connections=8, timeout=20, connection_class=kind, **pool_options)
        shared = redis.Redis(connection_pool=pool)
        own = self.key("shared")

        def use():
            me = threading.get_ident()
            for n in range(100):
                shared.incr(own)
                shared.set(self.key(f"thread:{me}"), n)
                same("own key through the pool", shared.get(self.key(f"thread:{me}")) is not None, True)

        in_threads(use, 16)
        same("INCR of 16 threads", int(shared.get(own)), 1600)
        pool.disconnect()

    def databases(self):
        with redis.Redis(**{**self.options, "db": 3}) as three:
            three.set(self.key("db"), "three")
            self.r.set(self.key("db"), "zero")
            same("db 3", three.get(self.key("db")), self.text("three"))
            same("db 0", self.r.get(self.key("db")), self.text("zero"))
            same("MULTI in db 3", three.pipeline().get(self.key("db")).execute(), [self.text("three")])
        with redis.Redis(**self.options, single_connection_client=True) as one:
            same("SELECT 3", one.select(3), True)
            same("after SELECT 3", one.get(self.key("db")), self.text("three"))
            same("SELECT 0", one.select(0), True)
            same("after SELECT 0", one.get(self.key("db")), self.text("zero"))
            try:
                one.select(99_999)
                raise AssertionError("SELECT 99999 was accepted")
            except redis.ResponseError:
                same("after a refused SELECT", one.get(self.key("db")), self.text("zero"))

    def publish(self):
        channel, pattern = self.key("channel"), self.key("pattern:")
        pubsub = self.r.pubsub()
        pubsub.subscribe(channel)
        pubsub.psubscribe(pattern + "*")
        confirmed = [next_message(pubsub)["type"] for _ in range(2)]
        same("confirmations", confirmed, ["subscribe", "psubscribe"])
        same("PUBLISH", self.r.publish(channel, "first"), 1)
        self.r.publish(pattern + "x", "second")
        same("message", brief(next_message(pubsub)), ("message", self.text(channel), self.text("first")))
        same("pmessage", brief(next_message(pubsub)), ("pmessage", self.text(pattern + "x"), self.text("second")))
        if self.options["protocol"] == 2:  # redis-py takes RESP3's plain PONG here for a message of type "P"
            pubsub.ping()
            same("PING while subscribed", next_message(pubsub)["type"], "pong")
        for n in range(1000):
            self.r.publish(channel, n)
        got = [next_message(pubsub)["data"] for _ in range(1000)]
        same("1000 messages in order", got, [self.text(str(n)) for n in range(1000)])
        pubsub.unsubscribe(channel)
        same("unsubscribe", next_message(pubsub)["type"], "unsubscribe")
        same("PUBLISH to nobody", self.r.publish(channel, "x"), 0)
        pubsub.close()
        same("commands after pub/sub", self.r.ping(), True)

    def blocking(self):
        key = self.key("queue")
        began = time.monotonic()
        same("BLPOP of nothing", self.r.blpop(key, timeout=1), None)
        true("BLPOP waited", 0.9 < time.monotonic() - began < 5)
        taken = []
        waiting = threading.Thread(target=lambda: taken.append(self.r.blpop(key, timeout=10)))
        waiting.start()
        # Other commands are not stalled while one client blocks.
        for n in range(50):
            self.r.set(self.key("beside"), n)
        self.r.rpush(key, "job")
        waiting.join(15)
        same("BLPOP", [tuple(pair) for pair in taken], [(self.text(key), self.text("job"))])
        true("XREAD BLOCK of nothing", not self.r.xread({self.key("events"): "$"}, block=50))
        entry = self.r.xadd(self.key("events"), {"k": "v"})
        self.r.xgroup_create(self.key("events"), "group", id="0")
        true("XREADGROUP BLOCK", self.r.xreadgroup("group", "me", {self.key("events"): ">"}, block=5000))
        same("XACK", self.r.xack(self.key("events"), "group", entry), 1)
        self.r.zadd(self.key("ranked"), {"a": 1.5})
        same("BZPOPMIN", tuple(self.r.bzpopmin(self.key("ranked"), timeout=5))[1:], (self.text("a"), 1.5))

    def scripts(self):
        script = self.r.register_script("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])")
        same("script", script(keys=[self.key("script")], args=["lua"]), self.text("lua"))
        same("script again", script(keys=[self.key("script")], args=["lua2"]), self.text("lua2"))
        same("EVAL of a table", self.r.eval("return {1, 2, {3}}", 0), [1, 2, [3]])
        read, write = "return redis.call('GET', KEYS[1])", f"return '{self.prefix}' .. redis.call('INCR', KEYS[1])"
        name = self.r.script_load(read)
        for _ in range(20):  # by whichever node: a replica is not sent what the master was told
            same("EVALSHA", self.r.evalsha(name, 1, self.key("script")), self.text("lua2"))
            same("EVALSHA_RO", self.r.evalsha_ro(name, 1, self.key("script")), self.text("lua2"))
        same("SCRIPT EXISTS", self.r.script_exists(name, "0" * 40), [True, False])
        with self.r.pipeline() as pipe:
            counting = self.r.register_script(write)
            counting(keys=[self.key("counted")], client=pipe)
            counting(keys=[self.key("counted")], client=pipe)
            same("scripts in a pipeline", pipe.execute(), [self.text(f"{self.prefix}{n}") for n in (1, 2)])
        try:
            self.r.evalsha("0" * 40, 0)
            raise AssertionError("EVALSHA of no script was answered")
        except redis.exceptions.NoScriptError:
            pass
        with self.r.lock(self.key("lock"), timeout=10, blocking_timeout=5):
            same("the lock is held", self.r.lock(self.key("lock"), timeout=10).acquire(blocking=False), False)
        same("the lock is free", self.r.exists(self.key("lock")), 0)

    def connection(self):
        with redis.Redis(**self.options, client_name="redan-test", single_connection_client=True) as one:
            true("CLIENT GETNAME", one.client_getname() in ("redan-test", b"redan-test"))
            true("CLIENT ID", one.client_id() > 0)
            same("CLIENT ID stays", one.client_id(), one.client_id())
        true("INFO", "redis_version" in self.r.info("server"))
        same("role", self.r.info("replication")["role"], "master")
        true("TIME", self.r.time()[0] > 1_600_000_000)
        true("DBSIZE", self.r.dbsize() > 0)
        true("CONFIG GET", isinstance(self.r.config_get("maxmemory"), dict))
        true("COMMAND COUNT", self.r.command_count() > 100)

    def scan(self):
        wanted = {self.text(self.key(f"scan:{n}")) for n in range(500)}
        self.r.mset({key: "x" for key in wanted})
        found = set(self.r.scan_iter(match=self.key("scan:*"), count=20))
        same("SCAN finds every key", len(wanted - found), 0)
        self.r.hset(self.key("scanned"), mapping={f"f{n}": n for n in range(1000)})
        same("HSCAN", len(dict(self.r.hscan_iter(self.key("scanned"), count=50))), 1000)
        self.r.sadd(self.key("sscanned"), *range(1000))
        same("SSCAN", len(set(self.r.sscan_iter(self.key("sscanned"), count=50))), 1000)
        self.r.zadd(self.key("zscanned"), {str(n): n for n in range(1000)})
        same("ZSCAN", sum(score for _, score in set(map(tuple, self.r.zscan_iter(self.key("zscanned"), count=50)))), 499_500)


def next_message(pubsub):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        message = pubsub.get_message(timeout=1)
        if message is not None:
            return message
    raise AssertionError("no message within 10 s")


def brief(message):
    return message["type"], message["channel"], message["data"]


def in_threads(work, count):
    failures = []

    def guarded():
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


for protocol in (2, 3):
    for decode in (False, True):
        Checks(protocol, decode).run()
# The default protocol, whatever this version of redis-py makes of it.
with redis.Redis(host=HOST, port=PORT, **tls()) as default:
    same("default settings", default.ping(), True)
print(f"redis-py {redis.__version__}: everything as it should be")
