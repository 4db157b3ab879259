"""A web page that counts: it knows one Redis and nothing of replication.

GET / counts and answers the number; GET /value answers it without counting.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis

server = redis.Redis(
    host=os.environ["REDIS_HOST"],
    port=int(os.environ["REDIS_PORT"]),
    password=os.environ.get("REDIS_PASSWORD"),
)


class Counter(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            number = int(server.get("counter") or 0) if self.path == "/value" else server.incr("counter")
            status, text = 200, f"{number}\n"
        except redis.RedisError as error:
            status, text = 503, f"{error}\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


ThreadingHTTPServer(("", 8080), Counter).serve_forever()
