"""redis-py with its default settings against HOST:PORT [CA.pem], while the proxy is replaced again and again.

Run by tests/it/upgrade/libraries.rs. Goes on until its standard input ends; exits 1 and says what differed. Says on its standard
output how many turns were done, so that whoever replaces the proxy knows that there is load.
"""

import queue
import sys
import threading
import time

import redis

HOST, PORT = sys.argv[1].rsplit(":", 1)
TLS = {"ssl": True, "ssl_ca_certs": sys.argv[2]} if len(sys.argv) > 2 else {}

over = threading.Event()
wrong = queue.Queue()
turns = [0]


def client(**more):
    return redis.Redis(host=HOST, port=int(PORT), decode_responses=True, **TLS, **more)


def same(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, wanted {wanted!r}")


def counts(name):
    """Each answer is one more than the last: nothing is lost, nothing is done twice, its own writes are seen."""
    r, number = client(), 0
    while not over.is_set():
        number += 1
        same(f"INCR {name}", r.incr(name), number)
        same(f"GET {name}", r.get(name), str(number))
        turns[0] += 1
        time.sleep(0.001)


def pipes(name):
    r, number = client(protocol=3), 0
    while not over.is_set():
        with r.pipeline(transaction=False) as pipe:
            for _ in range(50):
                pipe.incr(name)
            same(f"pipeline {name}", pipe.execute(), list(range(number + 1, number + 51)))
        number += 50
        turns[0] += 1
        time.sleep(0.002)


def transacts(name):
    r, number = client(), 0
    while not over.is_set():
        def add(pipe):
            before = int(pipe.get(name) or 0)
            pipe.multi()
            pipe.set(name, before + 1)
            pipe.get(name)
        number += 1
        same(f"WATCH {name}", r.transaction(add, name), [True, str(number)])
        turns[0] += 1
        time.sleep(0.002)


def connects(name):
    number = 0
    while not over.is_set():
        r = client()
        number += 1
        same(f"a new connection, INCR {name}", r.incr(name), number)
        r.close()
        turns[0] += 1
        time.sleep(0.005)


def blocks(name):
    """What is pushed comes once and in order, whichever process waited for it."""
    def pushes():
        r, number = client(), 0
        while not over.is_set():
            number += 1
            r.rpush(name, number)
            time.sleep(0.02)
    pushing = threading.Thread(target=guarded, args=(pushes,))
    pushing.start()
    r, last = client(), 0
    while not over.is_set() or pushing.is_alive():
        item = r.blpop(name, timeout=1)
        if item:
            last += 1
            same(f"BLPOP {name}", item, (name, str(last)))
            turns[0] += 1
    pushing.join()


def listens(name):
    """A subscriber comes again by itself; what it is sent after that is in order."""
    r, sub, last = client(), client().pubsub(ignore_subscribe_messages=True), 0
    sub.subscribe(name)
    number = 0
    while not over.is_set():
        number += 1
        r.publish(name, number)
        message = sub.get_message(timeout=0.05)
        if message:
            got = int(message["data"])
            same("messages are in order", got > last, True)
            last = got
            turns[0] += 1
    same("messages have come", last > 0, True)


def guarded(work, *arguments):
    try:
        work(*arguments)
    except BaseException as error:
        wrong.put(f"{work.__name__}{arguments}: {type(error).__name__}: {error}")
        over.set()


works = [(counts, "py:a"), (counts, "py:b"), (pipes, "py:p"), (transacts, "py:t"), (connects, "py:n"), (listens, "py:s")]
if not TLS:
    works.append((blocks, "py:l"))
threads = [threading.Thread(target=guarded, args=work) for work in works]
for thread in threads:
    thread.start()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
while not over.wait(0.05):
    print(turns[0], flush=True)
for thread in threads:
    thread.join()
if not wrong.empty():
    sys.exit(wrong.get())
print("everything as it should be", flush=True)
