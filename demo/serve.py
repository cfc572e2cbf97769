"""HTTP for the shop: what its versions have in common. Standard library only, as small as a service may be that loses no request.

GET /        what the shop sells
GET /health  200 when it can work
POST /cart   {"items": ["tea", "cup"]} is answered with the total
POST /orders is answered with the order, as received
"""

import argparse
import json
import os
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PRICES = {"tea": 12, "cup": 8, "pot": 30}


def run(total: Callable[[list[int]], int]) -> None:
    """Serves until TERM; then finishes what it has begun."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    server = Server(("127.0.0.1", parser.parse_args().port), type("Handler", (Handler,), {"total": staticmethod(total)}))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)
    server.server_close()  # waits for the threads


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for an acknowledgement
    wbufsize = -1
    timeout = 2  # keep_alive in bleen.yaml
    total: Callable[[list[int]], int]

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, b"well\n")
        elif self.path == "/":
            self.answer(200, json.dumps({"version": os.environ["VERSION"], "prices": PRICES}).encode())
        else:
            self.answer(404, b"there is no such page\n")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/cart":
            items: dict[str, Any] = json.loads(body)
            self.answer(200, json.dumps({"total": self.total([PRICES[item] for item in items["items"]])}).encode())
        elif self.path == "/orders":
            self.answer(200, body)
        else:
            self.answer(404, b"there is no such page\n")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-By", f"{os.environ['VERSION']}/{os.environ['ENVIRONMENT']}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing of a request that went well."""
