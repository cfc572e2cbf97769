"""A web service to release: small, threaded, HTTP/1.1, and as well or ill behaved as it is told. ``python -m bleen.testing.application --port N --name blue-4``

Every answer carries ``X-Served-By: NAME``.

=========================== ======================================================================================================================
GET /                       its name and version
GET /health                 200; 500 or no answer at all after ``GET /be?health=fail`` or ``hang``
POST /echo                  the body again, its length and SHA-256 in ``X-Length`` and ``X-Checksum``
GET /stream?s=5&every=0.1   chunks for so many seconds, the last one is ``end``
GET /sleep?s=60             answers after so many seconds
ANY /headers                the request's method, path and headers, trailers included, as JSON
GET /ws                     a WebSocket (RFC 6455) that echoes
ANY /cut?id=X               takes the request, counts it, and closes the connection without a word
GET /seen?id=X              how many requests to /cut had this id
GET /status?code=500        answers with that status
GET /facts                  JSON, see ``Service.facts``
=========================== ======================================================================================================================

Standard library only, and none of its slow parts: it is started often.
"""

import argparse
import base64
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import parse_qsl

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3: what a handshake is proven with."""


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


class Service:
    """What all connections share."""

    def __init__(self, name: str, version: str, keep_alive: float) -> None:
        self.name, self.version, self.keep_alive = name, version, keep_alive
        self.health = "ok"
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.cut: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.idle: set[socket.socket] = set()
        self.open = 0
        self.busy = 0
        self.looks = 0

    def facts(self) -> dict[str, int]:
        """Connections that are open, requests under way but this one, looks at /health, and idle connections that we and the peer ended."""
        return {"open": self.open, "busy": self.busy - 1, "looks": self.looks, "by_us": self.ended["by_us"], "by_peer": self.ended["by_peer"]}

    def count_look(self) -> str:
        """Somebody asks for our health; how it is."""
        with self.lock:
            self.looks += 1
        return self.health

    def stop(self) -> None:
        """No new request; connections without one are closed."""
        self.stopping.set()
        with self.lock:
            for each in self.idle:
                with suppress(OSError):  # the peer was faster
                    each.shutdown(socket.SHUT_RDWR)

    def finish(self, seconds: float) -> None:
        """Lets what is in flight end."""
        deadline = time.monotonic() + seconds
        while self.busy and time.monotonic() < deadline:
            time.sleep(0.01)


class Connection:
    """One client, from accept to close."""

    def __init__(self, service: Service, sock: socket.socket) -> None:
        self._service, self._socket, self._buffer = service, sock, b""

    def serve(self) -> None:
        service = self._service
        with service.lock:
            service.open += 1
        try:
            with self._socket:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while request := self._next():
                    with service.lock:
                        service.busy += 1
                    try:
                        if not self._answer(request):
                            break
                    finally:
                        with service.lock:
                            service.busy -= 1
        except (ConnectionError, TimeoutError) as error:
            print(f"{service.name}: a connection ended in the middle of a request: {error!r}", flush=True)
        finally:
            with service.lock:
                service.open -= 1

    def _next(self) -> Request | None:
        """The next request; None when the peer or the keep-alive timeout ended the connection, or when we stop."""
        if not self._buffer and not self._wait():
            return None
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        path, _, query = target.partition("?")
        request = Request(method, path, dict(parse_qsl(query)), [_field(line) for line in rest], b"")
        if request.header("expect").lower() == "100-continue":
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._whole(request)

    def _wait(self) -> bool:
        """Idle between two requests: True once something has come."""
        service = self._service
        with service.lock:
            if service.stopping.is_set():
                return False
            service.idle.add(self._socket)
        try:
            self._socket.settimeout(service.keep_alive or None)
            self._buffer = self._socket.recv(65536)
            if not self._buffer:
                service.ended["by_peer"] += 1
        except TimeoutError:
            service.ended["by_us"] += 1
        except ConnectionError:
            service.ended["by_peer"] += 1
        finally:
            with service.lock:
                service.idle.discard(self._socket)
        self._socket.settimeout(None)
        return bool(self._buffer)

    def _more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError("the peer closed it")
        self._buffer += data

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _whole(self, request: Request) -> Request:
        """With its body; trailers become headers (RFC 9110, 6.5)."""
        if "chunked" not in request.header("transfer-encoding").lower():
            return request._replace(body=self._take(int(request.header("content-length") or 0)))
        body = b""
        while size := int(self._line().split(b";")[0], 16):
            body += self._take(size)
            self._line()
        trailers = []
        while line := self._line().decode("latin-1"):
            trailers.append(_field(line))
        return request._replace(body=body, headers=request.headers + trailers)

    def _answer(self, request: Request) -> bool:
        """Answers one request; whether the connection goes on."""
        service, query = self._service, request.query
        match request.path:
            case "/health" if service.count_look() == "hang":
                service.stopping.wait()
                return False
            case "/health" if service.health == "fail":
                return self._send(request, 500, b"told to fail\n")
            case "/be":
                service.health = query["health"]
            case "/echo":
                checksum = hashlib.sha256(request.body).hexdigest()
                return self._send(request, 200, request.body, f"X-Length: {len(request.body)}\r\nX-Checksum: {checksum}\r\n")
            case "/sleep":
                time.sleep(float(query["s"]))
            case "/stream":
                return self._stream(request, float(query["s"]), float(query.get("every", 0.1)))
            case "/status":
                return self._send(request, int(query["code"]), b"told to\n")
            case "/headers":
                seen = {"method": request.method, "path": request.path, "headers": request.headers}
                return self._send(request, 200, json.dumps(seen).encode())
            case "/ws":
                return self._websocket(request)
            case "/cut":
                service.cut[query.get("id", "")] += 1
                return False
            case "/seen":
                return self._send(request, 200, str(service.cut[query.get("id", "")]).encode())
            case "/facts":
                return self._send(request, 200, json.dumps(service.facts()).encode())
        return self._send(request, 200, f"{service.name} {service.version}\n".encode())

    def _send(self, request: Request, status: int, body: bytes, extra: str = "") -> bool:
        close = self._service.stopping.is_set() or request.header("connection").lower() == "close"
        head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Told'}\r\nX-Served-By: {self._service.name}\r\nContent-Length: {len(body)}\r\n"
        head += "Connection: close\r\n" if close else ""
        self._socket.sendall(f"{head}{extra}\r\n".encode() + (b"" if request.method == "HEAD" else body))
        return not close

    def _stream(self, request: Request, seconds: float, every: float) -> bool:
        self._socket.sendall(f"HTTP/1.1 200 OK\r\nX-Served-By: {self._service.name}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        deadline, number = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            chunk = b"%s %d\n" % (self._service.name.encode(), number)
            self._socket.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            number += 1
            time.sleep(every)
        self._socket.sendall(b"3\r\nend\r\n0\r\n\r\n")
        return request.header("connection").lower() != "close"

    def _websocket(self, request: Request) -> bool:
        """RFC 6455: the handshake of 4.2.2, then every text and binary frame again, pongs for pings, until a close frame."""
        key = request.header("sec-websocket-key").encode()
        if request.header("upgrade").lower() != "websocket" or not key:
            return self._send(request, 400, b"a WebSocket was expected\n")
        accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest()).decode()
        head = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
        self._socket.sendall(f"{head}X-Served-By: {self._service.name}\r\n\r\n".encode())
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            if size > 125:
                size = struct.unpack("!H" if size == 126 else "!Q", self._take(2 if size == 126 else 8))[0]
            mask = self._take(4) if second & 0x80 else bytes(4)
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(self._take(size)))
            code = first & 0x0F
            self._socket.sendall(frame({0x9: 0xA}.get(code, code), data))
            if code == 0x8:
                return False


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()


def frame(code: int, data: bytes, mask: bytes = b"") -> bytes:
    """One whole WebSocket frame (RFC 6455, 5.2); a client's is masked with four bytes."""
    size = len(data)
    bit = 0x80 if mask else 0
    if size < 126:
        length = bytes([bit | size])
    elif size < 65536:
        length = struct.pack("!BH", bit | 126, size)
    else:
        length = struct.pack("!BQ", bit | 127, size)
    return bytes([0x80 | code]) + length + mask + (bytes(b ^ mask[i % 4] for i, b in enumerate(data)) if mask else data)


def main() -> None:
    parser = argparse.ArgumentParser(description="A web service to release.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "0")), help="0 takes a free one; it is printed")
    parser.add_argument("--name", default=os.environ.get("ENVIRONMENT", "application"))
    parser.add_argument("--version", default=os.environ.get("VERSION", ""))
    parser.add_argument("--health", choices=("ok", "fail", "hang"), default="ok")
    parser.add_argument("--keep-alive", type=float, default=0.0, help="seconds until an idle connection is closed; 0 never")
    parser.add_argument("--listen-after", type=float, default=0.0, help="seconds until it listens")
    parser.add_argument("--crash-after", type=float, help="seconds until it ends with 1")
    parser.add_argument("--grace", type=float, default=10.0, help="seconds that requests in flight get after TERM")
    parser.add_argument("--ignore-term", action="store_true")
    parser.add_argument("--child", action="store_true", help="starts a process of its own that ignores TERM too")
    wanted = parser.parse_args()

    service = Service(wanted.name, wanted.version, wanted.keep_alive)
    service.health = wanted.health
    ended = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if wanted.ignore_term else lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    if wanted.child:
        subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"])
    if wanted.crash_after is not None:
        threading.Timer(wanted.crash_after, lambda: os._exit(1)).start()
    time.sleep(wanted.listen_after)
    with socket.create_server((wanted.host, wanted.port), backlog=1024) as listener:
        print(f"{service.name} {service.version} listens on {wanted.host}:{listener.getsockname()[1]}", flush=True)
        threading.Thread(target=_accept, args=(listener, service), daemon=True).start()
        while not ended.wait(3600):
            pass
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which would hold the port otherwise
    service.stop()
    service.finish(wanted.grace)
    print(f"{service.name} ends", flush=True)


def _accept(listener: socket.socket, service: Service) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=Connection(service, client).serve, daemon=True).start()


if __name__ == "__main__":
    main()
